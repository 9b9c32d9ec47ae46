//! What clients lose while HAProxy's servers come and go and HAProxy is reloaded: counted request
//! by request, through the daemon, on the real Docker and the real HAProxy. The same clients then
//! go through the naive way, so that it shows whether they would have seen a failure.
//!
//! `PLIMSOLL_BENCH_EVENTS` (200) and `PLIMSOLL_BENCH_RELOADS` (50) make it shorter or longer;
//! with `PLIMSOLL_BENCH_DEATHS` only replicas die.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod crowd;
#[path = "../../common/daemon.rs"]
mod daemon;
mod deaths;
#[allow(dead_code, reason = "made for tests, which use more of it")]
#[path = "../../it/fake_docker.rs"]
mod fake_docker;
#[allow(dead_code, reason = "made for tests, which use more of it")]
#[path = "../../it/fake_http.rs"]
mod fake_http;
mod fleet;
#[path = "../../common/load.rs"]
mod load;
mod naive;
mod old;
#[path = "../../e2e/testbed.rs"]
mod testbed;
mod sizes;
#[allow(dead_code, reason = "made for tests, which use more of it")]
#[path = "../../it/harness.rs"]
mod harness;

use std::process::ExitCode;

use crate::crowd::Row;
use crate::deaths::Deaths;
use crate::fleet::{Fleet, Remains};

fn main() -> ExitCode {
    let deaths = deaths::measure();
    if std::env::var_os("PLIMSOLL_BENCH_DEATHS").is_some() {
        deaths::print(&deaths);
        return deaths_are_good(&deaths);
    }
    let events = from_env("PLIMSOLL_BENCH_EVENTS", 200);
    let reloads = from_env("PLIMSOLL_BENCH_RELOADS", 50);
    let fleet = Fleet::start();
    let ours = losses(&fleet, events, reloads);
    let old = old::measure(&fleet, reloads);
    let naive = naive_losses(fleet.stop(), events / 4);
    println!("\nfailures / requests, by method and kind of client");
    crowd::print(ours.iter().chain([&naive]));
    println!("\nreplicas that die; what they had in hand is lost");
    deaths::print(&deaths);
    println!();
    old::print(&old);
    println!();
    sizes::print(&[1, 10, 100, 1000].map(sizes::measure));

    let lost = ours.iter().map(Row::failed).sum::<u64>() + old.failed();
    if 0 < lost {
        eprintln!("\n{lost} requests were lost");
        return ExitCode::FAILURE;
    }
    if old::MOST < old.most {
        eprintln!("\n{} earlier processes, and {} at most are allowed", old.most, old::MOST);
        return ExitCode::FAILURE;
    }
    if naive.failed() == 0 {
        eprintln!("\nthe naive way lost nothing, so that the other rows prove nothing");
        return ExitCode::FAILURE;
    }
    deaths_are_good(&deaths)
}

fn deaths_are_good(deaths: &Deaths) -> ExitCode {
    if deaths.unserved == 0 && deaths.poisoned == 1 && deaths.is_hung_gone {
        return ExitCode::SUCCESS;
    }
    eprintln!("\nmore was lost than what replicas had in hand that died");
    ExitCode::FAILURE
}

fn from_env(name: &str, default: u32) -> u32 {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|err| panic!("{name}: {err}, got {text:?}"))
}

/// Half of the events and half of the reloads come alone, the others at the same time: a reload in
/// the middle of a drain is the harder case.
fn losses(fleet: &Fleet, events: u32, reloads: u32) -> Vec<Row> {
    let alone = (events / 2, reloads / 2);
    let both = (events - alone.0, reloads - alone.1);
    let mut rows = Vec::new();
    for (events, reloads) in [(alone.0, 0), (0, alone.1), both] {
        let crowd = fleet.crowd();
        fleet.run(events, reloads);
        rows.push(crowd.leave(format!("plimsoll: {}", shown(events, reloads))));
        fleet.settle();
    }
    fleet.print_facts();
    rows
}

fn naive_losses(remains: Remains, events: u32) -> Row {
    let crowd = remains.crowd();
    let events = naive::run(&remains, events);
    crowd.leave(format!("naive: {}", shown(events, 0)))
}

fn shown(events: u32, reloads: u32) -> String {
    match (events, reloads) {
        (events, 0) => format!("{events} scale events"),
        (0, reloads) => format!("{reloads} forced reloads"),
        (events, reloads) => format!("{events} scale events, {reloads} reloads"),
    }
}
