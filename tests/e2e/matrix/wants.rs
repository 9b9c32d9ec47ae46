//! What has to follow, as data.

use std::time::Duration;

use crate::fleet::{Member, Owner};
use crate::matrix::{Range, Situation, Verb};

/// The slowest is a replica without an address: unhealthy after `start_period`, then replaced.
pub(crate) const SETTLED_WITHIN: Duration = Duration::from_secs(50);

pub(crate) const VERBS: [Verb; 13] = [
    Verb::Stop,
    Verb::Start,
    Verb::Restart,
    Verb::Kill,
    Verb::Crash,
    Verb::Pause,
    Verb::Unpause,
    Verb::Rename,
    Verb::Remove,
    Verb::Update,
    Verb::Disconnect,
    Verb::Reconnect,
    Verb::Commit,
];

/// What became of the very container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Any,
    Gone,
    Platform,
    Exited,
    Paused,
}

#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) fate: Fate,
    pub(crate) serving: Range,
    /// How many containers plimsoll makes for it.
    pub(crate) made: Range,
    /// How many there are at once beyond the number that the service has.
    pub(crate) beyond: usize,
    /// For each, a line of the service's has all words.
    pub(crate) reported: Vec<&'static str>,
    pub(crate) untold: Vec<&'static str>,
    /// What `plimsoll status` says of the service.
    pub(crate) status: Option<&'static str>,
    /// None where nobody else could have answered.
    pub(crate) failed_max: Option<u64>,
}

/// What was in the hands of the replica: each of two clients has one request at a time.
const IN_HANDS: u64 = 2;

pub(crate) fn want(verb: Verb, member: &Member, situation: Situation) -> Want {
    let mut want = match member.owner {
        Owner::Ours => ours(verb, member.replicas as usize),
        Owner::Compose => composes(verb, member.replicas as usize),
        Owner::Clone => clone(verb, member.replicas as usize),
    };
    if situation == Situation::Alone && member.owner != Owner::Clone && is_felt(verb) {
        want.failed_max = None;
    }
    match situation {
        Situation::Alone | Situation::Among => {}
        Situation::Rollout => in_rollout(&mut want, member.replicas as usize),
        Situation::Draining => in_draining(&mut want, member.replicas as usize - 1),
    }
    want
}

/// Whether the replica stops to answer, be it for a moment.
fn is_felt(verb: Verb) -> bool {
    match verb {
        Verb::Stop
        | Verb::Start
        | Verb::Restart
        | Verb::Kill
        | Verb::Crash
        | Verb::Pause
        | Verb::Remove
        | Verb::Disconnect
        | Verb::Reconnect => true,
        Verb::Unpause | Verb::Rename | Verb::Update | Verb::Commit => false,
    }
}

/// The replica stays what it was.
fn followed(verb: Verb, replicas: usize) -> Want {
    Want {
        fate: Fate::Platform,
        serving: replicas..=replicas,
        made: 0..=0,
        beyond: 0,
        reported: vec![],
        untold: vec!["kind=health.crash_loop ", "kind=replica.failed ", "kind=health.replaced "],
        status: None,
        failed_max: Some(if is_felt(verb) { IN_HANDS } else { 0 }),
    }
}

/// Another one has its place.
fn replaced(verb: Verb, replicas: usize, reported: &[&'static str]) -> Want {
    Want {
        fate: Fate::Gone,
        made: 1..=1,
        beyond: 1,
        reported: reported.to_vec(),
        untold: vec!["kind=health.crash_loop ", "kind=replica.failed "],
        ..followed(verb, replicas)
    }
}

/// It is left as it is; another one may have been started beside it, if it is not the only one.
fn left(verb: Verb, fate: Fate, replicas: usize, reported: &[&'static str]) -> Want {
    let (serving, made) =
        if replicas == 1 { (0..=0, 0..=0) } else { (replicas - 1..=replicas, 0..=1) };
    Want { fate, serving, made, beyond: 1, reported: reported.to_vec(), ..followed(verb, replicas) }
}

fn ours(verb: Verb, replicas: usize) -> Want {
    match verb {
        Verb::Stop | Verb::Kill | Verb::Crash => {
            replaced(verb, replicas, &["kind=replica.exited ", "kind=health.replaced "])
        }
        Verb::Remove => replaced(verb, replicas, &["kind=replica.started "]),
        Verb::Pause => {
            replaced(verb, replicas, &["kind=health.unhealthy ", "kind=health.replaced "])
        }
        Verb::Disconnect => replaced(
            verb,
            replicas,
            &["kind=replica.not_ready bridge", "kind=health.unhealthy ", "kind=health.replaced "],
        ),
        // Whoever was first.
        Verb::Start => Want {
            fate: Fate::Any,
            made: 0..=1,
            ..replaced(verb, replicas, &["kind=replica.exited "])
        },
        Verb::Restart
        | Verb::Unpause
        | Verb::Rename
        | Verb::Update
        | Verb::Reconnect
        | Verb::Commit => followed(verb, replicas),
    }
}

fn composes(verb: Verb, replicas: usize) -> Want {
    match verb {
        Verb::Stop | Verb::Kill => Want {
            status: Some("stopped by compose").filter(|_| replicas == 1),
            ..left(verb, Fate::Exited, replicas, &["kind=compose.stopped "])
        },
        Verb::Start => Want {
            serving: replicas..=replicas,
            ..left(verb, Fate::Platform, replicas, &["kind=compose.stopped "])
        },
        Verb::Crash => {
            Want { made: 0..=0, reported: vec!["kind=replica.exited "], ..followed(verb, replicas) }
        }
        Verb::Pause => left(verb, Fate::Paused, replicas, &[]),
        Verb::Disconnect => left(verb, Fate::Platform, replicas, &["kind=replica.not_ready e2e-"]),
        Verb::Remove => left(verb, Fate::Gone, replicas, &[]),
        Verb::Restart
        | Verb::Unpause
        | Verb::Rename
        | Verb::Update
        | Verb::Reconnect
        | Verb::Commit => followed(verb, replicas),
    }
}

/// It was made by plimsoll, which may remove it; docker compose may stop it as its own.
fn clone(verb: Verb, replicas: usize) -> Want {
    match verb {
        Verb::Stop
        | Verb::Kill
        | Verb::Crash
        | Verb::Start
        | Verb::Pause
        | Verb::Disconnect
        | Verb::Remove => {
            let reported: &[_] = match verb {
                Verb::Crash => &["kind=replica.exited "],
                Verb::Disconnect => &["kind=replica.not_ready e2e-"],
                _ => &[],
            };
            Want {
                untold: vec!["kind=health.crash_loop ", "kind=replica.failed "],
                ..left(verb, Fate::Any, replicas, reported)
            }
        }
        Verb::Restart
        | Verb::Unpause
        | Verb::Rename
        | Verb::Update
        | Verb::Reconnect
        | Verb::Commit => followed(verb, replicas),
    }
}

/// Nothing of the old is left, whatever was done to it.
fn in_rollout(want: &mut Want, replicas: usize) {
    want.fate = Fate::Gone;
    want.serving = replicas..=replicas;
    want.made = replicas - 1..=replicas + 1;
    // One that stopped may still be there beside a surge.
    want.beyond = 2;
    want.reported = vec!["kind=rollout.finished "];
    want.untold = vec!["kind=health.crash_loop ", "kind=replica.failed "];
}

/// The others are as many as they should be, and what drained is gone or was left by its owner.
fn in_draining(want: &mut Want, replicas: usize) {
    want.fate = Fate::Any;
    want.serving = replicas..=replicas;
    want.made = 0..=0;
    // Of the three that were there.
    want.beyond = 0;
    want.reported = vec![];
    want.untold = vec!["kind=health.crash_loop ", "kind=replica.failed "];
}
