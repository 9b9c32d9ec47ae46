//! What clients of every kind lose while HAProxy's servers come and go and HAProxy is reloaded:
//! counted request by request, through the daemon, on the real Docker and the real HAProxy. The
//! same clients then go through the naive way, so that it shows whether they would have seen a
//! failure.
//!
//! `PLIMSOLL_BENCH_REQUESTS` (1000000), `PLIMSOLL_BENCH_EVENTS` (100) and
//! `PLIMSOLL_BENCH_RELOADS` (20) make it shorter or longer. `PLIMSOLL_BENCH_ONLY` is `load`,
//! `deaths`, `sleep` or `clients`, for that part alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../account.rs"]
mod account;
#[path = "../../common/certificate.rs"]
mod certificate;
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
mod front_door;
#[path = "../../common/load.rs"]
mod load;
mod naive;
mod old;
#[path = "../../common/real_clients.rs"]
mod real_clients;
#[allow(dead_code, reason = "made for tests, which use more of it")]
#[path = "../../it/raw_http.rs"]
mod raw_http;
#[path = "../../e2e/testbed.rs"]
mod testbed;
mod sizes;
mod sleeps;
#[allow(dead_code, reason = "made for tests, which use more of it")]
#[path = "../../it/harness.rs"]
mod harness;

use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

use crate::crowd::Row;
use crate::deaths::Deaths;
use crate::fleet::{Fleet, Goal, Remains};

const NAIVE_EVENTS: u32 = 50;
/// How often a service sleeps.
const SLEEPS: usize = 10;
/// Of the measurement of earlier processes, whose clients the goal does not count.
const OLD_RELOADS: u32 = 50;

fn main() -> ExitCode {
    match std::env::var("PLIMSOLL_BENCH_ONLY").as_deref() {
        Ok("load") => {
            let lost = losses(&Fleet::start()).failed();
            return nothing_is_lost(lost);
        }
        Ok("deaths") => {
            let deaths = deaths::measure();
            deaths::print(&deaths);
            return deaths_are_good(&deaths);
        }
        Ok("sleep") => return nothing_is_lost(sleepers_lose()),
        Ok("clients") => return nothing_is_lost(others_lose()),
        Ok(other) => panic!("PLIMSOLL_BENCH_ONLY: load, deaths, sleep or clients, not {other:?}"),
        Err(_) => {}
    }
    let lost_by_others = others_lose();
    let lost_by_sleep = sleepers_lose();
    let deaths = deaths::measure();
    let fleet = Fleet::start();
    let ours = losses(&fleet);
    let old = old::measure(&fleet, OLD_RELOADS);
    let naive = naive_losses(fleet.stop());
    println!();
    naive.print_by_kind();
    println!("\nreplicas that die; what they had in hand is lost");
    deaths::print(&deaths);
    println!();
    old::print(&old);
    println!();
    sizes::print(&[1, 10, 100, 1000].map(sizes::measure));

    if old::MOST < old.most {
        eprintln!("\n{} earlier processes, and {} at most are allowed", old.most, old::MOST);
        return ExitCode::FAILURE;
    }
    if naive.failed() == 0 {
        eprintln!("\nthe naive way lost nothing, so that the other rows prove nothing");
        return ExitCode::FAILURE;
    }
    let lost = ours.failed() + old.failed() + lost_by_others + lost_by_sleep;
    if lost == 0 { deaths_are_good(&deaths) } else { nothing_is_lost(lost) }
}

fn nothing_is_lost(lost: u64) -> ExitCode {
    if lost == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("\n{lost} requests were lost");
    ExitCode::FAILURE
}

fn deaths_are_good(deaths: &Deaths) -> ExitCode {
    if deaths.unserved == 0 && deaths.poisoned == 1 && deaths.is_hung_gone {
        return ExitCode::SUCCESS;
    }
    eprintln!("\nmore was lost than what replicas had in hand that died");
    ExitCode::FAILURE
}

/// Prints the rows of the front door. Returns the requests that were lost.
fn others_lose() -> u64 {
    let (outcomes, costs) = front_door::measure();
    front_door::print(&outcomes, &costs);
    println!();
    outcomes.iter().map(|outcome| outcome.failed).sum()
}

fn sleepers_lose() -> u64 {
    let sleeps = sleeps::measure(SLEEPS);
    sleeps::print(&sleeps);
    println!();
    sleeps.failed()
}

fn from_env<T: FromStr<Err: Display>>(name: &str, default: T) -> T {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|err| panic!("{name}: {err}, got {text:?}"))
}

fn losses(fleet: &Fleet) -> Row {
    let goal = Goal {
        requests: from_env("PLIMSOLL_BENCH_REQUESTS", 1_000_000),
        events: from_env("PLIMSOLL_BENCH_EVENTS", 100),
        reloads: from_env("PLIMSOLL_BENCH_RELOADS", 20),
    };
    let before = fleet.totals();
    let crowd = fleet.crowd();
    let is_done = fleet.run(&goal, &crowd);
    let row = crowd.leave("plimsoll".to_owned());
    let after = fleet.totals();
    row.print_by_kind();
    after.print_since(&before);
    if 0 < row.failed() {
        fleet.print_log();
    }
    assert!(is_done, "some scale events did not happen");
    fleet.settle();
    row
}

fn naive_losses(remains: Remains) -> Row {
    let crowd = remains.crowd();
    let events = naive::run(&remains, NAIVE_EVENTS);
    crowd.leave(format!("the naive way, {events} scale events"))
}
