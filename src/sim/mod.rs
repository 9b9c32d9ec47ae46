//! Runs the production controller in a made-up world with made-up time. The world is in `world.rs`,
//! what must hold in it in `rules.rs`, what is asked of it in `demand.rs`; the controller sees it
//! through `faces.rs`, and `run.rs` and `executor.rs` drive it. `replay.rs` runs a load trace
//! (`trace.rs`) for `plimsoll simulate`; what that was like is in `timeline.rs`, and drawn in
//! `svg`. What only tests do to a world is in `ordeal.rs`.

mod chance;
pub(crate) mod demand;
mod executor;
mod faces;
#[cfg(test)]
mod healing;
#[cfg(test)]
mod ordeal;
#[cfg(test)]
mod people;
#[cfg(test)]
mod random;
pub(crate) mod replay;
mod rules;
mod run;
pub(crate) mod svg;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
pub(crate) mod trace;
mod world;
