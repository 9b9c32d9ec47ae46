//! What deciding costs: time a service with 1, 100 and 10,000 of them, and how it grows within the
//! same run; then a simulated week, by the release binary. The model and the decisions are compiled
//! into this program, for they depend on nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(dead_code, unused_imports, reason = "tests come with what is compiled in, unused")]

#[path = "../../src/decide/mod.rs"]
mod decide;
#[path = "../../src/model/mod.rs"]
mod model;

use std::fmt::Write;
use std::hint::black_box;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use crate::model::bounds::Bounds;
use crate::model::host_cpu::ProcessorObservation;
use crate::model::image::RegistryObservation;
use crate::model::memory::ServiceMemory;
use crate::model::metric::{Metric, Milli, Reading, Source};
use crate::model::preemption::PreemptionLimits;
use crate::model::replica::{
    AdminState, ContainerId, ContainerState, Health, Load, Replica, ServerCheck, ServerSeen,
};
use crate::model::schedule::Timetable;
use crate::model::service::{Band, ContainerSpec, Origin, Percent, Service, ServiceName};
use crate::model::snapshot::{EngineSeen, ProxyObservation, Snapshot};
use crate::model::time::{Moment, Wall};

const SIZES: [u32; 3] = [1, 100, 10_000];
const REPLICAS: u32 = 20;
const ROUNDS: u32 = 7;
/// So many decisions a round at least, or the clock would be what is measured.
const DECISIONS_MIN: u32 = 10_000;
const WEEK_S: u32 = 7 * 24 * 3600;
const LOOK_S: u32 = 15;

type Cases = Vec<(Snapshot, ServiceMemory)>;

fn main() {
    println!("decisions for services of {REPLICAS} replicas, the best of {ROUNDS} rounds");
    println!("services      band, us each  growth    cpu metric, us each  growth");
    let mut first: Option<[f64; 2]> = None;
    for services in SIZES {
        let [band, metric] = [false, true].map(|by_metric| measure(services, by_metric));
        let [band_of_one, metric_of_one] = *first.get_or_insert([band, metric]);
        println!(
            "{services:>8} {band:>18.2} {:>7.2} {metric:>22.2} {:>7.2}",
            band / band_of_one,
            metric / metric_of_one
        );
    }
    week();
}

/// Microseconds a service.
fn measure(services: u32, by_metric: bool) -> f64 {
    let cases: Cases = (0..services).map(|i| case(i, by_metric)).collect();
    let repeats = DECISIONS_MIN.div_ceil(services);
    let round = || {
        let start = Instant::now();
        for _ in 0..repeats {
            for (snapshot, memory) in &cases {
                black_box(decide::plan_service(black_box(snapshot), black_box(memory)));
            }
        }
        start.elapsed()
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap();
    best.as_secs_f64() * 1e6 / f64::from(services * repeats)
}

/// At its number; a third of the services are to grow, a third to shrink, a third to stay.
fn case(i: u32, by_metric: bool) -> (Snapshot, ServiceMemory) {
    let service = Arc::new(service(i, by_metric));
    let load = [85_00, 50_00, 15_00][(i % 3) as usize];
    let now = Moment(1_800_000_000_000);
    let replicas = (1..=REPLICAS).map(|n| replica(i, n, load + u64::from(n))).collect();
    let snapshot = Snapshot {
        now,
        wall: Wall(1_800_000_000),
        due: true,
        forecast: None,
        readings: service.metrics.iter().map(|_| Reading::Replicas).collect(),
        service,
        replicas,
        starting: Vec::new(),
        failed_starts: 0,
        free_memory: None,
        processor: ProcessorObservation::Unlimited,
        preemption: PreemptionLimits::default(),
        engine: EngineSeen::Answers,
        proxy: ProxyObservation::Settled { old: 0, reloaded_at: Moment(0) },
        sleep: None,
        registry: RegistryObservation::default(),
        swarm: None,
    };
    let memory = ServiceMemory {
        desired: Some(REPLICAS),
        last_number: REPLICAS,
        ..ServiceMemory::default()
    };
    (snapshot, memory)
}

fn service(i: u32, by_metric: bool) -> Service {
    let name = ServiceName::new(&format!("service-{i}")).unwrap();
    let container = ContainerSpec::new(Origin::Image("web:1".to_owned()));
    let bounds = Bounds::new(1, 2 * REPLICAS).unwrap();
    let timetable = Timetable { bounds, hours: None, schedules: Vec::new() };
    let mut service = Service::new(name, container, 80, timetable);
    if by_metric {
        service.metrics = vec![Metric { source: Source::Cpu, target: Milli(50_000) }];
    } else {
        let percent = |n: u64| Percent::from_hundredths(n * 100);
        service.band = Band::new(percent(30), percent(75));
    }
    service
}

fn replica(service: u32, number: u32, load: u64) -> Replica {
    let ip = [10, (service >> 8) as u8, service as u8, number as u8];
    let address = SocketAddr::from((ip, 80));
    let id = ContainerId(format!("{service:032x}{number:032x}"));
    Replica {
        name: format!("service-{service}-{number}"),
        network: "bridge".to_owned(),
        started: Some(1),
        address: Some(address),
        health: Health::Healthy,
        load: Load::Read(Percent::from_hundredths(load)),
        server: Some(ServerSeen {
            address,
            admin_state: AdminState::Ready,
            is_checked: true,
            sessions: 3,
            check: ServerCheck::default(),
        }),
        ..Replica::bare(id, number, ContainerState::Running)
    }
}

/// Five days of two hills and a quieter end, a row a minute.
fn trace() -> String {
    let mut text = String::from("time_s,value\n");
    for s in (0..=WEEK_S).step_by(60) {
        let day = s / 86_400;
        let hour = f64::from(s % 86_400) / 3600.0;
        let hill = |at: f64, high: f64| high * (-((hour - at) / 2.5).powi(2)).exp();
        let load = 40.0 + hill(11.0, 230.0) + hill(20.0, 330.0);
        let noise = f64::from(s / 60 * 7919 % 101) / 10.0;
        let load = load * if day < 5 { 1.0 } else { 0.6 } + noise;
        writeln!(text, "{s},{load:.1}").unwrap();
    }
    text
}

fn week() {
    let file = env::temp_dir().join(format!("plimsoll-bench-{}.csv", process::id()));
    fs::write(&file, trace()).unwrap();
    let program =
        env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_plimsoll").into());
    let run = || {
        let mut command = Command::new(&program);
        command.args(["simulate", "--config", "contrib/examples/simulate.json"]);
        command.args(["--start", "2026-03-02", "--load"]).arg(&file);
        let start = Instant::now();
        let status = command.stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{status}");
        start.elapsed()
    };
    let best: Duration = (0..3).map(|_| run()).min().unwrap();
    fs::remove_file(&file).unwrap();
    let looks = f64::from(WEEK_S / LOOK_S);
    let seconds = best.as_secs_f64();
    println!(
        "\na simulated week of {looks} looks: {seconds:.2} s, {:.0} looks a second",
        looks / seconds
    );
}
