//! Help, written by hand.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Short,
    All,
    Check,
    Explain,
    Healthcheck,
    Pause,
    Reload,
    Resume,
    Run,
    Scale,
    Schedule,
    Simulate,
    Status,
}

impl Topic {
    pub(crate) fn of(command: &str) -> Option<Topic> {
        match command {
            "check" => Some(Topic::Check),
            "explain" => Some(Topic::Explain),
            "healthcheck" => Some(Topic::Healthcheck),
            "pause" => Some(Topic::Pause),
            "reload" => Some(Topic::Reload),
            "resume" => Some(Topic::Resume),
            "run" => Some(Topic::Run),
            "scale" => Some(Topic::Scale),
            "schedule" => Some(Topic::Schedule),
            "simulate" => Some(Topic::Simulate),
            "status" => Some(Topic::Status),
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
        Topic::Explain => include_str!("help/explain.txt"),
        Topic::Healthcheck => include_str!("help/healthcheck.txt"),
        Topic::Pause => include_str!("help/pause.txt"),
        Topic::Reload => include_str!("help/reload.txt"),
        Topic::Resume => include_str!("help/resume.txt"),
        Topic::Run => include_str!("help/run.txt"),
        Topic::Scale => include_str!("help/scale.txt"),
        Topic::Schedule => include_str!("help/schedule.txt"),
        Topic::Simulate => include_str!("help/simulate.txt"),
        Topic::Status => include_str!("help/status.txt"),
    }
}
