//! What people see: each command in a real terminal (tmux), of 80 and of 200 columns, against a
//! scripted daemon with the answers of the browser's tests. A problem of a config is one line, as a
//! compiler's, however long it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::daemon::{Dir, PLIMSOLL, polled, secs};
use crate::golden;

const COLUMNS: [usize; 2] = [80, 200];
/// More than any command prints.
const ROWS: &str = "400";
const END: &str = "the command has ended";

const CONFIG: &str = r#"{
  "services": {
    "web": {
      "image": "web:1", "port": 80, "min_replicas": 2, "max_replicas": 8,
      "scale_up_threshold": 70, "scale_down_threshold": 30,
      "business_hours_only": true,
      "business_hours": { "timezone": "Europe/Berlin", "start": "08:00", "end": "18:00" },
      "schedules": [
        { "name": "monday rush", "days": ["mon"], "start": "09:00", "end": "11:00",
          "timezone": "Europe/Berlin",
          "min_replicas": 6, "max_replicas": 8 }
      ]
    }
  }
}
"#;

/// A bad one: of each kind of place, and with a long line.
const BAD: &str = r#"{
  "docker": { "timeout": "soon" },
  "services": {
    "web": { "image": "web:1", "port": 80, "max_replica": 3, "scale_up_threshold": 700,
             "health_check": { "path": "no-slash" } }
  }
}
"#;

/// Serves fixed answers, whatever the query.
fn daemon(dir: &Dir) {
    let text = fs::read_to_string("tests/browser/answers.json").unwrap();
    let mut answers: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    answers.insert("/readyz".to_owned(), json!({ "status": "ready", "last_good_s": 1.5 }));
    let listener = UnixListener::bind(dir.join("api.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that hung up meanwhile is its own affair.
            drop(answer(stream, &answers));
        }
    });
}

fn answer(mut stream: UnixStream, answers: &BTreeMap<String, Value>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let body = match answers.get(target.split('?').next().unwrap_or_default()) {
        Some(body) => body.to_string(),
        None => format!("{{\"error\":\"no answer for {target}\"}}"),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A terminal server of the test's own.
struct Tmux<'a> {
    dir: &'a Dir,
}

impl Tmux<'_> {
    fn run(&self, args: &[&str]) -> String {
        let socket = self.dir.join("tmux.sock");
        let mut command = Command::new("tmux");
        command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm").env_remove("TMUX");
        command.arg("-u").arg("-f").arg("/dev/null").arg("-S").arg(socket).args(args);
        let out = command.output().unwrap_or_else(|e| panic!("tmux: {e}; run `make setup-test`"));
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// The whole screen, once the command has ended.
    #[track_caller]
    fn screen(&self, columns: usize, command: &str, fits: bool) -> String {
        let columns = columns.to_string();
        let shell = format!("{command}; printf '{END}'; read -r end");
        let home = self.dir.path().to_str().unwrap();
        let size = ["-x", &columns, "-y", ROWS];
        self.run(
            &[&["new-session", "-d", "-s", "screen", "-c", home], &size[..], &[&shell]].concat(),
        );
        let capture =
            |more: &[&str]| self.run(&[&["capture-pane", "-p", "-t", "screen"], more].concat());
        let mut seen = String::new();
        let ended = polled(secs(120), secs(1) / 20, || {
            seen = capture(&[]);
            seen.contains(END)
        });
        assert!(ended, "{command}: {seen}");
        // Whether the terminal itself broke a line: it would do so within a word.
        let joined = capture(&["-J"]);
        let lines = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
        let is_whole = lines(&joined) == lines(&seen);
        assert!(is_whole || !fits, "{command} does not fit {columns} columns:\n{seen}");
        self.run(&["kill-session", "-t", "screen"]);
        let text = seen.split(END).next().unwrap_or_default();
        lines(text).join("\n").trim_end().to_owned() + "\n"
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let socket = self.dir.join("tmux.sock");
        drop(Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output());
    }
}

/// The time of this run.
fn masked(text: &str) -> String {
    let line = |line: &str| match line.split_once("clock") {
        Some((verdict, _)) if verdict.starts_with("ok") => format!("{verdict}clock   ..."),
        _ => line.to_owned(),
    };
    text.lines().map(|l| line(l) + "\n").collect()
}

#[test]
fn each_command_fits_its_terminal() {
    let dir = Dir::new("screens");
    daemon(&dir);
    dir.write("good.json", CONFIG);
    dir.write("bad.json", BAD);
    fs::copy("contrib/examples/day.csv", dir.join("day.csv")).unwrap();
    let tmux = Tmux { dir: &dir };
    // The session that keeps the server while others come and go.
    tmux.run(&["new-session", "-d", "-s", "stays", "read -r end"]);
    for columns in COLUMNS {
        let mut screens = String::new();
        for line in [
            "status --socket api.sock",
            "status web --socket api.sock",
            "status api --socket api.sock",
            "explain web --socket api.sock",
            "explain api --socket api.sock",
            "events --socket api.sock",
            "healthcheck --verbose --socket api.sock",
            "schedule web --config good.json --from 2026-11-27T00:00 --until 2026-12-01T00:00",
            "simulate --load day.csv --start 2026-11-27T00:00:00Z --config good.json",
            "check --config good.json",
            "check --config bad.json",
            "doctor --config bad.json",
            "staus",
            "status --wach",
            "help",
            "help scale",
        ] {
            let shown = format!("$ plimsoll {line}\n");
            let command = format!("{PLIMSOLL} {line}");
            let screen = masked(&tmux.screen(columns, &command, !line.starts_with("check")));
            screens += &format!("{shown}{screen}\n");
        }
        golden::check(Path::new(&format!("tests/it/golden/screens-{columns}.txt")), &screens);
    }
}
