//! The help texts, written by hand.

use crate::cli::args::cli_command::Topic;
use crate::cli::args::commands::{self, CommandSpec};

/// An error is about an unknown command.
pub(crate) fn text(topic: &Topic) -> Result<String, String> {
    Ok(match topic {
        Topic::Short => include_str!("help/short.txt").to_owned(),
        Topic::All => include_str!("help/all.txt").to_owned(),
        Topic::Whole(name) => commands::find(name)?.help.to_owned(),
        Topic::Brief(name) => brief(commands::find(name)?),
    })
}

/// Everything before the list of options.
fn brief(spec: &CommandSpec) -> String {
    match spec.help.split_once("\nOptions:\n") {
        Some((first, _)) => format!("{first}\n`plimsoll help {}` says more.\n", spec.name),
        None => spec.help.to_owned(),
    }
}
