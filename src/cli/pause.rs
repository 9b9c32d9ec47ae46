//! `plimsoll pause` and `plimsoll resume`: whether load and hours may change a number.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::args::{Over, Whom};
use crate::cli::{ask, say};

pub(crate) fn pause(what: &Over, span: Option<&str>, to: &Whom) -> ExitCode {
    let body = span.map_or(json!({}), |span| json!({ "for": span }));
    order(what, "/pause", body, to)
}

pub(crate) fn resume(what: &Over, to: &Whom) -> ExitCode {
    order(what, "/resume", json!({}), to)
}

fn order(what: &Over, verb: &str, body: Value, to: &Whom) -> ExitCode {
    let path = match what {
        Over::One(service) => ask::path(service, verb),
        Over::All => Ok(verb.to_owned()),
    };
    let done = path.and_then(|path| ask::post(to, &path, body));
    // One service a line.
    done.map_or_else(|code| code, |done| say(&format!("{}\n", done.replace("; ", "\n"))))
}
