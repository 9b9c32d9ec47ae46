//! The format of a number that the forecast raised, in `state.json`.

use serde::{Deserialize, Serialize};

use crate::model::forecast::ForecastRaise;
use crate::model::history::Recommendation;
use crate::model::time::Moment;

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct RaiseFields {
    load: u32,
    to: u32,
    /// When the forecast asked for a number last, and for which.
    asked: (u64, u32),
}

impl RaiseFields {
    pub(super) fn pack(raise: &ForecastRaise) -> RaiseFields {
        let ForecastRaise { load, to, asked } = *raise;
        RaiseFields { load, to, asked: (asked.at.0, asked.replicas) }
    }

    pub(super) fn unpack(self, past: impl Fn(u64) -> Moment) -> ForecastRaise {
        let (at, replicas) = self.asked;
        let asked = Recommendation { at: past(at), replicas };
        ForecastRaise { load: self.load, to: self.to, asked }
    }
}
