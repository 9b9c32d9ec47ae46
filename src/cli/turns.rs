//! Commands that go on until somebody ends them: `status --watch`, `events --follow`.

use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::complain;

/// From one turn to the next. Ctrl-C ends the command in order: what it printed is whole, and it
/// did what it was asked.
pub(crate) struct Turns {
    ended: Receiver<()>,
}

impl Turns {
    pub(crate) fn begin() -> Result<Turns, ExitCode> {
        let (sender, ended) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|err| {
            complain(&format!("cannot listen to signals: {err}"));
            ExitCode::FAILURE
        })?;
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                // Nobody listens any more when the command has ended by itself.
                let _ = sender.send(());
            }
        });
        Ok(Turns { ended })
    }

    /// Until the next turn; false when there is none.
    pub(crate) fn wait(&self, span: Duration) -> bool {
        self.ended.recv_timeout(span) == Err(RecvTimeoutError::Timeout)
    }
}
