//! The dashboard in a real Chromium, against a scripted daemon: what is shown, what a press sends,
//! and that the page stays still. Chromium and axe-core are needed: `contrib/setup.sh test` gets
//! them, and nothing is left out without them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod accessible;
mod actions;
mod chromium;
#[path = "../common/daemon.rs"]
mod daemon;
mod made_up;
mod pictures;
mod service;
mod shown;
mod site;
mod still;
mod tab;
