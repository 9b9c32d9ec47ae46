//! `plimsoll notify --test`: one message to each webhook, and what each answered.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::check;
use crate::cli::output::{complain, say};
use crate::config::{self, ConfigFile};
use crate::daemon::webhooks::trial::{self, WebhookTrial};
use crate::model::terminal;
use crate::model::units::plural;

pub(crate) fn notify(file: &ConfigFile, json: bool) -> ExitCode {
    let loaded = config::load_or_default(file);
    let Some(config) = loaded.config else {
        return check::refuse(&file.path, &loaded.problems, "; nothing was sent");
    };
    if config.notifications.is_empty() {
        let path = file.path.display();
        complain(&format!("{path} has no webhooks; add one to `notifications`"));
        return ExitCode::FAILURE;
    }
    let trials = trial::try_all(&config.notifications);
    let said = match json {
        true => say(&document(&trials)),
        false => say(&trials.iter().map(line).collect::<String>()),
    };
    let failed = trials.iter().filter(|trial| trial.result.is_err()).count();
    if failed == 0 {
        return said;
    }
    if !json {
        let all = plural(u64::try_from(trials.len()).unwrap_or(u64::MAX), "webhook");
        complain(&format!("{failed} of {all} did not take the test message"));
    }
    ExitCode::FAILURE
}

fn line(trial: &WebhookTrial) -> String {
    let WebhookTrial { at, format, host, result } = trial;
    let answer = match result {
        Ok(status) => format!("took it ({status})"),
        Err(why) => format!("did not take it: {why}"),
    };
    terminal::plain(&format!("notifications[{at}] {format} at {host}: {answer}")).into_owned()
        + "\n"
}

fn document(trials: &[WebhookTrial]) -> String {
    let trial = |trial: &WebhookTrial| {
        json!({
            "webhook": format!("notifications[{}]", trial.at),
            "format": trial.format,
            "host": trial.host,
            "taken": trial.result.is_ok(),
            "status": trial.result.as_ref().ok(),
            "error": trial.result.as_ref().err(),
        })
    };
    let all: Vec<Value> = trials.iter().map(trial).collect();
    format!("{:#}\n", Value::from(all))
}
