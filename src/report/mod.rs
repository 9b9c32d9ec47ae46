//! Turns to what people and programs read.

mod ended;
pub(crate) mod events;
mod full;
mod orphans;
pub(crate) mod prometheus;
mod repeated;
pub(crate) mod series;
pub(crate) mod status;
pub(crate) mod short;
pub(crate) mod slow;
pub(crate) mod stale;
mod steps;
mod strangers;
pub(crate) mod telemetry;
