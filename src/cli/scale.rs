//! `plimsoll scale`: sets a hold, or releases it.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::args::cli_command::{CountArg, ScaleArgs};
use crate::cli::client;
use crate::cli::output::say;

pub(crate) fn scale(asked: &ScaleArgs) -> ExitCode {
    let path = client::path(&asked.service, "/scale");
    let done = path.and_then(|path| client::post(&asked.to, &path, body(asked)));
    done.map_or_else(|code| code, |done| say(&format!("{done}\n")))
}

fn body(asked: &ScaleArgs) -> Value {
    let mut body = match asked.count {
        CountArg::Auto => json!({ "auto": true }),
        CountArg::Exactly(count) => json!({ "replicas": count }),
        CountArg::By(by) => json!({ "by": by }),
    };
    for (key, text) in [("for", &asked.span), ("reason", &asked.reason)] {
        if let Some(text) = text {
            body[key] = json!(text);
        }
    }
    body
}
