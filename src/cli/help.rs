//! Help, written by hand.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Short,
    All,
    Check,
    Run,
    Schedule,
}

impl Topic {
    pub(crate) fn of(command: &str) -> Option<Topic> {
        match command {
            "check" => Some(Topic::Check),
            "run" => Some(Topic::Run),
            "schedule" => Some(Topic::Schedule),
            "help" => Some(Topic::All),
            _ => None,
        }
    }
}

pub(crate) fn text(topic: Topic) -> &'static str {
    match topic {
        Topic::Short => include_str!("help/short.txt"),
        Topic::All => include_str!("help/all.txt"),
        Topic::Check => include_str!("help/check.txt"),
        Topic::Run => include_str!("help/run.txt"),
        Topic::Schedule => include_str!("help/schedule.txt"),
    }
}
