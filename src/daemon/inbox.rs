//! Everything that wakes the event loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use crate::controller::LoopEvent;
use crate::model::command::{Answer, Command, Refusal};
use crate::model::event::Event;

pub(crate) enum Incoming {
    /// For the controller.
    Loop(LoopEvent),
    /// For the operator.
    Report(Event),
    /// Somebody sent a command, and waits for the answer.
    Command(PendingCommand),
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    ToggleDebug,
    /// SIGTERM or SIGINT.
    Stop,
}

/// How long a command may wait to be started, and then to finish.
const PATIENCE: Duration = Duration::from_secs(5);

/// The caller gives up if the command is not started in time; a command that was given up is
/// never started.
pub(crate) struct PendingCommand {
    command: Command,
    reply: SyncSender<Answer>,
    claimed: Arc<AtomicBool>,
}

impl PendingCommand {
    pub(crate) fn answer(self, take: impl FnOnce(Command) -> Answer) {
        if claim(&self.claimed) {
            // The caller may have given up.
            drop(self.reply.try_send(take(self.command)));
        }
    }
}

fn claim(claimed: &AtomicBool) -> bool {
    !claimed.swap(true, Ordering::AcqRel)
}

/// Sends a command to the event loop and waits. A timeout means that nothing was done.
pub(crate) fn ask(inbox: &SyncSender<Incoming>, command: Command) -> Answer {
    let (reply, answer) = mpsc::sync_channel(1);
    let claimed = Arc::new(AtomicBool::new(false));
    let asked = PendingCommand { command, reply, claimed: claimed.clone() };
    let unavailable = |words: &str| Err(Refusal::Unavailable(words.to_owned()));
    match inbox.try_send(Incoming::Command(asked)) {
        Ok(()) => (),
        Err(TrySendError::Full(_)) => return unavailable("the daemon is busy; try again"),
        Err(TrySendError::Disconnected(_)) => return unavailable("the daemon is ending"),
    }
    match answer.recv_timeout(PATIENCE) {
        Ok(answer) => return answer,
        Err(RecvTimeoutError::Disconnected) => return unavailable("the daemon is ending"),
        Err(RecvTimeoutError::Timeout) if claim(&claimed) => {
            return unavailable("the daemon is busy, as when Docker is slow; try again");
        }
        Err(RecvTimeoutError::Timeout) => (),
    }
    let late = "the daemon accepted the command but has not finished it; check `plimsoll status`";
    answer.recv_timeout(PATIENCE).unwrap_or_else(|_| unavailable(late))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use crate::daemon::inbox::{Incoming, ask};
    use crate::model::command::{Command, Refusal};

    #[test]
    fn an_order_that_was_given_up_is_not_begun() {
        let (sender, inbox) = mpsc::sync_channel(1);
        let refused = ask(&sender, Command::Reload);
        assert!(matches!(refused, Err(Refusal::Unavailable(words)) if words.contains("busy")));
        let Ok(Incoming::Command(late)) = inbox.try_recv() else { panic!("nothing was sent") };
        late.answer(|_| panic!("it was begun"));
    }

    #[test]
    fn an_order_is_answered_or_told_that_the_end_is_near() {
        let (sender, inbox) = mpsc::sync_channel(1);
        thread::spawn(move || {
            if let Ok(Incoming::Command(asked)) = inbox.recv() {
                asked.answer(|command| Ok(format!("{command:?}")));
            }
        });
        assert_eq!(ask(&sender, Command::Reload), Ok("Reload".to_owned()));
        let ended = ask(&sender, Command::Reload);
        assert!(matches!(ended, Err(Refusal::Unavailable(words)) if words.contains("ending")));
    }
}
