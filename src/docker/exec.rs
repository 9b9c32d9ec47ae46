//! Runs a command in a container and waits for its end.
//!
//! The end of the command is what Docker's inspect says, never the end of its output: a child in
//! the background keeps the output open. The deadline is ours, as Docker has no call that ends a
//! command.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::docker::Docker;
use crate::docker::client::{ApiResponse, Call};
use crate::docker::engine_calls::Method;
use crate::docker::event_stream::is_timeout;
use crate::docker::inspected::Inspected;
use crate::docker::logs;
use crate::model::hooks::{HookCause, HookCommand, HookFailure};
use crate::model::time::Moment;
use crate::outside::{Error, Result};

/// Lines of its output that are reported.
const LINES: usize = 5;
/// Bytes of its output that are kept.
const OUTPUT_MAX: usize = 8 << 10;
/// A silent command is looked at this often, and one that writes without a pause.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After the end of the output, at first.
const LOOK_FIRST: Duration = Duration::from_millis(10);
/// Commands of one container that are asked whether they are the hook.
const RUNNING_MAX: usize = 32;
/// What begins the message of a runtime that could not execute the program.
const NOT_EXECUTED: &str = "OCI runtime exec failed";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreatedExec {
    pub(super) id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ExecState {
    #[serde(default)]
    running: bool,
    pub(super) exit_code: Option<i64>,
    #[serde(default)]
    process_config: ExecProcess,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ExecProcess {
    entrypoint: String,
    arguments: Vec<String>,
}

impl ExecState {
    /// `None` while it runs, and before it was started.
    fn ended(&self) -> Option<i64> {
        self.exit_code.filter(|_| !self.running)
    }

    fn is_running(&self, command: &[String]) -> bool {
        let own = [&self.process_config.entrypoint].into_iter();
        let own = own.chain(&self.process_config.arguments);
        self.running && own.eq(command)
    }
}

/// How a command ended.
pub(super) enum ExecEnd {
    Passed,
    Failed(HookFailure),
    /// It was not begun: the container does not run.
    NotBegun,
}

impl Docker {
    pub(super) fn create_exec(
        &self,
        container: &str,
        command: &[&str],
        (has_terminal, timeout): (bool, Duration),
    ) -> Result<ApiResponse> {
        let body = json!({
            "AttachStdout": true, "AttachStderr": true, "Tty": has_terminal, "Cmd": command,
        });
        let body = body.to_string();
        let path = format!("/containers/{container}/exec");
        let call = Call { method: Method::Post, body: Some(body.as_bytes()), ..Call::get(&path) };
        self.client.call(Call { idempotent: false, ..call }, timeout)
    }

    /// `None`: Docker does not know it any more.
    pub(super) fn exec_state(&self, exec: &str, timeout: Duration) -> Result<Option<ExecState>> {
        let path = format!("/exec/{exec}/json");
        let answer = self.client.call(Call::get(&path), timeout)?;
        if answer.status == 404 { Ok(None) } else { answer.ok()?.json().map(Some) }
    }

    /// Ends soon after the timeout. A hook that an earlier daemon began is waited for, so that it
    /// does not run twice at once; what it wrote is not known then.
    pub(super) fn exec_hook(
        &self,
        container: &str,
        found: &Inspected,
        hook: &HookCommand,
    ) -> Result<ExecEnd> {
        let until = self.clock.now().plus(hook.timeout);
        let mut output = OutputTail::default();
        let (exec, mut stream) = match self.running_exec(found, &hook.command, until) {
            Some(exec) => (exec, None),
            None => {
                let left = until.since(self.clock.now());
                if left.is_zero() {
                    return Ok(ExecEnd::Failed(HookFailure::of(HookCause::TimedOut(hook.timeout))));
                }
                let command: Vec<&str> = hook.command.iter().map(String::as_str).collect();
                let timeout = self.look_timeout().min(left);
                let answer = self.create_exec(container, &command, (false, timeout))?;
                if matches!(answer.status, 404 | 409) {
                    return Ok(ExecEnd::NotBegun);
                }
                let exec = answer.ok()?.json::<CreatedExec>()?.id;
                match self.start_exec(&exec) {
                    Ok(Ok(stream)) => (exec, Some(stream)),
                    Ok(Err(refusal)) if matches!(refusal.status, 404 | 409) => {
                        return Ok(ExecEnd::NotBegun);
                    }
                    Ok(Err(refusal)) => {
                        let cause = HookCause::NotExecuted(refusal.message());
                        return Ok(ExecEnd::Failed(HookFailure::of(cause)));
                    }
                    // It may have been started all the same.
                    Err(_) => (exec, None),
                }
            }
        };
        let mut pause = LOOK_FIRST;
        let mut next_look = self.clock.now().plus(LOOK_EVERY);
        let mut chunk = vec![0; 4096];
        loop {
            let now = self.clock.now();
            let left = until.since(now);
            if left.is_zero() {
                let cause = HookCause::TimedOut(hook.timeout);
                return Ok(ExecEnd::Failed(HookFailure { cause, output: output.lines() }));
            }
            match stream.as_mut().map(|stream| stream.read(&mut chunk)) {
                Some(Ok(0)) => stream = None,
                Some(Ok(read)) => {
                    output.take(&chunk[..read]);
                    if now < next_look {
                        continue;
                    }
                }
                Some(Err(err)) if is_timeout(&err) => (),
                Some(Err(_)) => stream = None,
                None => {
                    wait(pause.min(left));
                    pause = pause.saturating_mul(2).min(LOOK_EVERY);
                }
            }
            next_look = now.plus(LOOK_EVERY);
            // A Docker that does not answer may come back before the deadline.
            let state = self.exec_state(&exec, self.look_timeout().min(left));
            match state.map(|state| state.map(|state| state.ended())) {
                Ok(Some(Some(code))) => return Ok(ended(code, output.lines())),
                Ok(Some(None)) | Err(_) => (),
                Ok(None) => {
                    return Err(Error::new(
                        "docker: the command is not known any more, so neither is how it ended \
                         (was Docker restarted?)",
                    ));
                }
            }
        }
    }

    /// A command that runs in the container already; looks for it until then at most.
    fn running_exec(&self, found: &Inspected, command: &[String], until: Moment) -> Option<String> {
        let is_it = |exec: &&String| {
            let left = until.since(self.clock.now());
            let timeout = self.look_timeout().min(left);
            let state = Some(timeout).filter(|timeout| !timeout.is_zero());
            let state = state.and_then(|timeout| self.exec_state(exec, timeout).ok().flatten());
            state.is_some_and(|state| state.is_running(command))
        };
        found.exec_ids().iter().take(RUNNING_MAX).find(is_it).cloned()
    }

    /// Its output, or Docker's refusal.
    fn start_exec(
        &self,
        exec: &str,
    ) -> Result<std::result::Result<ureq::BodyReader<'static>, ApiResponse>> {
        let path = format!("/exec/{exec}/start");
        let body = json!({ "Detach": false, "Tty": false }).to_string();
        let call = Call { method: Method::Post, body: Some(body.as_bytes()), ..Call::get(&path) };
        self.client.attach(&call, (LOOK_EVERY, LOOK_EVERY))
    }
}

/// The program's exit code, or the runtime's message that there is no such program.
fn ended(code: i64, output: Vec<String>) -> ExecEnd {
    if code == 0 {
        return ExecEnd::Passed;
    }
    let refused = output.iter().find(|line| line.starts_with(NOT_EXECUTED));
    match refused.filter(|_| matches!(code, 126 | 127)) {
        Some(line) => ExecEnd::Failed(HookFailure::of(HookCause::NotExecuted(line.clone()))),
        None => ExecEnd::Failed(HookFailure { cause: HookCause::Exit(code), output }),
    }
}

pub(super) fn wait(longest: Duration) {
    let (_sender, never) = mpsc::channel::<()>();
    // Nothing is ever sent, so it ends with the time.
    let _ = never.recv_timeout(longest);
}

/// The last bytes of a command's output, without Docker's framing of its two streams.
#[derive(Default)]
struct OutputTail {
    header: Vec<u8>,
    /// Bytes of the frame that are still to come.
    left: usize,
    bytes: Vec<u8>,
}

impl OutputTail {
    fn take(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            if 0 < self.left {
                let (piece, rest) = input.split_at(self.left.min(input.len()));
                self.left -= piece.len();
                self.bytes.extend_from_slice(piece);
                input = rest;
                continue;
            }
            let missing = logs::HEADER - self.header.len();
            let (piece, rest) = input.split_at(missing.min(input.len()));
            self.header.extend_from_slice(piece);
            input = rest;
            if let [_, _, _, _, a, b, c, d] = *self.header.as_slice() {
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                self.header.clear();
            }
        }
        let surplus = self.bytes.len().saturating_sub(OUTPUT_MAX);
        self.bytes.drain(..surplus);
    }

    /// Escaped.
    fn lines(&self) -> Vec<String> {
        logs::lines_of(&self.bytes, LINES)
    }
}

#[cfg(test)]
mod tests {
    use crate::docker::exec::{ExecEnd, ExecState, OUTPUT_MAX, OutputTail, ended};
    use crate::model::hooks::HookCause;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let mut out = vec![stream, 0, 0, 0];
        out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        out.extend(text.bytes());
        out
    }

    #[test]
    fn output_is_the_same_however_it_arrives() {
        let mut all = frame(1, "one\ntwo ");
        all.extend(frame(2, "three\n"));
        all.extend(frame(1, ""));
        all.extend(frame(1, "\x1b[31mfour\n"));
        for size in 1..=all.len() {
            let mut tail = OutputTail::default();
            all.chunks(size).for_each(|piece| tail.take(piece));
            assert_eq!(tail.lines(), ["one", "two three", "\\u{1b}[31mfour"], "{size}");
        }
    }

    #[test]
    fn output_without_end_takes_no_memory_without_end() {
        let mut tail = OutputTail::default();
        for n in 0..10_000 {
            tail.take(&frame(1, &format!("line {n}\n")));
            assert!(tail.bytes.len() <= OUTPUT_MAX);
        }
        let lines: Vec<String> = (9_995..10_000).map(|n| format!("line {n}")).collect();
        assert_eq!(tail.lines(), lines);
    }

    #[test]
    fn only_a_code_that_is_not_0_is_a_failure() {
        let refusal = "OCI runtime exec failed: exec failed: no such file";
        for (code, line, want) in [
            (0, "fine", None),
            (0, refusal, None),
            (1, "no", Some(HookCause::Exit(1))),
            (127, "sh: 1: warm: not found", Some(HookCause::Exit(127))),
            (126, refusal, Some(HookCause::NotExecuted(refusal.to_owned()))),
            (127, refusal, Some(HookCause::NotExecuted(refusal.to_owned()))),
            // An app may write such a line.
            (1, refusal, Some(HookCause::Exit(1))),
        ] {
            let got = match ended(code, vec![line.to_owned()]) {
                ExecEnd::Passed => None,
                ExecEnd::Failed(failure) => Some(failure.cause),
                ExecEnd::NotBegun => panic!("it was begun"),
            };
            assert_eq!(got, want, "{code} {line}");
        }
    }

    #[test]
    fn a_command_that_runs_is_known_by_its_words() {
        let state = |running: bool, exit: &str| -> ExecState {
            let text = format!(
                r#"{{"ID": "a", "Running": {running}, "ExitCode": {exit}, "ProcessConfig":
                    {{"entrypoint": "sh", "arguments": ["-c", "x"]}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let words =
            |list: &[&str]| -> Vec<String> { list.iter().map(|word| (*word).to_owned()).collect() };
        for (running, exit, command, is_it, end) in [
            (true, "null", &["sh", "-c", "x"][..], true, None),
            (true, "null", &["sh", "-c"], false, None),
            (true, "null", &["sh", "-c", "x", "y"], false, None),
            (true, "null", &["sh", "-c x"], false, None),
            (false, "0", &["sh", "-c", "x"], false, Some(0)),
            // Created, and not started yet.
            (false, "null", &["sh", "-c", "x"], false, None),
            // Docker has missed its end.
            (true, "0", &["sh", "-c", "x"], true, None),
        ] {
            let state = state(running, exit);
            assert_eq!(state.is_running(&words(command)), is_it, "{running} {command:?}");
            assert_eq!(state.ended(), end, "{running} {exit}");
        }
        // A Docker that says less.
        let bare: ExecState = serde_json::from_str(r#"{"ExitCode": 3}"#).unwrap();
        assert_eq!(bare.ended(), Some(3));
    }
}
