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
    match with_labels(file, config) {
        (_, Some(why)) if file.is_absent() => {
            // Without a file there is nothing else.
            let path = file.path.display();
            complain(&format!("{path} does not exist, and {why}; name a file with --config FILE"));
            Err(ExitCode::FAILURE)
        }
        (config, _) => Ok(config),
    }
}

/// A valid config with the services of labels, or why it has none of them.
pub(crate) fn with_labels(file: &ConfigFile, config: Config) -> (Config, Option<String>) {
    if !config.labels {
        return (config, None);
    }
    if file.is_named {
        return (config, Some("labels are not read for a file that is named".to_owned()));
    }
    match live::effective(&config) {
        Ok(effective) => (effective, None),
        Err(err) => (config, Some(format!("labels cannot be read: {err}"))),
    }
}
