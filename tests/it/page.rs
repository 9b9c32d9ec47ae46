//! The dashboard: what is served, and what a real browser makes of it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, Dir, reached};
use crate::harness::{Harness, free_address};
use crate::quickref::event_words;
use crate::raw_http::To;

const LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 120;
const SOON: Duration = Duration::from_secs(30);
const FOLDER: &str = "src/serve/page";
/// What a page could do with text from elsewhere, or ask of others.
const BANNED: [&str; 9] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacent",
    "document.write",
    "eval(",
    "Function(",
    " style=",
    "https:",
    "localStorage",
];

fn started(name: &str) -> (Harness, Daemon, To, String) {
    let mut harness = Harness::new(name);
    let address = free_address();
    harness.set("/api/listen", json!(address));
    harness.set("/services/web/max_replicas", json!(3));
    harness.set("/services/web/scale_up_threshold", json!(90));
    harness.set("/services/web/scale_down_threshold", json!(1));
    let daemon = harness.start();
    harness.wait_served();
    let tcp = To::Tcp(address.clone());
    let ready = || tcp.say(b"GET /readyz HTTP/1.0\r\n\r\n").is_some_and(|a| a.status == 200);
    assert!(reached(SOON, ready), "it does not answer");
    (harness, daemon, tcp, address)
}

/// As Content-Security-Policy writes it.
fn sha256(text: &str) -> String {
    let mut command = Command::new("sha256sum");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let byte = |at: usize| u32::from_str_radix(&out[at..at + 2], 16).unwrap();
    let bytes: Vec<u32> = (0..64).step_by(2).map(byte).collect();
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let all = three.iter().enumerate().fold(0, |all, (i, byte)| all | byte << (16 - 8 * i));
        for i in 0..=three.len() {
            text.push(char::from(letters[usize::try_from(all >> (18 - 6 * i) & 63).unwrap()]));
        }
    }
    format!("'sha256-{text}='")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).unwrap().0
}

/// The document as it stands when the page has asked a few times.
fn browsed(address: &str, more: &[&str]) -> String {
    let dir = Dir::new("browser");
    let mut command = Command::new("timeout");
    command.args(["90", "chromium", "--headless", "--no-sandbox", "--disable-gpu"]);
    command.args(["--disable-quic", "--no-first-run", "--disable-background-networking"]);
    command.args(["--disable-component-update", "--disable-sync", "--virtual-time-budget=5000"]);
    command.arg(format!("--user-data-dir={}", dir.join("profile").display())).args(more);
    let out = command.arg(format!("http://{address}/")).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn browsers_get_a_page_and_programs_what_they_got_before() {
    let (_stage, _daemon, tcp, _) = started("page");
    let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    let page = tcp.ask("GET /", browser, "");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html; charset=utf-8"), "{}", page.head);
    for accept in ["", "Accept: */*\r\n", "Accept: application/json\r\n"] {
        assert_eq!(tcp.ask("GET /", accept, "").json()["status"], "running", "{accept}");
    }
    let course = tcp.get("/history").json();
    let points = course["web"].as_array().unwrap();
    assert!(!points.is_empty() && points.iter().all(|p| p[3] == 1), "{course}");
    // The policy lets in just what is in the page.
    let style = "<style>";
    let script = "<script>";
    let style = sha256(between(&page.body, style, "</style>"));
    let script = sha256(between(&page.body, script, "</script>"));
    // Heads are compared in small letters.
    let policy = page.head.lines().find(|l| l.starts_with("content-security-policy:")).unwrap();
    for part in [
        "default-src 'none'".to_owned(),
        "frame-ancestors 'none'".to_owned(),
        format!("style-src {style};"),
        format!("script-src {script}"),
    ] {
        assert!(policy.contains(&part.to_lowercase()), "src/serve/page.rs needs {part}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn the_page_asks_nobody_else_and_takes_text_for_text() {
    let files: Vec<_> = fs::read_dir(FOLDER).unwrap().map(|e| e.unwrap().path()).collect();
    let all: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // The name of a kind of document, which nobody asks for.
    let all = all.replace("http://www.w3.org/2000/svg", "");
    for word in BANNED.iter().chain(&["http:", "url(", "@import", "<link rel=\"style"]) {
        assert!(!all.contains(word), "{word} in the page");
    }
    // Each reason has a sentence.
    let plan = fs::read_to_string("src/model/reason.rs").unwrap();
    let words = between(&plan, "fn word(", "\n    }\n");
    let script = fs::read_to_string(format!("{FOLDER}/words.js")).unwrap();
    for reason in words.split('"').skip(1).step_by(2) {
        assert!(script.contains(&format!("\n  {reason}: [\"")), "no sentence for {reason}");
    }
    // Each kind of event can be filtered.
    let groups = between(&script, "EVENT_GROUPS = [", "];");
    for kind in event_words() {
        let group = kind.split('.').next().unwrap();
        assert!(groups.contains(&format!("\"{group}\"")), "no filter for {kind}");
    }
}

/// As `tidy` has it for Rust: a function ends at the first line that is indented as its first.
fn oversize_script(text: &str) -> Vec<String> {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines: Vec<&str> = text.lines().filter(is_code).collect();
    let mut wrong = Vec::new();
    if LINES_MAX < lines.len() {
        wrong.push(format!("{} lines of code", lines.len()));
    }
    let starts = |line: &str| line.contains("function ") || line.ends_with("=> {");
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| starts(line)) {
        let indent = line.len() - line.trim_start().len();
        let ends = |line: &&str| line.starts_with(&format!("{}}}", " ".repeat(indent)));
        let length = lines[i..].iter().position(ends).map_or(lines.len() - i, |at| at + 1);
        if FUNCTION_LINES_MAX < length {
            wrong.push(format!("a function of {length} lines: {line}"));
        }
    }
    wrong.extend(
        lines.iter().filter(|l| COLUMNS_MAX < l.chars().count()).map(|l| format!("long: {l}")),
    );
    wrong
}

#[test]
fn the_scripts_fit_in_a_head() {
    for path in fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&path).unwrap();
        let is_script = path.extension().is_some_and(|end| end == "js");
        let wrong = if is_script { oversize_script(&text) } else { Vec::new() };
        assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
    }
    let body = "  f();\n".repeat(69);
    assert_eq!(oversize_script(&format!("function f() {{\n{body}}}\n")).len(), 1);
    assert_eq!(oversize_script(&"f();\n".repeat(501)).len(), 1);
    assert!(oversize_script("function f() {\n  g();\n}\n").is_empty());
}

#[test]
fn a_browser_shows_what_the_daemon_shows() {
    let (harness, _daemon, tcp, address) = started("chrome");
    let evil = "<img src=x onerror=document.title=1> & sale";
    let order = json!({ "replicas": 2, "reason": evil }).to_string();
    let control = To::Unix(harness.dir.join("api.sock"));
    assert_eq!(control.ask("POST /services/web/scale", "", &order).status, 202);
    let two = || tcp.get("/services/web").json()["ready"] == 2;
    assert!(reached(SOON, two), "{}", tcp.get("/status").body);
    let dom = browsed(&address, &["--dump-dom"]);
    let status: Value = tcp.get("/status").json();
    let web = &status["services"][0];
    let shown = format!("{} / {}", web["ready"], web["desired"]);
    let version = format!("plimsoll {}", status["version"].as_str().unwrap());
    let service = between(&dom, "<tbody>", "</tbody>");
    for words in [
        "<a class=\"name\" href=\"#web\">web</a>",
        &shown,
        ">of 1–3</span>",
        "Held at 2 until released: &lt;img src=x onerror=document.title=1&gt; &amp; sale",
        "An operator set the number.",
        &format!(">{}</span>", web["reason"].as_str().unwrap()),
        "<svg class=\"history\"",
    ] {
        assert!(service.contains(words), "no {words} in {service}");
    }
    // Without a token nothing can be changed from here.
    let main = between(&dom, "<main>", "</main>");
    assert!(!main.contains("data-order"), "{main}");
    assert!(!service.contains("<img"), "{service}");
    let events = dom.split_once("class=\"panel events\"").unwrap().1;
    for words in [&version, "Needs attention: web."] {
        assert!(dom.contains(words), "no {words} in {dom}");
    }
    for kind in ["hold.set", "replica.started", "daemon.started"] {
        assert!(events.contains(kind), "no {kind} in {events}");
    }
}
