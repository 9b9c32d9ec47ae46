//! Cases in JSON. The only file of the tests here that touches the world: it reads them, and tells
//! how many there were.

use serde_json::Value;

/// The file named by `variable`, or our own copy below `tests/hpa`.
pub(crate) fn load(variable: &str, own: &str) -> Value {
    let own = format!("{}/tests/hpa/{own}", env!("CARGO_MANIFEST_DIR"));
    let path = std::env::var(variable).unwrap_or(own);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every case of a section that is as it should be; all that are not, at once.
#[track_caller]
pub(crate) fn check(file: &Value, section: &str, answer: impl Fn(&Value) -> Result<(), String>) {
    let cases = file[section].as_array().unwrap_or_else(|| panic!("no section {section}"));
    let mut wrong = String::new();
    for case in cases {
        if let Err(why) = answer(case) {
            wrong += &format!("\n  {}: {why}", case["name"].as_str().unwrap_or("?"));
        }
    }
    assert!(wrong.is_empty(), "{section}:{wrong}");
    assert!(!cases.is_empty(), "{section} is empty");
    println!("{section}: {} of {} cases", cases.len(), cases.len());
}
