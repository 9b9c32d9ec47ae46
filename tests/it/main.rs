//! Black-box tests: they run the built program against scripted sockets, and read the source tree.
//! They contain no code of the program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod cli;
#[path = "../common/daemon.rs"]
mod daemon;
mod docs;
mod golden;
#[path = "../common/load.rs"]
mod load;
mod load_client;
mod tidy;
