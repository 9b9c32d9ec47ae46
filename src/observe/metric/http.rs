//! A number in a JSON document that is fetched by GET.

use std::time::Duration;

use serde_json::Value;

use crate::model::endpoint::Endpoint;
use crate::model::metric::{Milli, shortened};
use crate::observe::metric::{ANSWER_BYTES_MAX, milli, milli_of_text};
use crate::outside::{Error, Net, Result};

pub(crate) fn ask(
    net: &dyn Net,
    endpoint: &Endpoint,
    pointer: &str,
    timeout: Duration,
) -> Result<Milli> {
    let (status, body) = net.get(endpoint, ANSWER_BYTES_MAX, timeout)?;
    if !(200..=299).contains(&status) {
        return Err(Error::new(format!("the endpoint answered {status}; expected 200 to 299")));
    }
    let document: Value = serde_json::from_slice(&body)
        .map_err(|err| Error::caused("the answer is not JSON", err))?;
    let place = if pointer.is_empty() { "the document" } else { pointer };
    match document.pointer(pointer) {
        Some(Value::Number(number)) => milli(number.as_f64().unwrap_or(f64::NAN)),
        Some(Value::String(text)) => milli_of_text(text),
        Some(other) => {
            let kind = kind(other);
            Err(Error::new(format!(
                "{place} is {kind}; expected a number, or a number as a string"
            )))
        }
        None => Err(missing(&document, pointer)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Names how far the pointer leads and what is there instead: a typing error is easy to see.
fn missing(document: &Value, pointer: &str) -> Error {
    let mut ends = pointer.match_indices('/').map(|(at, _)| &pointer[..at]).rev();
    let parent = ends.find_map(|start| Some((start, document.pointer(start)?)));
    let (start, value) = parent.unwrap_or(("", document));
    let place = if start.is_empty() { "the document" } else { start };
    let there = match value {
        Value::Object(entries) => {
            let mut names: Vec<String> =
                entries.keys().take(NAMES_SHOWN).map(|k| shortened(k, NAME_SHOWN)).collect();
            if NAMES_SHOWN < entries.len() {
                names.push("…".to_owned());
            }
            format!("an object with {}", names.join(", "))
        }
        Value::Array(items) => format!("a list of {}", items.len()),
        other => kind(other).to_owned(),
    };
    Error::new(format!("there is no {pointer}: {place} is {there}"))
}

const NAMES_SHOWN: usize = 8;
const NAME_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::endpoint::Endpoint;
    use crate::model::metric::Milli;
    use crate::observe::metric::http::ask;
    use crate::observe::metric::scripted::Scripted;

    #[track_caller]
    fn check(status: u16, body: &str, pointer: &str, want: Result<u64, &str>) {
        let net = Scripted::new(status, body);
        let got = ask(&net, &Endpoint::new("http://a/b"), pointer, Duration::from_secs(1));
        let got = got.map_err(|err| err.to_string());
        match want {
            Ok(milli) => assert_eq!(got, Ok(Milli(milli)), "{pointer} of {body}"),
            Err(why) => {
                let err = got.expect_err(body);
                assert!(err.contains(why), "{err}");
            }
        }
        assert_eq!(net.asked(), ["http://a/b"]);
    }

    #[test]
    fn only_an_answer_of_200_to_299_counts() {
        for (status, want) in [
            (199, Err("the endpoint answered 199; expected 200 to 299")),
            (200, Ok(1000)),
            (299, Ok(1000)),
            (300, Err("the endpoint answered 300")),
            (503, Err("the endpoint answered 503")),
        ] {
            check(status, "1", "", want);
        }
    }

    #[test]
    fn a_pointer_leads_where_rfc_6901_says() {
        // The document of its section 5, with numbers for every value.
        let document = r#"{"foo": [10, 11], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4,
                           "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8, "~1": 9}"#;
        for (pointer, want) in [
            ("/foo/0", 10),
            ("/foo/1", 11),
            ("/", 0),
            ("/a~1b", 1),
            ("/c%d", 2),
            ("/e^f", 3),
            ("/g|h", 4),
            ("/i\\j", 5),
            ("/k\"l", 6),
            ("/ ", 7),
            ("/m~0n", 8),
            ("/~01", 9),
        ] {
            check(200, document, pointer, Ok(want * 1000));
        }
        check(200, "7", "", Ok(7000));
        for (pointer, why) in [
            ("/foo/2", "there is no /foo/2: /foo is a list of 2"),
            ("/foo/01", "there is no /foo/01: /foo is a list of 2"),
            ("/foo/-", "there is no /foo/-"),
            ("/foo/0/x", "there is no /foo/0/x: /foo/0 is a number"),
            ("/bar/x", "there is no /bar/x: the document is an object with , "),
            ("/foo", "/foo is a list; expected a number, or a number as a string"),
            ("", "the document is an object; expected a number"),
        ] {
            check(200, document, pointer, Err(why));
        }
        let jobs = r#"{"jobs": {"done": 1, "waitin": 2}}"#;
        let why = "there is no /jobs/waiting: /jobs is an object with done, waitin";
        check(200, jobs, "/jobs/waiting", Err(why));
    }

    #[test]
    fn a_value_is_a_number_or_the_text_of_one() {
        for (body, want) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("1.5", Ok(1_500)),
            ("0.0004", Ok(0)),
            ("0.0005", Ok(1)),
            ("1e3", Ok(1_000_000)),
            (r#""12.5""#, Ok(12_500)),
            (r#""1e3""#, Ok(1_000_000)),
            ("18446744073709548", Ok(18_446_744_073_709_547_520)),
            ("18446744073709552", Err("18446744073709550 is too large")),
            ("1e400", Err("the answer is not JSON: number out of range")),
            ("-1", Err("-1 is less than 0")),
            ("-0.0001", Err("-0.0001 is less than 0")),
            (r#""NaN""#, Err(r#""NaN" is no number that can be counted with"#)),
            (r#""inf""#, Err(r#""inf" is no number"#)),
            (r#""""#, Err(r#""" is no number"#)),
            (r#""5 jobs""#, Err(r#""5 jobs" is no number"#)),
            ("null", Err("the document is null; expected a number")),
            ("true", Err("is true or false")),
            ("[1]", Err("is a list")),
            ("", Err("the answer is not JSON")),
            ("<html>", Err("the answer is not JSON")),
            ("1 2", Err("the answer is not JSON")),
        ] {
            check(200, body, "", want);
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        check(200, &deep, "", Err("the answer is not JSON: recursion limit exceeded"));
    }
}
