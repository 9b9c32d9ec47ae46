//! A scripted daemon: the real page with its real policy, and made-up answers. It notes what it was
//! asked to change, and can be lost, or slow with its answer to an order.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

const PAGE: &str = "src/serve/page";
/// The longest that an order is held back.
const HELD_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

impl AsRef<str> for Site {
    fn as_ref(&self) -> &str {
        &self.address
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// By path without its query; those of orders too.
type Answers = BTreeMap<String, (u16, Value)>;
/// What an order, by its path, changes of them.
type Effect = fn(&str, &mut Answers);

#[derive(Default)]
struct State {
    answers: Answers,
    effect: Option<Effect>,
    /// Path and body of each order.
    orders: Vec<(String, Value)>,
    /// Paths with their queries.
    reads: Vec<String>,
    lost: bool,
    held: bool,
}

impl Site {
    /// One that answers these routes, and each order with `done`.
    pub(crate) fn new(answers: Vec<(String, Value)>) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let site = Site { address, shared: shared.clone() };
        for (path, answer) in answers {
            site.set(&path, answer);
        }
        // It ends with the process: nobody connects to a site of a test that is over.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        site
    }

    pub(crate) fn set(&self, path: &str, answer: Value) {
        self.set_status(path, 200, answer);
    }

    pub(crate) fn set_status(&self, path: &str, status: u16, answer: Value) {
        self.shared.lock().answers.insert(path.to_owned(), (status, answer));
    }

    /// Changes what a route answers.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        change(&mut self.shared.lock().answers.get_mut(path).unwrap().1);
    }

    pub(crate) fn orders(&self) -> Vec<(String, Value)> {
        self.shared.lock().orders.clone()
    }

    pub(crate) fn reads(&self, start: &str) -> Vec<String> {
        let state = self.shared.lock();
        state.reads.iter().filter(|path| path.starts_with(start)).cloned().collect()
    }

    pub(crate) fn on_order(&self, effect: Effect) {
        self.shared.lock().effect = Some(effect);
    }

    /// Connections end without an answer, as those of a daemon that died.
    pub(crate) fn lose(&self, lost: bool) {
        self.shared.lock().lost = lost;
    }

    /// Orders get no answer while `held`.
    pub(crate) fn hold(&self, held: bool) {
        self.shared.lock().held = held;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request for each connection. A browser may open one and send nothing.
    fn serve(&self, mut stream: TcpStream) {
        let Some((method, target, body)) = request(&stream) else { return };
        let path = target.split('?').next().unwrap_or_default().to_owned();
        if self.lock().lost {
            drop(stream.shutdown(Shutdown::Both));
            return;
        }
        let reply = match (method.as_str(), path.as_str()) {
            ("GET", "/") => page(),
            ("GET", _) => {
                let mut state = self.lock();
                state.reads.push(target);
                reply(state.answers.get(&path))
            }
            _ => self.order(path, &body),
        };
        if self.lock().lost {
            drop(stream.shutdown(Shutdown::Both));
            return;
        }
        // It may have gone to another page.
        drop(stream.write_all(reply.as_bytes()));
    }

    fn order(&self, path: String, body: &str) -> String {
        let mut state = self.lock();
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        state.orders.push((path.clone(), body));
        let (mut state, _) =
            self.changed.wait_timeout_while(state, HELD_MAX, |state| state.held).unwrap();
        if let Some(effect) = state.effect {
            effect(&path, &mut state.answers);
        }
        let done = (202, json!({ "done": format!("done: {path}") }));
        reply(Some(state.answers.get(&path).unwrap_or(&done)))
    }
}

fn request(stream: &TcpStream) -> Option<(String, String, String)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let method = words.next()?.to_owned();
    let target = words.next()?.to_owned();
    let mut length = 0;
    loop {
        let mut head = String::new();
        reader.read_line(&mut head).ok()?;
        let Some((name, value)) = head.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, target, String::from_utf8_lossy(&body).into_owned()))
}

fn reply(answer: Option<&(u16, Value)>) -> String {
    let missing = (404, json!({ "error": "no such path" }));
    let (status, body) = answer.unwrap_or(&missing);
    http(*status, "application/json", "", &body.to_string())
}

fn http(status: u16, kind: &str, more: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n{more}\r\n{body}",
        body.len()
    )
}

/// As `src/serve/page.rs` makes it: the test of the daemon's own answer compares the hashes.
fn page() -> String {
    let source = fs::read_to_string("src/serve/page.rs").unwrap();
    let file = |name: &str| fs::read_to_string(format!("{PAGE}/{name}")).unwrap();
    let scripts = source.split("include_str!(\"page/").skip(1);
    let names = scripts.filter_map(|rest| rest.split('"').next()).filter(|n| n.ends_with(".js"));
    let script: String = names.map(file).collect();
    let policy = source.split("POLICY: &str = \"").nth(1).unwrap().split("\";").next().unwrap();
    let policy: String = policy.split("\\\n").map(str::trim_start).collect::<Vec<_>>().concat();
    let text = file("page.html").replace("{style}", &file("page.css"));
    let text = text.replace("{script}", &script);
    let head = format!("Content-Security-Policy: {policy}\r\n");
    http(200, "text/html; charset=utf-8", &head, &text)
}
