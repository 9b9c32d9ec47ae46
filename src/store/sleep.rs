//! The format of a service's sleep in `state.json`.

use serde::{Deserialize, Serialize};

use crate::model::sleep::{SleepMemory, WakeCause, WakeUp};
use crate::model::time::Moment;

#[derive(Default, Serialize, Deserialize)]
pub(super) struct SleepFields {
    asleep: Option<u64>,
    is_told: bool,
    wake_up: Option<WakeUpFields>,
}

#[derive(Serialize, Deserialize)]
struct WakeUpFields {
    since: u64,
    by: String,
    is_ready: bool,
    is_used: bool,
    is_told: bool,
}

impl SleepFields {
    pub(super) fn pack(memory: &SleepMemory) -> SleepFields {
        let SleepMemory { asleep, is_told, wake_up } = *memory;
        let wake_up = wake_up.map(|WakeUp { since, by, is_ready, is_used, is_told }| {
            let by = by.word().to_owned();
            WakeUpFields { since: since.0, by, is_ready, is_used, is_told }
        });
        SleepFields { asleep: asleep.map(|since| since.0), is_told, wake_up }
    }

    /// A cause of a later version is not known: the wake-up is forgotten.
    pub(super) fn unpack(self, past: impl Fn(u64) -> Moment) -> SleepMemory {
        let wake_up = self.wake_up.and_then(|fields| {
            let by = WakeCause::ALL.into_iter().find(|cause| cause.word() == fields.by)?;
            let WakeUpFields { since, is_ready, is_used, is_told, .. } = fields;
            Some(WakeUp { since: past(since), by, is_ready, is_used, is_told })
        });
        SleepMemory { asleep: self.asleep.map(past), is_told: self.is_told, wake_up }
    }
}
