//! `hooks`: commands that run in a replica before it gets traffic and before it is stopped.

use std::time::Duration;

use crate::config::cursor::{Node, Section};
use crate::model::hooks::Hooks;
use crate::model::service::Platform;

const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Swarm starts and stops its tasks itself.
pub(crate) fn hooks(service: &Section, runs: Option<&Platform>) -> Hooks {
    let mut out = Hooks::default();
    let Some(node) = service.get("hooks") else { return out };
    if matches!(runs, Some(Platform::Swarm(_))) {
        node.error(
            "cannot be used with engine swarm: Swarm starts and stops its tasks itself; use the \
             image's ENTRYPOINT and its handler of SIGTERM",
        );
    }
    let Some(section) = node.section() else { return out };
    let command = |key| section.get(key).map(|node| command(&node)).unwrap_or_default();
    out.before_stop = command("before_stop");
    out.after_ready = command("after_ready");
    let timeout = section.get("timeout");
    let timeout = timeout.and_then(|n| n.duration(TIMEOUT_MIN..=TIMEOUT_MAX));
    out.timeout = timeout.unwrap_or(out.timeout);
    if section.get("before_stop").is_none() && section.get("after_ready").is_none() {
        section.error("has no command: set before_stop or after_ready, or leave hooks out");
    }
    section.done();
    out
}

/// A program and its arguments, without a shell.
fn command(node: &Node) -> Vec<String> {
    let words = node.texts().unwrap_or_default();
    let Some(program) = words.first() else {
        // What is no list of texts was reported.
        if node.list().is_some_and(|list| list.is_empty()) {
            node.wrong::<()>(r#"a command, like ["sh", "-c", "…"]"#);
        }
        return Vec::new();
    };
    if program.trim().is_empty() {
        node.wrong::<()>(r#"a program first, like ["sh", "-c", "…"]"#);
    } else if words.len() == 1 && program.trim().contains(char::is_whitespace) {
        node.warning(format!(
            "names one program, {program:?}: no shell takes it apart; write each argument as an \
             element, or [\"sh\", \"-c\", {program:?}]"
        ));
    }
    words
}
