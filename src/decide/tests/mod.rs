//! Tables for what we thought of, every small world for what we did not.
//!
//! A world in the tables is a strip of letters, oldest replica first, numbered from 1:
//!
//! | letter | replica |
//! |---|---|
//! | `R` | ready: HAProxy serves it, with a sample of its load |
//! | `P` | ready by our own probe, with a sample; HAProxy does not have it yet |
//! | `M` | ready, without a sample |
//! | `U` | runs, not known to serve |
//! | `N` | runs, without an address |
//! | `C` | made, not started |
//! | `D` | drains, with a session left |
//! | `L` | released, still in HAProxy's list |
//! | `G` | released, gone from HAProxy's list |
//! | `X` | exited |
//! | `F` | frozen: `docker pause`; `f`: since a moment ago |
//! | `B` | exits because we remove it right now |
//! | `I` | served, and its health check just began to fail |
//! | `S` | ill, and out of HAProxy's list |
//! | `O` | ready and served, made from another spec |
//! | `Q` | runs, made from another spec, and does not pass |
//! | `E` | drains, made from another spec |

mod adopt;
mod cases;
mod crowd;
mod drains;
mod forecast;
mod image_update;
mod hpa;
mod hpa_history;
mod hpa_worlds;
mod health;
mod kept_addresses;
mod metrics;
mod numbers;
mod people;
mod preemption;
mod preemption_returns;
mod processor;
mod proxy;
mod rollout;
mod sleep;
mod small_worlds;
mod starts;
mod swarm;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::decide::plan_service;
use crate::model::action::Action;
use crate::model::behavior::{Behavior, Cap, Rules};
use crate::model::bounds::Bounds;
use crate::model::history::Recommendation;
use crate::model::host_cpu::{ProcessorObservation, ProcessorState};
use crate::model::memory::{
    Drain, DrainStep, Failures, Hold, PanicMode, Pause, ServiceMemory, Unhealthy,
};
use crate::model::metric::{Field, Metric, Milli, Reading, Source};
use crate::model::plan::{Plan, ReplicaTransition, ServiceTransition};
use crate::model::reason::Rule;
use crate::model::replica::{
    AdminState, ContainerId, ContainerState, Health, Load, Replica, ServerCheck, ServerSeen,
};
use crate::model::schedule::{Hours, Outside, Schedule, TimeOfDay, Timetable, Weekdays, Window};
use crate::model::service::{
    Band, ContainerSpec, Cooldown, Origin, Percent, Platform, Rollout, Service, ServiceName,
};
use crate::model::snapshot::{EngineSeen, ProxyObservation, Snapshot};
use crate::model::swarm::{SwarmMemory, SwarmServiceState};
use crate::model::time::{Moment, Wall};
use crate::model::zone::Zone;

pub(crate) const NOW: Moment = Moment(1_000_000_000);
pub(crate) const S: Duration = Duration::from_secs(1);

/// One row: `strip loads min..max desired words… | desired [what] why`. Loads are percentages, one
/// for each replica with a sample, the last one for all that are left. A desired of `?` is a first
/// look. The words are the facts that are not as in a quiet world; see `apply`.
#[track_caller]
fn table(rows: &str) {
    let mut bad = String::new();
    for row in rows.lines().map(str::trim).filter(|r| !r.is_empty()) {
        let (input, want) = row.split_once('|').expect("a row is `world | plan`");
        let (snapshot, memory) = sketch(input);
        let got = shown(&plan_service(&snapshot, &memory).0);
        if got != want.trim() {
            bad += &format!("\n  {input}| {got}\n    but the table says {want}");
        }
    }
    assert!(bad.is_empty(), "rows that differ:{bad}");
}

fn sketch(input: &str) -> (Snapshot, ServiceMemory) {
    let mut words = input.split_whitespace();
    let mut next = || words.next().expect("strip loads min..max desired");
    let strip = next();
    let loads = next();
    let bounds = next();
    let desired = next();
    let (min, max) = bounds.split_once("..").expect("bounds are min..max");
    let bounds = Bounds::new(number(min), number(max)).unwrap();
    let mut snapshot = Snapshot {
        now: NOW,
        wall: Wall(0),
        due: true,
        service: Arc::new(service(bounds, Some(band(30_00, 75_00)))),
        replicas: Vec::new(),
        starting: Vec::new(),
        forecast: None,
        readings: Vec::new(),
        free_memory: None,
        processor: ProcessorObservation::Unlimited,
        preemption: crate::model::preemption::PreemptionLimits::default(),
        failed_starts: 0,
        engine: EngineSeen::Answers,
        proxy: ProxyObservation::Settled { old: 0, reloaded_at: Moment(0) },
        sleep: None,
        registry: crate::model::image::RegistryObservation::default(),
        swarm: None,
    };
    let mut memory = ServiceMemory { desired: desired.parse().ok(), ..ServiceMemory::default() };
    let mut loads: Vec<u64> = loads.split(',').filter(|l| *l != "-").map(hundredths).collect();
    loads.reverse();
    for (letter, n) in strip.chars().filter(|c| *c != '-').zip(1..) {
        let load = loads.last().copied().unwrap_or(50_00);
        let (replica, drain) = replica(letter, n, load);
        if matches!(replica.load, Load::Read(_)) && 1 < loads.len() {
            loads.pop();
        }
        memory.drains.extend(drain.map(|d| (replica.id.clone(), d)));
        memory.unhealthy.extend(unhealthy(letter).map(|unhealthy| (replica.id.clone(), unhealthy)));
        snapshot.replicas.push(replica);
    }
    words.for_each(|word| apply(word, &mut snapshot, &mut memory));
    (snapshot, memory)
}

fn apply(word: &str, snapshot: &mut Snapshot, memory: &mut ServiceMemory) {
    let ago = |ms: &str| Moment(NOW.0 - ms.parse::<u64>().unwrap());
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    match key {
        "between" => snapshot.due = false,
        "lost" => snapshot.engine = EngineSeen::Lost,
        "untold" => snapshot.engine = EngineSeen::Untold,
        "silent" => snapshot.proxy = ProxyObservation::Silent,
        "changing" => snapshot.proxy = ProxyObservation::Changing,
        // Milliseconds since load last changed the number.
        "changed" => memory.changed_at = Some(ago(value)),
        "band" => {
            // `band=-` is none.
            let band = value.split_once('/').map(|(l, u)| band(hundredths(l), hundredths(u)));
            change(snapshot, |service| service.band = band);
        }
        "starting" => snapshot.starting = value.split(',').map(number).collect(),
        "failed" => snapshot.failed_starts = number(value),
        // How many in a row, and milliseconds since the last.
        "failures" => {
            let (count, ms) = value.split_once('/').unwrap();
            let count = number(count);
            let last = ago(ms);
            memory.failures = Failures { count, last, ..Failures::default() };
        }
        // The wall clock stands at midnight, UTC; `hold` or a number outside the hours.
        "outside" => {
            let count = value.parse().map(Outside::Count);
            let outside = count.unwrap_or(Outside::Hold);
            let hours = Some(Hours { window: window(9 * 60, 17 * 60), outside });
            change(snapshot, |service| service.timetable.hours = hours);
        }
        "schedule" => {
            let (min, max) = value.split_once("..").unwrap();
            let bounds = Bounds::new(number(min), number(max)).unwrap();
            let name = "rush".to_owned();
            let window = window(0, 60);
            let schedule = Schedule { name, window, bounds, prewarm: Duration::ZERO };
            change(snapshot, |service| service.timetable.schedules.push(schedule));
        }
        // A number, and milliseconds until it is over.
        "hold" => {
            let (count, left) = value.split_once('/').unwrap_or((value, "-"));
            let until = left.parse::<u64>().ok().map(|ms| Moment(NOW.0 + ms));
            memory.hold = Some(Hold { count: number(count), until, reason: None });
        }
        "paused" => {
            let until = value.parse::<u64>().ok().map(|ms| Moment(NOW.0 + ms));
            memory.pause = Some(Pause { until });
        }
        // MiB that are free beside the reserve, and that one replica takes.
        "room" => {
            let (free, limit) = value.split_once('/').unwrap();
            let bytes = |mib: &str| mib.parse::<u64>().ok().map(|mib| mib << 20);
            snapshot.free_memory = bytes(free);
            change(snapshot, |service| service.container.memory = bytes(limit));
        }
        "host_busy" | "host_calm" | "limited" | "composed_limit" => of_host(key, value, snapshot),
        "by" => by(value, snapshot),
        "calm" => {
            let calm = Behavior { tolerance: 10, scale_up: Rules::up(), scale_down: Rules::down() };
            change(snapshot, |service| service.behavior = Some(calm));
        }
        // A number that was asked for, and how many milliseconds ago.
        "asked" => {
            let (replicas, ms) = value.split_once('/').unwrap();
            let entry = Recommendation { at: ago(ms), replicas: number(replicas) };
            memory.history.recommendations.push(entry);
        }
        "given" => memory.last_number = number(value),
        _ => apply_replacing(key, value, snapshot, memory),
    }
}

fn apply_replacing(key: &str, value: &str, snapshot: &mut Snapshot, memory: &mut ServiceMemory) {
    match key {
        // After `failures`: since how many milliseconds as many serve as are desired, and fewer.
        "well" => {
            let ago = |ms: &str| Moment(NOW.0 - ms.parse::<u64>().unwrap());
            let (well, short) = value.split_once('/').unwrap_or((value, ""));
            memory.failures.well_since = Some(ago(well));
            memory.failures.short_since = (!short.is_empty()).then(|| ago(short));
        }
        "compose" => change(snapshot, |service| {
            let project = "shop".to_owned();
            let of = "web".to_owned();
            service.container.origin = Origin::Compose { project, service: of };
        }),
        "suspected" => {
            let until = value.parse::<u64>().ok().map(|ms| Moment(NOW.0 + ms));
            memory.panic_mode = Some(PanicMode { until });
            memory.unhealthy.values_mut().for_each(|unhealthy| unhealthy.ignored = true);
        }
        // How many above the number, and how many below.
        "surge" => {
            let (surge, unavailable) = value.split_once('/').unwrap();
            let max_surge = number(surge);
            let max_unavailable = number(unavailable);
            change(snapshot, |service| {
                service.rollout = Rollout { max_surge, max_unavailable, ..service.rollout };
            });
        }
        "restarted" => memory.rollout.restart_up_to = number(value),
        "known" | "away" | "abandoned" | "run" | "clones" | "ended" => {
            people::apply(key, value, snapshot, memory)
        }
        "idle" | "held" | "queue" | "copies" | "answered" | "woken" | "slept" => {
            sleep::apply(key, value, snapshot, memory)
        }
        "forecast" | "shadow" | "raised" => forecast::apply(key, value, snapshot, memory),
        "swarm" | "busy" | "follows" | "port" | "was" => of_swarm(key, value, snapshot, memory),
        other => panic!("no such fact: {other}"),
    }
}

/// `swarm=DESIRED/SEEN+ASKED` is a service of Swarm's; without the rest it was never looked at. It
/// scales by its metrics alone, and this node leads unless it `follows`.
fn of_swarm(key: &str, value: &str, snapshot: &mut Snapshot, memory: &mut ServiceMemory) {
    if key == "was" {
        memory.swarm = Some(SwarmMemory { seen: number(value), asked: None });
        return;
    }
    let swarm = snapshot.swarm.get_or_insert_with(SwarmServiceState::default);
    match key {
        "busy" => swarm.busy = true,
        "follows" => swarm.leads = false,
        "port" => {
            let port = u16::try_from(number(value)).unwrap();
            swarm.address = Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        }
        _ => {
            let (desired, before) = value.split_once('/').unwrap_or((value, ""));
            (swarm.desired, swarm.leads) = (number(desired), true);
            let (seen, asked) = before.split_once('+').unwrap_or((before, ""));
            let asked = asked.parse().ok();
            memory.swarm = seen.parse().ok().map(|seen| SwarmMemory { seen, asked });
            change(snapshot, |service| {
                service.runs = Platform::Swarm("shop_web".to_owned());
                service.band = None;
            });
        }
    }
}

/// `cpu/60` and `memory/60` are of the replicas; `total:90/40` and `average:90/40` were read;
/// `failed/40` and `pending/40` were not. The target comes last.
fn of_host(key: &str, value: &str, snapshot: &mut Snapshot) {
    match key {
        "limited" => change(snapshot, |service| service.container.nano_cpus = Some(500_000_000)),
        // The containers of docker compose have a limit.
        "composed_limit" => {
            snapshot.replicas.iter_mut().for_each(|r| r.usage.has_cpu_limit = true);
        }
        // Percent of the host's processors that are idle.
        _ => {
            snapshot.processor = ProcessorObservation::Known(ProcessorState {
                idle: Percent::from_hundredths(hundredths(value)),
                pressure: None,
                is_busy: key == "host_busy",
                reserve: Percent::from_hundredths(5_00),
                cores: 2,
            });
        }
    }
}

fn by(value: &str, snapshot: &mut Snapshot) {
    let (what, target) = value.split_once('/').unwrap();
    let (kind, value) = what.split_once(':').unwrap_or((what, "0"));
    let milli = |text: &str| Milli(u64::from(number(text)) * 1000);
    let (source, reading) = match kind {
        "cpu" => (Source::Cpu, Reading::Replicas),
        "memory" => (Source::Memory, Reading::Replicas),
        "total" => (Source::Haproxy(Field::Sessions), Reading::Total(milli(value))),
        "average" => (Source::Haproxy(Field::ResponseTimeMs), Reading::Average(milli(value))),
        "failed" => (Source::Haproxy(Field::Queue), Reading::Failed("refused".to_owned())),
        "pending" => (Source::Haproxy(Field::Queue), Reading::Pending),
        other => panic!("no such metric: {other}"),
    };
    change(snapshot, |service| service.metrics.push(Metric { source, target: milli(target) }));
    snapshot.readings.push(reading);
}

fn change(snapshot: &mut Snapshot, how: impl FnOnce(&mut Service)) {
    how(Arc::make_mut(&mut snapshot.service));
}

fn window(start: u16, end: u16) -> Window {
    let [start, end] = [start, end].map(|minutes| TimeOfDay::from_minutes(minutes).unwrap());
    let days = Weekdays::ALL;
    let zone = Zone::UTC;
    Window { days, start, end, zone, holidays: BTreeSet::new() }
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("{text} is not a number"))
}

fn hundredths(percent: &str) -> u64 {
    let (whole, part) = percent.split_once('.').unwrap_or((percent, "00"));
    u64::from(number(whole)) * 100 + u64::from(number(&format!("{part:0<2}")))
}

fn band(lower: u64, upper: u64) -> Band {
    Band::new(Percent::from_hundredths(lower), Percent::from_hundredths(upper)).unwrap()
}

pub(crate) fn service(bounds: Bounds, band: Option<Band>) -> Service {
    let name = ServiceName::new("web").unwrap();
    let image = Origin::Image("web:1".to_owned());
    Service {
        band,
        cooldown: Cooldown { up: 30 * S, down: 60 * S },
        ..Service::new(name, ContainerSpec::new(image), 80, Timetable::always(bounds))
    }
}

fn id(n: u32) -> ContainerId {
    ContainerId(format!("{n:064x}"))
}

fn address(n: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 80)
}

fn replica(letter: char, n: u32, load: u64) -> (Replica, Option<Drain>) {
    let admin_state = AdminState::Ready;
    let is_checked = true;
    let check = ServerCheck::default();
    let server = ServerSeen { address: address(n), admin_state, is_checked, sessions: 1, check };
    let ready = Replica {
        name: format!("web-{n}"),
        network: "bridge".to_owned(),
        address: Some(address(n)),
        health: Health::Healthy,
        load: Load::Read(Percent::from_hundredths(load)),
        server: Some(server),
        ..Replica::bare(id(n), n, ContainerState::Running)
    };
    let plain = Replica { load: Load::Missing, server: None, ..ready.clone() };
    let since = Moment(NOW.0 - 1000);
    let emptying = Drain { since, step: DrainStep::Draining { quiet: 0 } };
    let released = Some(Drain { since, step: DrainStep::Drained });
    let shown = Some(ServerSeen { admin_state: AdminState::Drain, ..server });
    let other = Some("other".to_owned());
    match letter {
        'R' => (ready, None),
        'P' => (Replica { server: None, ..ready }, None),
        'M' => (Replica { load: Load::Missing, ..ready }, None),
        'U' => (Replica { health: Health::Starting, ..plain }, None),
        'N' => (Replica { address: None, health: Health::Unknown, ..plain }, None),
        'C' => {
            let state = ContainerState::Created;
            (Replica { state, address: None, health: Health::Unknown, ..plain }, None)
        }
        'D' => (Replica { server: shown, ..ready }, Some(emptying)),
        'L' => (Replica { server: shown, ..plain }, released),
        'G' => (plain, released),
        'X' => (Replica { state: ContainerState::Exited, address: None, ..plain }, None),
        'B' => {
            let state = ContainerState::Exited;
            (Replica { state, busy: true, ..plain }, released)
        }
        'F' => (Replica { state: ContainerState::Paused, ..ready }, None),
        'f' => (Replica { state: ContainerState::Paused, is_held: true, ..ready }, None),
        'I' => (Replica { health: ill(), ..ready }, None),
        'S' => (Replica { health: ill(), ..plain }, None),
        'O' => (Replica { spec: other, ..ready }, None),
        'Q' => (Replica { spec: other, health: Health::Starting, ..plain }, None),
        'E' => (Replica { spec: other, server: shown, ..ready }, Some(emptying)),
        other => panic!("no replica like {other}"),
    }
}

fn ill() -> Health {
    Health::Unhealthy { since: NOW, error: "503".to_owned() }
}

/// What is remembered of it.
fn unhealthy(letter: char) -> Option<Unhealthy> {
    let since = Moment(NOW.0 - 60_000);
    let error = "503".to_owned();
    (letter == 'S').then_some(Unhealthy { since, error, served: true, ignored: false })
}

/// `desired [steps, milestones and actions] rules`.
fn shown(plan: &Plan) -> String {
    let transitions = plan.transitions.iter().map(step_shown);
    let transitions = transitions.chain(plan.service_transitions.iter().map(milestone_shown));
    let what: Vec<String> = transitions.chain(plan.actions.iter().map(action_shown)).collect();
    let why: Vec<String> =
        plan.decision.because.iter().map(|cause| rule_shown(&cause.rule)).collect();
    format!("{} [{}] {}", plan.decision.desired, what.join(", "), why.join(" "))
}

fn step_shown(step: &ReplicaTransition) -> String {
    match step {
        ReplicaTransition::DrainStarted { number } => format!("drain {number}"),
        ReplicaTransition::DrainCancelled { number } => format!("back {number}"),
        ReplicaTransition::Exited { number, .. } => format!("exited {number}"),
        ReplicaTransition::DrainEnded { number, cut } => format!("release {number} cut {cut}"),
        ReplicaTransition::BecameUnhealthy { number, .. } => format!("ill {number}"),
        ReplicaTransition::Recovered { number } => format!("well {number}"),
        ReplicaTransition::Restarted { number } => format!("restarted {number}"),
        ReplicaTransition::Renamed { number, to, .. } => format!("{number} is {to}"),
        ReplicaTransition::Stopped { number, .. } => format!("stopped {number}"),
        ReplicaTransition::Paused { number } => format!("paused {number}"),
        ReplicaTransition::Unpaused { number } => format!("unpaused {number}"),
        ReplicaTransition::NotReady { number, .. } => format!("not ready {number}"),
        ReplicaTransition::Lost { number } => format!("lost {number}"),
    }
}

fn milestone_shown(transition: &ServiceTransition) -> String {
    match transition {
        ServiceTransition::PanicModeEntered { count } => format!("suspect {count}"),
        ServiceTransition::PanicModeLeft => "trust".to_owned(),
        ServiceTransition::RolloutStarted { old } => format!("roll {old}"),
        ServiceTransition::RolloutFinished { is_back: false, .. } => "rolled".to_owned(),
        ServiceTransition::RolloutFinished { is_back: true, .. } => "rolled back".to_owned(),
        ServiceTransition::RolledBack { to, .. } => {
            format!("give up for {}", to.as_deref().unwrap_or("-"))
        }
        ServiceTransition::RolloutStalled { .. } => "stalled".to_owned(),
        ServiceTransition::Asleep { idle } => format!("asleep {}", idle.as_secs()),
        ServiceTransition::Woken { by, took } => {
            format!("woken by {} in {}", by.word(), took.as_millis())
        }
        ServiceTransition::RestartLoop => "loop".to_owned(),
        ServiceTransition::RestartLoopOver => "loop over".to_owned(),
        ServiceTransition::ImageUpdated { from, to, .. } => format!("updated {from} {to}"),
        ServiceTransition::ImageRejected { digest } => format!("rejected {digest}"),
    }
}

fn action_shown(action: &Action) -> String {
    match action {
        Action::Start { number, .. } => format!("start {number}"),
        Action::Remove(removal) => format!("remove {}", removal.number),
        Action::Resize { from, to, .. } => format!("resize {from} to {to}"),
        Action::Reload { .. }
        | Action::RunHook(_)
        | Action::UpdateServers { .. }
        | Action::SetServerStates { .. }
        | Action::EndProxies { .. } => {
            panic!("no service touches HAProxy")
        }
    }
}

fn cap_shown(cap: Cap) -> &'static str {
    match cap {
        Cap::Policy(_) => "policy",
        Cap::Disabled => "disabled",
        Cap::Growth => "growth",
    }
}

fn shown_left(left: Option<Duration>) -> String {
    left.map_or("-".to_owned(), |left| left.as_millis().to_string())
}

fn rule_shown(rule: &Rule) -> String {
    match rule {
        Rule::Woken { waiting } => format!("woken({waiting})"),
        Rule::Asleep { idle } => format!("asleep({})", shown_left(*idle)),
        Rule::Awake { left } => format!("awake({})", shown_left(*left)),
        Rule::Found(n) => format!("found({n})"),
        Rule::Adopted(n) => format!("composed({n})"),
        Rule::Rescaled(n) => format!("rescaled({n})"),
        Rule::NotLeader => "not_leader".to_owned(),
        Rule::StoppedByCompose => "stopped".to_owned(),
        Rule::SwarmUnavailable => "untold_by_swarm".to_owned(),
        Rule::Unchanged => "effective".to_owned(),
        Rule::BelowMin(min) => format!("min({min})"),
        Rule::AboveMax(max) => format!("max({max})"),
        Rule::OutsideHours => "outside".to_owned(),
        Rule::Held { left } => format!("held({})", shown_left(*left)),
        Rule::Paused { left } => format!("paused({})", shown_left(*left)),
        Rule::HostBusy { idle, .. } => format!("busy({idle})"),
        Rule::Preempted { taken, priority } => format!("preempted({taken},{priority})"),
        Rule::GivenBack => "back".to_owned(),
        Rule::RoomMade => "room_made".to_owned(),
        Rule::NoHeadroom { free, needed } => {
            format!("no_room({}/{})", free >> 20, needed >> 20)
        }
        Rule::Draining(count) => format!("draining({count})"),
        Rule::AboveTarget(g) => format!("over({})", g.value),
        Rule::BelowTarget(g) => format!("under({})", g.value),
        Rule::OnTarget(g) => format!("on({})", g.value),
        Rule::WithinUncertainty(g) => format!("explained({})", g.value),
        Rule::Unavailable { metric } => format!("untold({metric})"),
        Rule::ScaleDownBlocked { metric } => format!("unsure({metric})"),
        Rule::ScaleUpStabilized { proposed, .. } => format!("up_window({proposed})"),
        Rule::ScaleDownStabilized { proposed, .. } => format!("down_window({proposed})"),
        Rule::ScaleUpLimit(cap) => format!("up_limit({})", cap_shown(*cap)),
        Rule::ScaleDownLimit(cap) => format!("down_limit({})", cap_shown(*cap)),
        Rule::NoMetric => "no_metric".to_owned(),
        Rule::InsideBand { value, .. } => format!("inside({value})"),
        Rule::AboveBand { value, .. } => format!("above({value})"),
        Rule::BelowBand { value, .. } => format!("below({value})"),
        Rule::WouldBounce { projected, .. } => format!("bounce({projected})"),
        Rule::GapsOutweigh { value } => format!("gaps({value})"),
        Rule::NoSample => "no_sample".to_owned(),
        Rule::NoneReady(count) => format!("none_ready({count})"),
        Rule::LastOne => "last_one".to_owned(),
        Rule::CoolingDown { left } => format!("cooling({})", left.as_millis()),
        Rule::LoadAlone(n) => format!("alone({n})"),
        Rule::Forecast { load, .. } => format!("forecast({})", load.value),
        Rule::ForecastHeld { proposed, .. } => format!("asked({proposed})"),
        Rule::EngineLost => "lost".to_owned(),
        Rule::DecisionFailed => "failed".to_owned(),
        Rule::CrashLoop { failures, left } => format!("crash({failures},{})", left.as_millis()),
    }
}
