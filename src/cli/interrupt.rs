//! Ctrl-C and SIGTERM for commands that repeat: `status --watch`, `events --follow`.

use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::output::complain;

/// An interrupted command ends between two outputs, and with success.
pub(crate) struct Interrupt {
    ended: Receiver<()>,
}

impl Interrupt {
    pub(crate) fn listen() -> Result<Interrupt, ExitCode> {
        let (sender, ended) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|err| {
            complain(&format!("cannot listen to signals: {err}"));
            ExitCode::FAILURE
        })?;
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                // The receiver is gone if the command has ended by itself.
                let _ = sender.send(());
            }
        });
        Ok(Interrupt { ended })
    }

    /// Waits; false once the command was interrupted.
    pub(crate) fn wait(&self, span: Duration) -> bool {
        self.ended.recv_timeout(span) == Err(RecvTimeoutError::Timeout)
    }
}
