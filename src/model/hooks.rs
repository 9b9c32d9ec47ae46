//! Commands that run in a replica before it gets traffic and before it is stopped.

use std::fmt;
use std::time::Duration;

use crate::model::units;

/// Commands of a service. An empty one is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hooks {
    pub(crate) before_stop: Vec<String>,
    pub(crate) after_ready: Vec<String>,
    /// Of each.
    pub(crate) timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Hooks {
        let timeout = Duration::from_secs(30);
        Hooks { before_stop: Vec::new(), after_ready: Vec::new(), timeout }
    }
}

impl Hooks {
    pub(crate) fn before_stop(&self) -> Option<HookCommand> {
        self.command(&self.before_stop)
    }

    pub(crate) fn after_ready(&self) -> Option<HookCommand> {
        self.command(&self.after_ready)
    }

    fn command(&self, command: &[String]) -> Option<HookCommand> {
        let is_set = !command.is_empty();
        is_set.then(|| HookCommand { command: command.to_vec(), timeout: self.timeout })
    }
}

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookCommand {
    pub(crate) command: Vec<String>,
    pub(crate) timeout: Duration,
}

/// Why a hook failed, and what it wrote last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookFailure {
    pub(crate) cause: HookCause,
    /// Escaped, oldest first.
    pub(crate) output: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HookCause {
    Exit(i64),
    /// There is no such program, or it must not be executed.
    NotExecuted(String),
    /// It ran for so long. Docker has no call that ends a command.
    TimedOut(Duration),
    /// It was begun, and how it ended is not known.
    Unknown(String),
}

impl HookFailure {
    pub(crate) fn of(cause: HookCause) -> HookFailure {
        HookFailure { cause, output: Vec::new() }
    }

    /// Without the output.
    pub(crate) fn why(&self) -> String {
        match &self.cause {
            HookCause::Exit(code) => format!("exit code {code}"),
            HookCause::NotExecuted(why) => format!("it cannot be executed: {why}"),
            HookCause::TimedOut(after) => {
                format!("it did not end within hooks.timeout ({})", units::show(*after))
            }
            HookCause::Unknown(why) => why.clone(),
        }
    }
}

impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why())?;
        if self.output.is_empty() {
            return Ok(());
        }
        write!(f, "; last output: {}", self.output.join(" | "))
    }
}
