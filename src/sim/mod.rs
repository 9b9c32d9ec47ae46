//! Runs the production `tick` in a made-up world with made-up time.

mod crew;
mod faces;
mod random;
mod run;
mod tests;
mod world;
