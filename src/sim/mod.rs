//! Runs the production `tick` in a made-up world with made-up time. The world is in `world.rs`, the
//! daemon sees it through `faces.rs` and `crew.rs`, and `run.rs` takes its turns.

mod crew;
mod faces;
mod random;
mod run;
mod tests;
mod world;
