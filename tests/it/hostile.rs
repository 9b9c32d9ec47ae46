//! Config files that no operator writes: as long as one may be, and wrong everywhere. Each gets an
//! answer, and soon.

use std::process::{Command, Stdio};

use crate::daemon::{Dir, PLIMSOLL, plimsoll};

/// Over this a file is refused unread.
const BYTES_MAX: usize = 1 << 20;
/// Of errors, and of warnings; after them one line tells how many more there are.
const LISTED_MAX: usize = 1000;
/// Of processor time, so that it counts no other test. A debug build takes two at most; what grows
/// with the square of the length takes minutes.
const CPU_SECONDS: u32 = 6;

/// `head`, as many of `part`, each with its number, as fit, and `tail`.
fn long(head: &str, part: &dyn Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for n in 0.. {
        let part = part(n);
        if BYTES_MAX < text.len() + part.len() + tail.len() {
            break;
        }
        text += &part;
    }
    text + tail
}

#[track_caller]
fn check(name: &str, head: &str, part: &dyn Fn(usize) -> String, tail: &str) {
    let dir = Dir::new("hostile");
    let file = dir.write("config.json", &long(head, part, tail));
    let mut check = Command::new("sh");
    let script = format!("ulimit -t {CPU_SECONDS} && exec \"$0\" check --config \"$1\"");
    check.args(["-c", &script, PLIMSOLL]).arg(file).stdin(Stdio::null());
    let out = check.output().unwrap();
    // A signal would be the limit, or a stack that overflowed.
    assert!(matches!(out.status.code(), Some(0 | 1)), "{name}: {}", out.status);
    let lines = out.stdout.split(|b| *b == b'\n').count() - 1;
    assert!(0 < lines && lines <= 2 * LISTED_MAX + 1, "{name} has {lines} lines");
}

fn service(more: &str) -> String {
    format!(r#"{{"services": {{"web": {{"image": "a", "port": 80, "max_replicas": 1, {more}"#)
}

#[test]
fn keys_that_are_wrong_everywhere_are_answered_soon() {
    let root = "{";
    let all = "{\"services\": {";
    check("unknown keys", root, &|n| format!("\"k{n}\":1,"), "}");
    check("unknown keys, a line each", root, &|n| format!("\n\"k{n}\":1,"), "}");
    check("unknown keys of a service", &service(""), &|n| format!("\"m{n}\":1,"), "}}}");
    check("keys that are nearly known", &service(""), &|n| format!("\"max_repli{n}\":1,"), "}}}");
    check("one key", "{\"docker\":{", &|_| "\"x\":1,".to_owned(), "}}");
    check("names of services", all, &|n| format!("\" {n}\":1,"), "}}");
    let variables = service("\"environment\": {");
    check("names of variables", &variables, &|n| format!("\"={n}\":1,"), "}}}}");
    check("empty services", all, &|n| format!("\"a{n}\":{{}},"), "}}");
    check("one port", all, &|n| format!("\"a{n}\":{{\"listen\":80}},"), "}}");
    let address = |n: usize| format!("127.{}.{}.{}:80", n >> 16, n >> 8 & 255, n & 255);
    let listens = |n: usize| format!("\"a{n}\":{{\"listen\":\"{}\"}},", address(n));
    check("many addresses", all, &listens, "}}");
    check("a long key", "{\"", &|_| "k".to_owned(), "\":1}");
    check("a long service", "{\"services\": {\"", &|_| "k".to_owned(), "\":1}}");
    check("objects in objects", "", &|_| "{\"a\":".to_owned(), "1");
}

#[test]
fn values_that_are_wrong_everywhere_are_answered_soon() {
    let list = |key: &str| service(&format!("\"{key}\": ["));
    let zones = list("schedules");
    check("zones", &zones, &|n| format!("{{\"timezone\":\"Asia/Z{n}\"}},"), "]}}}");
    check("a long zone", &(zones + "{\"timezone\":\""), &|_| "k".to_owned(), "\"}]}}}");
    let events = "{\"services\": {}, \"notifications\": [{\"url\": \"http://a\", \"events\": [";
    check("events", events, &|n| format!("\"scale.{n}\","), "]}]}");
    check("a long event", &format!("{events}\""), &|_| "k".to_owned(), "\"]}]}");
    check("no variable", &list("environment"), &|_| "\"A=${}\",".to_owned(), "]}}}");
    check("one variable", &list("environment"), &|_| "\"A=1\",".to_owned(), "]}}}");
    check("metrics", &list("metrics"), &|_| "{},".to_owned(), "]}}}");
    check("numbers for texts", &list("command"), &|n| format!("{n},"), "]}}}");
    check("dollars", &service("\"user\": \""), &|_| "$${".to_owned(), "\"}}}");
    check("lists in lists", "", &|_| "[".to_owned(), "");
    check("comments", "{", &|_| "/**/".to_owned(), "1}");
    check("line ends", "{", &|_| "\n".to_owned(), "1}");
}

#[test]
fn a_long_list_of_problems_ends_with_how_many_more_there_are() {
    let file = |errors: usize| {
        let dir = Dir::new("hostile");
        let keys: String = (0..errors).map(|n| format!(",\n\"k{n}\": 1")).collect();
        let file = dir.write("config.json", &format!("{{\"services\": {{}}{keys}}}"));
        let out = plimsoll(&["check", "--config", file.to_str().unwrap()]);
        String::from_utf8(out.stdout).unwrap()
    };
    let ends = |text: &str, words: &str| text.lines().last().unwrap().ends_with(words);
    for (errors, lines) in [(999, 999), (1000, 1000), (1001, 1001), (1500, 1001)] {
        let text = file(errors);
        assert_eq!(text.lines().count(), lines, "{errors}");
        let more = format!("config.json: and {} more problems", errors.max(1000) - 1000);
        assert_eq!(ends(&text, &more), 1000 < errors, "{errors}: {text}");
        // The first of them are listed, in file order.
        assert!(text.lines().nth(998).unwrap().contains(":1000:1: k998: unknown key"), "{text}");
    }
}
