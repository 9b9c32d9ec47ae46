//! Runs the built program as an operator would, and waits for what it logs. A test waits for a
//! state, with a bound; only a peer that is slow on purpose waits for time to pass (`delay`).

#![allow(dead_code, reason = "each test crate uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "a test reads the clock to bound its waits")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

pub(crate) const PLIMSOLL: &str = env!("CARGO_BIN_EXE_plimsoll");

/// A folder of the test's own. It goes with the test, unless that failed.
pub(crate) struct Dir {
    path: PathBuf,
}

impl Dir {
    pub(crate) fn new(name: &str) -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: a socket's path has to fit into 97 bytes.
        let path = env::temp_dir().join(format!("plimsoll-{name}-{}-{n}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir { path }
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.path.display());
        } else {
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

/// Polls `is_so` every 20 ms until it is true; false when it was not within `within`.
pub(crate) fn reached(within: Duration, is_so: impl FnMut() -> bool) -> bool {
    polled(within, Duration::from_millis(20), is_so)
}

/// The same for a state that is costly to read: once every `pause`.
pub(crate) fn polled(within: Duration, pause: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if is_so() {
            return true;
        }
        if end <= Instant::now() {
            return false;
        }
        thread::park_timeout(pause);
    }
}

/// Makes a fake peer slow. A test itself waits with `reached`.
pub(crate) fn delay(span: Duration) {
    polled(span, span, || false);
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// One command of the program, run to its end.
pub(crate) fn plimsoll(args: &[&str]) -> Output {
    let mut command = Command::new(PLIMSOLL);
    command.args(args).env_remove("PLIMSOLL_CONFIG").stdin(Stdio::null()).output().unwrap()
}

/// To one process: 0 and 1 would be the test's own group, and the machine.
#[track_caller]
pub(crate) fn signal(pid: u32, name: &str) {
    assert!(1 < pid, "no process has the number {pid}");
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// A daemon of the test's own, killed with the test.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Daemon {
    pub(crate) fn start(config: &Path) -> Daemon {
        Daemon::start_by(Command::new(PLIMSOLL), config, &[])
    }

    /// `program` ends with the program's name: `unshare -m plimsoll` is one such.
    pub(crate) fn start_by(mut program: Command, config: &Path, more: &[&str]) -> Daemon {
        let command = program.arg("run").arg("--config").arg(config).args(more);
        let mut child = command
            .env_remove("PLIMSOLL_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().unwrap();
        let sink = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                sink.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                sink.more.notify_all();
            }
        });
        Daemon { child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many lines hold all of these.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        let lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|l| words.iter().all(|w| l.contains(w))).count()
    }

    /// Waits until a line at or after number `from` holds all of `words`; gives its number.
    #[track_caller]
    pub(crate) fn wait_from(&self, from: usize, words: &[&str], within: Duration) -> usize {
        let end = Instant::now() + within;
        let mut lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let hit = |l: &String| words.iter().all(|w| l.contains(w));
            if let Some(at) = lines.iter().skip(from).position(hit) {
                return from + at;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no line with {words:?} within {within:?} in\n{}",
                show(&lines)
            );
            lines = self.log.more.wait_timeout(lines, left.min(secs(1))).unwrap().0;
        }
    }

    #[track_caller]
    pub(crate) fn wait(&self, words: &[&str], within: Duration) -> usize {
        self.wait_from(0, words, within)
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// SIGKILL: no chance to tidy up.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines()
    }

    #[track_caller]
    pub(crate) fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let mut status = None;
        let ended = reached(within, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "it did not end within {within:?}\n{}", show(&self.lines()));
        status.unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", show(&self.lines()));
        }
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn show(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "  {line}");
        out
    })
}
