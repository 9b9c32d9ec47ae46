//! Runs the production controller in a made-up world with made-up time. The world is in `world.rs`,
//! its invariants in `invariants.rs`, its load in `workload.rs`; the controller sees it
//! through `adapters.rs`, and `run.rs` and `executor.rs` drive it. `replay.rs` runs a load trace
//! (`trace.rs`) for `plimsoll simulate`; what that was like is in `timeline.rs`, and drawn in
//! `svg`. `past.rs` is what a forecast knows of the trace. `requests.rs` and `waiting.rs` are about
//! services that sleep. What only tests do to a world is in `fault_injection.rs`.

mod variation;
pub(crate) mod workload;
mod executor;
pub(crate) mod forecast_effect;
mod adapters;
#[cfg(test)]
mod replacement;
mod requests;
#[cfg(test)]
mod fault_injection;
#[cfg(test)]
mod hook_faults;
#[cfg(test)]
mod sleeping;
#[cfg(test)]
mod user_actions;
#[cfg(test)]
mod random;
pub(crate) mod replay;
mod invariants;
mod past;
mod run;
pub(crate) mod svg;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
pub(crate) mod trace;
pub(crate) mod waiting;
mod world;
