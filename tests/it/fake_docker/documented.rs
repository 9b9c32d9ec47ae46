//! Whether the calls that were made stand in QUICKREF's table of calls.

use std::fs;

/// `METHOD /path` of the table, with `ID` and `NAME`.
fn documented() -> Vec<String> {
    let quickref = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/QUICKREF.md")).unwrap();
    let (_, table) = quickref.split_once("| call | switches |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
}

fn is_like(call: &str, line: &str) -> bool {
    let (before, after) = match call.split_once("NAME") {
        Some((before, after)) => (before, after),
        None => call.split_once("ID").unwrap_or((call, "")),
    };
    let inner = line.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    match inner {
        Some(inner) if call.contains("NAME") => !inner.is_empty(),
        Some(inner) if call.contains("ID") => !inner.is_empty() && !inner.contains('/'),
        Some(inner) => inner.is_empty(),
        None => false,
    }
}

/// Requests that are in no row: who writes a proxy's rules would not know of them.
pub(super) fn undocumented(requests: &[String]) -> Vec<String> {
    let calls = documented();
    let plain = |line: &String| {
        let (method, path) = line.split_once(' ').unwrap();
        let path = path.strip_prefix("/v1.").and_then(|p| p.find('/').map(|at| p[at..].to_owned()));
        path.map_or_else(|| line.clone(), |path| format!("{method} {path}"))
    };
    let lines = requests.iter().map(plain);
    lines.filter(|line| !calls.iter().any(|call| is_like(call, line))).collect()
}

#[test]
fn a_request_is_compared_with_the_table() {
    let known = ["GET /_ping", "GET /v1.41/images/a/b:1/json", "DELETE /v1.51/containers/ab"];
    assert_eq!(undocumented(&known.map(str::to_owned)), [""; 0]);
    let unknown =
        ["POST /v1.41/build", "GET /v1.41/containers/a/b/json", "GET /v1.41/containers//json"];
    assert_eq!(undocumented(&unknown.map(str::to_owned)).len(), unknown.len());
}
