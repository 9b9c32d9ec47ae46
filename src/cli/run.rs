//! `plimsoll run`: the daemon, in the foreground.

use std::process::ExitCode;

use crate::cli::check;
use crate::cli::output::complain;
use crate::config;
use crate::daemon::{self, Options, logger};

pub(crate) fn run(options: Options) -> ExitCode {
    let loaded = config::load_or_default(&options.config_file);
    let Some(config) = loaded.config else {
        return check::refuse(&options.config_file.path, &loaded.problems, "; nothing was started");
    };
    logger::start(config.log_level, config.log_format);
    for warning in &loaded.problems {
        log::warn!("message={:?}", warning.to_string());
    }
    match daemon::run(config, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            complain(&err.to_string());
            ExitCode::FAILURE
        }
    }
}
