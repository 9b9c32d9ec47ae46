//! Chromium by its own protocol, through two pipes: JSON messages that end with a zero byte. All
//! tests share one process, which ends with the last of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Dir, reached, secs};

const ANSWER_MAX: Duration = Duration::from_secs(30);
const OPTIONS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

pub(crate) struct Chromium {
    child: Mutex<Child>,
    orders: Mutex<File>,
    inbox: Arc<Inbox>,
    sent: AtomicU64,
    _dir: Dir,
}

#[derive(Default)]
struct Inbox {
    state: Mutex<InboxState>,
    more: Condvar,
}

#[derive(Default)]
struct InboxState {
    answers: BTreeMap<u64, Value>,
    ended: bool,
}

impl Chromium {
    pub(crate) fn shared() -> Arc<Chromium> {
        static SHARED: Mutex<Weak<Chromium>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Chromium::start());
        *shared = Arc::downgrade(&started);
        started
    }

    fn start() -> Chromium {
        let dir = Dir::new("chromium");
        let orders = dir.join("orders");
        let answers = dir.join("answers");
        let made = Command::new("mkfifo").args([&orders, &answers]).status().unwrap();
        assert!(made.success(), "mkfifo");
        // Descriptors 3 and 4, which only a shell can give without unsafe code.
        let script = r#"orders=$1 answers=$2; shift 2
            exec chromium "$@" 3<"$orders" 4>"$answers""#;
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&orders, &answers])
            .args(OPTIONS)
            .arg(format!("--user-data-dir={}", dir.join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let inbox = Arc::new(Inbox::default());
        // Opening waits for the other end, as it does in the shell, in the same order.
        let orders = OpenOptions::new().write(true).open(orders).unwrap();
        let answers = File::open(answers).unwrap();
        let sink = inbox.clone();
        thread::spawn(move || sink.fill(answers));
        let child = Mutex::new(child);
        let orders = Mutex::new(orders);
        Chromium { child, orders, inbox, sent: AtomicU64::new(0), _dir: dir }
    }

    /// A command to the browser, or to the tab of a session; its result, or why it was refused.
    pub(crate) fn try_call(
        &self,
        session: Option<&str>,
        method: &str,
        params: &Value,
    ) -> Result<Value, String> {
        let id = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let text = format!("{message}\0");
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let written = orders.write_all(text.as_bytes());
        drop(orders);
        written
            .map_err(|err| format!("chromium is gone ({err}); contrib/setup.sh test gets it"))?;
        let answer = self.inbox.wait(id).ok_or_else(|| {
            format!("chromium did not answer {method}; contrib/setup.sh test gets it")
        })?;
        match answer.get("error") {
            Some(error) => Err(format!("{method}: {error}")),
            None => Ok(answer["result"].clone()),
        }
    }

    #[track_caller]
    pub(crate) fn call(&self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.try_call(session, method, params).unwrap_or_else(|words| panic!("{words}"))
    }
}

impl Inbox {
    fn fill(&self, from: File) {
        for message in BufReader::new(from).split(0).map_while(Result::ok) {
            let message: Value = serde_json::from_slice(&message).unwrap();
            let Some(id) = message["id"].as_u64() else { continue };
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.answers.insert(id, message);
            self.more.notify_all();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.more.notify_all();
    }

    /// `None`: it ended, or the time is over.
    fn wait(&self, id: u64) -> Option<Value> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |state: &mut InboxState| !state.ended && !state.answers.contains_key(&id);
        let (mut state, _) = self.more.wait_timeout_while(state, ANSWER_MAX, open).unwrap();
        state.answers.remove(&id)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It may have gone already.
        drop(self.try_call(None, "Browser.close", &json!({})));
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if !reached(secs(5), || matches!(child.try_wait(), Ok(Some(_)))) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
