//! Preemptions in `state.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::preemption::{
    Preemption, PreemptionMemory, PreemptionStep, REFUSED_FOR, Shortage,
};
use crate::model::time::Moment;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct StoredPreemptions {
    #[serde(default)]
    list: Vec<StoredPreemption>,
    #[serde(default)]
    refused: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct StoredPreemption {
    victim: String,
    victim_priority: u8,
    cap: u32,
    beneficiary: String,
    priority: u8,
    had: u32,
    /// Bytes. `None`: the processor is short.
    needed: Option<u64>,
    #[serde(default)]
    begun: u64,
    step: StoredStep,
    since: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredStep {
    Draining,
    Ready,
    Used,
    Returning,
}

impl StoredPreemptions {
    pub(crate) fn pack(memory: &PreemptionMemory) -> StoredPreemptions {
        let refused = memory.refused.iter().map(|(name, until)| (name.clone(), until.0));
        StoredPreemptions {
            list: memory.list.iter().map(pack).collect(),
            refused: refused.collect(),
        }
    }

    /// How long there was room is measured anew. A clock that was put back prolongs nothing.
    pub(crate) fn unpack(self, now: Moment) -> PreemptionMemory {
        let past = |ms: u64| Moment(ms).min(now);
        let latest = now.plus(REFUSED_FOR);
        let refused = self.refused.into_iter();
        let refused = refused.map(|(name, until)| (name, Moment(until).min(latest)));
        PreemptionMemory {
            list: self.list.into_iter().map(|one| unpack(one, past)).collect(),
            refused: refused.collect(),
            room_since: None,
        }
    }
}

fn pack(one: &Preemption) -> StoredPreemption {
    StoredPreemption {
        victim: one.victim.clone(),
        victim_priority: one.victim_priority,
        cap: one.cap,
        beneficiary: one.beneficiary.clone(),
        priority: one.priority,
        had: one.had,
        needed: match one.shortage {
            Shortage::Memory { needed } => Some(needed),
            Shortage::Processor => None,
        },
        step: match one.step {
            PreemptionStep::Draining => StoredStep::Draining,
            PreemptionStep::Ready => StoredStep::Ready,
            PreemptionStep::Used => StoredStep::Used,
            PreemptionStep::Returning => StoredStep::Returning,
        },
        begun: one.begun.0,
        since: one.since.0,
    }
}

fn unpack(one: StoredPreemption, past: impl Fn(u64) -> Moment) -> Preemption {
    Preemption {
        victim: one.victim,
        victim_priority: one.victim_priority,
        cap: one.cap,
        beneficiary: one.beneficiary,
        priority: one.priority,
        had: one.had,
        shortage: one.needed.map_or(Shortage::Processor, |needed| Shortage::Memory { needed }),
        step: match one.step {
            StoredStep::Draining => PreemptionStep::Draining,
            StoredStep::Ready => PreemptionStep::Ready,
            StoredStep::Used => PreemptionStep::Used,
            StoredStep::Returning => PreemptionStep::Returning,
        },
        begun: past(one.begun),
        since: past(one.since),
    }
}

/// One of each kind, to be stored at 1000 ms.
#[cfg(test)]
pub(crate) fn sample() -> PreemptionMemory {
    let one = |cap, shortage, step| Preemption {
        victim: "web".to_owned(),
        victim_priority: 20,
        cap,
        beneficiary: "api".to_owned(),
        priority: 80,
        had: 1,
        shortage,
        begun: Moment(880),
        step,
        since: Moment(890),
    };
    let memory = Shortage::Memory { needed: 5 };
    let list = vec![
        one(4, memory, PreemptionStep::Used),
        one(3, Shortage::Processor, PreemptionStep::Returning),
        one(2, memory, PreemptionStep::Ready),
        one(1, memory, PreemptionStep::Draining),
    ];
    let refused = [("cron".to_owned(), Moment(600_900))].into();
    PreemptionMemory { list, refused, room_since: None }
}
