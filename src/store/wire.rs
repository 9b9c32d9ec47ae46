//! The state file's own shape, with a version, apart from the model: a change of the one is no
//! change of the other. Moments are milliseconds since the Unix epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::memory::{Drain, DrainStep, Failures, Memory, ServiceMemory};
use crate::model::replica::ContainerId;
use crate::model::time::Moment;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    services: BTreeMap<String, ServiceState>,
}

#[derive(Serialize, Deserialize)]
struct ServiceState {
    wanted: Option<u32>,
    last_number: u32,
    changed_at: Option<u64>,
    drains: BTreeMap<String, DrainState>,
    failures: u32,
    failed_at: u64,
}

#[derive(Serialize, Deserialize)]
struct DrainState {
    since: u64,
    released: bool,
}

pub(crate) fn text(memory: &Memory) -> String {
    let services = memory.services.iter().map(|(name, m)| (name.clone(), pack(m))).collect();
    let state = State { version: VERSION, services };
    // Maps with string keys and numbers: there is nothing in it that could fail.
    serde_json::to_string_pretty(&state).unwrap_or_default()
}

fn pack(memory: &ServiceMemory) -> ServiceState {
    let drain = |(id, drain): (&ContainerId, &Drain)| {
        let released = drain.step == DrainStep::Released;
        (id.0.clone(), DrainState { since: drain.since.0, released })
    };
    ServiceState {
        wanted: memory.wanted,
        last_number: memory.last_number,
        changed_at: memory.changed_at.map(|m| m.0),
        drains: memory.drains.iter().map(drain).collect(),
        failures: memory.failures.count,
        failed_at: memory.failures.last.0,
    }
}

/// What lies in the future, because the clock was set back since, is taken to be now: nothing may
/// wait for a moment that is years away.
pub(crate) fn parse(text: &str, now: Moment) -> Result<Memory, String> {
    let state: State = serde_json::from_str(text).map_err(|err| err.to_string())?;
    if state.version != VERSION {
        return Err(format!("version {} is not {VERSION}", state.version));
    }
    let services = state.services.into_iter().map(|(name, s)| (name, unpack(s, now)));
    Ok(Memory { services: services.collect() })
}

fn unpack(state: ServiceState, now: Moment) -> ServiceMemory {
    let past = |ms: u64| Moment(ms).min(now);
    let drain = |(id, drain): (String, DrainState)| {
        // Looks that were not seen by this daemon do not count.
        let step =
            if drain.released { DrainStep::Released } else { DrainStep::Emptying { quiet: 0 } };
        (ContainerId(id), Drain { since: past(drain.since), step })
    };
    ServiceMemory {
        wanted: state.wanted,
        last_number: state.last_number,
        changed_at: state.changed_at.map(past),
        drains: state.drains.into_iter().map(drain).collect(),
        failures: Failures { count: state.failures, last: past(state.failed_at) },
    }
}

#[cfg(test)]
mod tests {
    use crate::model::memory::{Drain, DrainStep, Failures, Memory, ServiceMemory};
    use crate::model::replica::ContainerId;
    use crate::model::time::Moment;
    use crate::store::wire::{parse, text};

    fn sample() -> Memory {
        let drain = |since, step| Drain { since: Moment(since), step };
        let web = ServiceMemory {
            wanted: Some(3),
            last_number: 7,
            changed_at: Some(Moment(1000)),
            drains: [
                (ContainerId("a".to_owned()), drain(900, DrainStep::Released)),
                (ContainerId("b".to_owned()), drain(950, DrainStep::Emptying { quiet: 0 })),
            ]
            .into(),
            failures: Failures { count: 2, last: Moment(800) },
        };
        Memory { services: [("web".to_owned(), web)].into() }
    }

    #[test]
    fn what_is_stored_comes_back() {
        assert_eq!(parse(&text(&sample()), Moment(1000)).unwrap(), sample());
    }

    #[test]
    fn nothing_comes_back_from_the_future() {
        let memory = parse(&text(&sample()), Moment(950)).unwrap();
        assert_eq!(memory.services["web"].changed_at, Some(Moment(950)));
        assert_eq!(memory.services["web"].failures.last, Moment(800));
    }

    #[test]
    fn a_damaged_file_is_told_apart() {
        let good = text(&sample());
        let other = good.replace("\"version\": 1", "\"version\": 2");
        for bad in ["", "{}", "null", &good[..good.len() / 2], &other] {
            assert!(parse(bad, Moment(0)).is_err(), "{bad}");
        }
    }
}
