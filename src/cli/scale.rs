//! `plimsoll scale`: a number to hold, or load's again.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::args::{Count, ScaleAsked};
use crate::cli::{ask, say};

pub(crate) fn scale(asked: &ScaleAsked) -> ExitCode {
    let path = ask::path(&asked.service, "/scale");
    let done = path.and_then(|path| ask::post(&asked.to, &path, body(asked)));
    done.map_or_else(|code| code, |done| say(&format!("{done}\n")))
}

fn body(asked: &ScaleAsked) -> Value {
    let mut body = match asked.count {
        Count::Auto => json!({ "auto": true }),
        Count::Exactly(count) => json!({ "replicas": count }),
        Count::By(by) => json!({ "by": by }),
    };
    for (key, text) in [("for", &asked.span), ("reason", &asked.reason)] {
        if let Some(text) = text {
            body[key] = json!(text);
        }
    }
    body
}
