//! The config as a daemon would have it now: the file's, with the services of labels.

use std::process::ExitCode;

use crate::cli::check;
use crate::cli::output::complain;
use crate::config::{self, ConfigFile};
use crate::model::config::Config;
use crate::preflight::live;

/// A file that is named counts alone: it may be another daemon's, or none's. An error was printed
/// already.
pub(crate) fn config(file: &ConfigFile) -> Result<Config, ExitCode> {
    let loaded = config::load_or_default(file);
    let Some(config) = loaded.config else {
        return Err(check::refuse(&file.path, &loaded.problems, ""));
    };
    if file.is_named || !config.labels {
        return Ok(config);
    }
    match live::effective(&config) {
        Ok(effective) => Ok(effective),
        // Without a file there is nothing else.
        Err(err) if file.is_absent() => {
            let path = file.path.display();
            complain(&format!(
                "{path} does not exist, and labels cannot be read: {err}; name a file with \
                 --config FILE"
            ));
            Err(ExitCode::FAILURE)
        }
        Err(_) => Ok(config),
    }
}
