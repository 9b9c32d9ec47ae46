//! `plimsoll healthcheck`: the daemon's readiness as an exit status.

use std::process::ExitCode;

use crate::cli::args::cli_command::DaemonAddr;
use crate::cli::output::{complain, show_painted};
use crate::cli::paint::Paint;
use crate::cli::table::ended;
use crate::cli::{client, problems, width};

pub(crate) fn healthcheck(verbose: bool, to: &DaemonAddr) -> ExitCode {
    let ready = match client::send(to, "GET", "/readyz", None) {
        Ok((200, _)) => true,
        Ok((_, document)) => {
            complain(&client::words(&document));
            false
        }
        Err(code) => return code,
    };
    let mut said = if ready { "ready\n".to_owned() } else { String::new() };
    let paint = Paint::for_stdout();
    // Before the first tick there is no status, as the complaint says.
    if verbose && let Ok((200, status)) = client::send(to, "GET", "/status", None) {
        let all = problems::of(&status, None);
        said += &ended(&problems::lines(&all, &status["at"], paint, width::of_stdout()));
    }
    let written = show_painted(&said, paint);
    if ready { written.err().unwrap_or(ExitCode::SUCCESS) } else { ExitCode::FAILURE }
}
