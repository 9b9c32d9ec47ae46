//! What commands print: answers to stdout, complaints to stderr.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use crate::cli::paint::Paint;
use crate::model::terminal;

/// Exit status of wrong usage. A failure is 1.
pub(crate) const USAGE: u8 = 2;

pub(crate) fn say(text: &str) -> ExitCode {
    show(text).err().unwrap_or(ExitCode::SUCCESS)
}

/// `Err` ends the command: with success if the reader closed the pipe, as `head` does. Control
/// characters in `text` are escaped.
pub(crate) fn show(text: &str) -> Result<(), ExitCode> {
    write(&terminal::plain(text))
}

/// Keeps our own colours.
pub(crate) fn show_painted(text: &str, paint: Paint) -> Result<(), ExitCode> {
    write(&paint.plain(text))
}

/// `text` is escaped already.
pub(crate) fn write(text: &str) -> Result<(), ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(err) if err.kind() == ErrorKind::BrokenPipe => Err(ExitCode::SUCCESS),
        Err(err) => {
            complain(&format!("cannot write: {err}"));
            Err(ExitCode::FAILURE)
        }
    }
}

/// To whoever waits at a terminal for what may take long.
pub(crate) fn announce(work: &str) {
    notice(&format!("{work}; this may take a minute"));
}

/// To somebody at a terminal; a program that reads stderr has no use for it.
pub(crate) fn notice(message: &str) {
    if io::stderr().is_terminal() {
        complain(message);
    }
}

pub(crate) fn complain(message: &str) {
    // There is no other place to report that stderr is closed.
    let _ = writeln!(io::stderr(), "plimsoll: {}", terminal::plain(message));
}
