//! Keeps every service on a Docker host at its load line. Modules in reading order; start with
//! `controller`, the column in the middle.

mod cli;
mod controller;
mod outside;
mod model;
mod config;
mod observe;
mod forecast;
mod decide;
mod act;
mod sim;
mod advise;
mod report;
mod serve;
mod docker;
mod haproxy;
mod child;
mod unix;
mod http_client;
mod regular_file;
mod net;
mod activator;
mod clock;
mod store;
mod preflight;
mod daemon;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
