//! Help, written by hand.

use crate::cli::args::menu::Entry;

#[derive(Clone, Copy)]
pub(crate) enum Topic {
    /// `-h`, for all commands and for one.
    Short,
    Brief(&'static Entry),
    /// `--help`, the same.
    All,
    Whole(&'static Entry),
}

pub(crate) fn text(topic: Topic) -> String {
    match topic {
        Topic::Short => include_str!("help/short.txt").to_owned(),
        Topic::All => include_str!("help/all.txt").to_owned(),
        Topic::Whole(entry) => entry.help.to_owned(),
        Topic::Brief(entry) => brief(entry),
    }
}

/// Up to the list of its options.
fn brief(entry: &Entry) -> String {
    match entry.help.split_once("\nOptions:\n") {
        Some((first, _)) => format!("{first}\n`plimsoll help {}` says more.\n", entry.name),
        None => entry.help.to_owned(),
    }
}
