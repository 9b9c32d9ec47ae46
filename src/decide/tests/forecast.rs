//! The forecast raises the number, and changes nothing in what load does.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::classify::Classified;
use crate::decide::forecast::on_fewer;
use crate::decide::plan_service;
use crate::decide::tests::{
    NOW, S, band, change, hundredths, number, replica, service, sketch, table,
};
use crate::model::behavior::{Amount, Behavior, Policy, Rules, Select};
use crate::model::bounds::Bounds;
use crate::model::forecast::{
    ForecastFailure, ForecastMode, ForecastRaise, LoadForecast, MetricForecast, NoForecast,
    ReplicaShare, ServiceForecast,
};
use crate::model::history::Recommendation;
use crate::model::host_cpu::{ProcessorObservation, ProcessorState};
use crate::model::memory::{Hold, Pause, ServiceMemory};
use crate::model::metric::{Field, Metric, Milli, Reading, Source};
use crate::model::replica::Load;
use crate::model::service::{Cooldown, Percent, Platform, Service};
use crate::model::snapshot::Snapshot;
use crate::model::swarm::{SwarmMemory, SwarmServiceState};
use crate::model::time::Moment;

fn forecast(share: ReplicaShare, upper: Option<Milli>) -> Arc<ServiceForecast> {
    let upper = upper.ok_or(ForecastFailure::None(NoForecast::NoRecentLoad));
    let result = upper.map(|upper| LoadForecast {
        expected: upper,
        upper,
        weeks: 3,
        correction: Milli(1000),
        peak_in: Duration::ZERO,
    });
    let metric = MetricForecast {
        name: "cpu".to_owned(),
        kind: "cpu",
        unit: "%",
        share,
        result,
        error: None,
        earlier: None,
    };
    let horizon = 600 * S;
    Arc::new(ServiceForecast { mode: ForecastMode::On, horizon, metrics: vec![metric] })
}

/// `forecast=LOAD` is a load in percent for the upper threshold, `forecast=-` none; `shadow` only
/// shows it. `raised=FROM/TO/ASKED/MS` is a raise of the last decision.
pub(super) fn apply(key: &str, value: &str, snapshot: &mut Snapshot, memory: &mut ServiceMemory) {
    match key {
        "forecast" => {
            let upper = value.parse().ok().map(|percent: u64| Milli(percent * 1000));
            snapshot.forecast = Some(forecast(ReplicaShare::Below(Milli(75_000)), upper));
            change(snapshot, |service| service.forecast.mode = ForecastMode::On);
        }
        "shadow" => change(snapshot, |service| service.forecast.mode = ForecastMode::Shadow),
        _ => {
            change(snapshot, |service| service.forecast.mode = ForecastMode::On);
            let [load, to, replicas, ms] = value.split('/').collect::<Vec<_>>()[..] else {
                panic!("raised=FROM/TO/ASKED/MS");
            };
            let at = Moment(NOW.0 - u64::from(number(ms)));
            let asked = Recommendation { at, replicas: number(replicas) };
            memory.forecast = Some(ForecastRaise { load: number(load), to: number(to), asked });
        }
    }
}

#[test]
fn it_is_a_lower_bound_within_the_largest_number() {
    table(
        "
        RR 50 1..9 2 forecast=149 | 2 [] inside(50%)
        RR 50 1..9 2 forecast=150 | 3 [start 3] inside(50%) forecast(150)
        RR 50 1..9 2 forecast=400 | 6 [start 3, start 4, start 5, start 6] inside(50%) forecast(400)
        RR 50 1..4 2 forecast=400 | 4 [start 3, start 4] inside(50%) forecast(400)
        RR 50 1..9 2 forecast=400 shadow | 2 [] inside(50%)
        RR 50 1..9 2 forecast=- | 2 [] inside(50%)
        RR 50 1..9 2 forecast=1 | 2 [] inside(50%)
        RR 80 1..9 2 forecast=1 | 3 [start 3] above(80%)
        RR 80 1..3 2 changed=0 forecast=400 | 3 [start 3] above(80%) cooling(30000) forecast(400)
        R 50 2..4 1 forecast=400 | 4 [start 2, start 3, start 4] min(2) forecast(400)
        RR 50 1..9 2 room=64/64 forecast=400 | 3 [start 3] inside(50%) forecast(400) no_room(64/64)
        ",
    );
}

#[test]
fn it_says_nothing_where_load_does_not() {
    table(
        "
        RR 50 1..9 2 forecast=400 hold=2 | 2 [] held(-)
        RR 50 1..9 2 forecast=400 paused | 2 [] paused(-)
        RR 50 1..9 2 forecast=400 outside | 2 [] outside
        RR 50 1..9 2 forecast=400 between | 2 [] effective
        - - 0..9 0 forecast=400 idle=600000 | 0 [] no_sample asleep(600000)
        RR 1 0..9 2 forecast=400 idle=600000 | 0 [drain 2, drain 1] below(1%) asleep(600000)
        RRRR 40 1..9 4 forecast=400 raised=2/4/4/0 hold=4 | 4 [] held(-)
        RRRR 40 1..9 4 forecast=400 raised=2/4/4/0 paused | 4 [] paused(-)
        RRRR 40 1..9 4 forecast=400 raised=2/4/4/0 outside | 2 [drain 4, drain 3] outside
        ",
    );
}

#[test]
fn a_raise_stays_for_the_window_and_ends_with_its_forecast() {
    table(
        "
        RRRR 30 1..9 4 forecast=250 raised=2/4/4/299999 | 4 [] alone(2) inside(60%) forecast(250)
        RRRR 30 1..9 4 forecast=100 raised=2/4/4/299999 | 4 [] alone(2) inside(60%) asked(4)
        RRRR 30 1..9 4 forecast=100 raised=2/4/4/300000 | 2 [drain 4, drain 3] alone(2) inside(60%)
        RRR 40 1..9 3 forecast=160 raised=2/3/4/300000 | 3 [] alone(2) inside(60%) forecast(160)
        RRRR 30 1..9 4 forecast=- raised=2/4/4/299999 | 4 [] alone(2) inside(60%) asked(4)
        RRRR 30 1..9 4 forecast=- raised=2/4/4/300000 | 2 [drain 4, drain 3] alone(2) inside(60%)
        UU - 1..9 2 forecast=- raised=1/2/2/0 | 2 [] alone(1) no_sample asked(2) none_ready(2)
        RRRR 30 1..9 4 raised=2/4/4/0 between | 4 [] effective
        RRRR 30 1..3 4 raised=2/4/4/0 between | 3 [drain 4] effective
        RRRR 30 1..9 4 raised=2/4/4/0 shadow | 2 [drain 4, drain 3] alone(2) inside(60%)
        RRRR 30 1..9 4 raised=2/3/3/0 | 3 [drain 4] below(30%)
        ",
    );
}

#[test]
fn load_goes_on_from_its_own_number() {
    // Four replicas at 40 % are two at 80 %: load asks for a third, and no cooldown is over.
    table(
        "
        RRRR 40 1..9 4 forecast=250 raised=2/4/4/0 | 4 [] alone(2) above(80%) forecast(250)
        RRRR 40 1..9 4 raised=2/4/4/0 changed=0 | 4 [] alone(2) above(80%) cooling(30000) asked(4)
        RRRR 70 1..9 4 forecast=250 raised=2/4/4/0 | 4 [] alone(2) above(140%)
        RRRR 80 1..9 4 forecast=250 raised=2/4/4/0 | 5 [start 5] alone(2) above(160%)
        ",
    );
    let after = |input: &str| {
        let (snapshot, memory) = sketch(input);
        let (_, next) = plan_service(&snapshot, &memory);
        (next.changed_at.map(|at| NOW.0 - at.0), next.forecast.map(|raise| raise.load))
    };
    for (input, want) in [
        ("RR 50 1..9 2 forecast=400", (None, Some(2))),
        ("RR 50 1..9 2 forecast=400 changed=50000", (Some(50_000), Some(2))),
        ("RRRR 30 1..9 4 forecast=- raised=2/4/4/300000", (None, None)),
        ("RRRR 40 1..9 4 forecast=250 raised=2/4/4/0", (Some(0), Some(3))),
        ("RRRR 80 1..9 4 forecast=250 raised=2/4/4/0", (Some(0), None)),
        ("RRRR 40 1..9 4 raised=2/4/4/0 paused", (None, Some(2))),
    ] {
        assert_eq!(after(input), want, "{input}");
    }
}

#[test]
fn the_load_of_all_is_put_on_fewer() {
    let loads = |input: &str, count| {
        let (snapshot, memory) = sketch(input);
        let fewer = on_fewer(&snapshot, &Classified::new(&snapshot, &memory), count);
        let load = |load: &Load| match load {
            Load::Read(percent) => percent.to_string(),
            Load::Missing => "-".to_owned(),
        };
        fewer.replicas.iter().map(|r| load(&r.load)).collect::<Vec<_>>().join(" ")
    };
    for (input, count, want) in [
        ("RRR 10,20,30.01 1..9 3", 3, "10% 20% 30.01%"),
        ("RRR 10,20,30.01 1..9 3", 2, "30.01% 30%"),
        ("RRR 10,20,30.01 1..9 3", 1, "60.01%"),
        // Two of three have a sample: 60 % of them are 90 % of all.
        ("RMR 20,40 1..9 3", 2, "45% -"),
        ("RMR 20,40 1..9 3", 1, "90%"),
        ("MM - 1..9 2", 1, "-"),
        ("RUU 30 1..9 3", 2, "30% -"),
        ("RUU 30 1..9 3", 1, "30%"),
        ("DRR 10,40,50 1..9 2", 1, "10% 90%"),
    ] {
        assert_eq!(loads(input, count), want, "{input} on {count}");
    }
}

/// By xorshift.
struct Luck(u64);

impl Luck {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn number(&mut self, limit: u64) -> u32 {
        u32::try_from(self.below(limit)).unwrap()
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn rules(&mut self) -> Rules {
        let policy = |c: &mut Luck| Policy {
            amount: if c.is(50) {
                Amount::Replicas(1 + c.number(4))
            } else {
                Amount::Percent(1 + c.number(120))
            },
            period: Duration::from_secs(15 + c.below(600)),
        };
        let policies = (0..1 + self.below(2)).map(|_| policy(self)).collect();
        let select = [Select::Max, Select::Min, Select::Disabled][self.below(3) as usize];
        Rules { stabilization: Duration::from_secs(self.below(400)), policies, select }
    }

    /// By the thresholds, by CPU, by a total, or by both metrics.
    fn service(&mut self, is_swarm: bool) -> Service {
        let bounds = Bounds::new(1 + self.number(3), 4 + self.number(20)).unwrap();
        let kind = if is_swarm { 2 } else { self.below(4) };
        let lower = 10_00 + self.below(50_00);
        let upper = band(lower, lower + 1_00 + self.below(40_00));
        let metric = |source| Metric { source, target: Milli(20_000 + self.below(60_000)) };
        let all = [Source::Cpu, Source::Haproxy(Field::Sessions)].map(metric);
        let up = Duration::from_secs(self.below(3) * self.below(200));
        let down = Duration::from_secs(self.below(3) * self.below(400));
        let behavior = self.is(40).then(|| Behavior {
            tolerance: self.number(20),
            scale_up: self.rules(),
            scale_down: self.rules(),
        });
        let metrics = match kind {
            0 => Vec::new(),
            1 => all[..1].to_vec(),
            2 => all[1..].to_vec(),
            _ => all.to_vec(),
        };
        let mut made = service(bounds, (kind == 0).then_some(upper));
        made.cooldown = Cooldown { up, down };
        made.forecast.mode = ForecastMode::On;
        made.container.nano_cpus = Some(1_000_000_000);
        if is_swarm {
            made.runs = Platform::Swarm("shop_web".to_owned());
        }
        Service { behavior, metrics, ..made }
    }
}

/// What happens at one look, whatever was decided before.
struct TwinLook {
    now: Moment,
    due: bool,
    /// Hundredths of a percent, of all replicas together.
    load: u64,
    sessions: Milli,
    hold: Option<Hold>,
    pause: Option<Pause>,
    is_busy: bool,
    service: Arc<Service>,
}

/// Every replica serves at once, and they share the load.
fn decide(look: &TwinLook, memory: &mut ServiceMemory, ahead: Option<Arc<ServiceForecast>>) -> u32 {
    let desired = memory.desired.unwrap_or(2);
    let (mut snapshot, _) = sketch("- - 1..9 1");
    snapshot.now = look.now;
    snapshot.due = look.due;
    snapshot.service = look.service.clone();
    snapshot.forecast = ahead.filter(|_| look.due);
    snapshot.processor = ProcessorObservation::Known(ProcessorState {
        idle: Percent::from_hundredths(1_00),
        pressure: None,
        is_busy: look.is_busy,
        reserve: Percent::from_hundredths(5_00),
        cores: 4,
    });
    let reading = |metric: &Metric| match metric.source {
        Source::Cpu => Reading::Replicas,
        _ => Reading::Total(look.sessions),
    };
    snapshot.readings = look.service.metrics.iter().map(reading).collect();
    let (each, rest) =
        (look.load / u64::from(desired.max(1)), look.load % u64::from(desired.max(1)));
    let load = |n: u32| each + u64::from(u64::from(n) <= rest);
    snapshot.replicas = (1..=desired).map(|n| replica('R', n, load(n)).0).collect();
    if look.service.runs != Platform::Docker {
        let swarm = SwarmServiceState { desired, leads: true, ..SwarmServiceState::default() };
        snapshot.swarm = Some(swarm);
    }
    let ServiceMemory { changed_at, history, forecast, .. } = std::mem::take(memory);
    *memory = ServiceMemory {
        desired: Some(desired),
        changed_at,
        history,
        forecast,
        hold: look.hold.clone(),
        pause: look.pause,
        swarm: Some(SwarmMemory { seen: desired, asked: None }),
        ..ServiceMemory::default()
    };
    let (plan, next) = plan_service(&snapshot, memory);
    *memory = next;
    plan.decision.desired
}

/// Two worlds with the same load, one of them with forecasts that are mostly wrong.
fn compare(seed: u64, is_swarm: bool) -> (u64, u64) {
    let mut luck = Luck(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let first = luck.service(is_swarm);
    let share = match first.band {
        Some(band) => ReplicaShare::Below(Milli(band.upper().hundredths() * 10)),
        None => ReplicaShare::UpTo(first.metrics[0].target),
    };
    let mut look = TwinLook {
        now: NOW,
        due: true,
        load: 100_00,
        sessions: Milli(50_000),
        hold: None,
        pause: None,
        is_busy: false,
        service: Arc::new(first.clone()),
    };
    let (mut with, mut without) = (ServiceMemory::default(), ServiceMemory::default());
    let (mut raised, mut changed) = (0, 0);
    for step in 0..300 {
        look.now = look.now.plus(Duration::from_secs(1 + luck.below(90)));
        look.due = luck.is(80);
        if luck.is(30) {
            look.load = luck.below(2_000_00);
            look.sessions = Milli(luck.below(900_000));
        }
        look.pause = match luck.is(5) {
            true => Some(Pause { until: None }),
            false => look.pause.filter(|_| luck.is(60)),
        };
        look.is_busy = luck.is(if look.is_busy { 70 } else { 10 });
        look.hold = match luck.is(2) {
            true => Some(Hold { count: luck.number(8), until: None, reason: None }),
            false => look.hold.filter(|_| luck.is(60)),
        };
        if luck.is(2) {
            let bounds = Bounds::new(1 + luck.number(6), 8 + luck.number(16)).unwrap();
            Arc::make_mut(&mut look.service).timetable.bounds = bounds;
        }
        let upper = luck.is(80).then(|| Milli(luck.below(1_500_000)));
        let before = without.desired;
        let more = decide(&look, &mut with, Some(forecast(share, upper)));
        let least = decide(&look, &mut without, None);
        assert!(least <= more, "seed {seed}, look {step}: {more} for {least}: {:?}", look.service);
        let is_free = look.pause.is_none() && look.hold.is_none();
        let most = look.service.timetable.bounds.max();
        // What Swarm may have set is corrected only after the cooldown.
        let is_bound = is_free && !is_swarm;
        assert!(!is_bound || more <= most, "seed {seed}, look {step}: {more} of {most}");
        raised += u64::from(least < more);
        changed += u64::from(before != without.desired);
    }
    (raised, changed)
}

#[test]
fn there_are_never_fewer_replicas_than_without_it() {
    for is_swarm in [false, true] {
        let (mut raised, mut changed) = (0, 0);
        for seed in 1..=80 {
            let (more, moves) = compare(seed, is_swarm);
            raised += more;
            changed += moves;
        }
        // Both worlds move, and they differ.
        assert!(5_000 < raised && 2_000 < changed, "{raised} {changed}");
    }
}

#[test]
fn a_share_says_how_many_carry_a_load() {
    let milli = |percent: &str| Milli(hundredths(percent) * 10);
    for (share, load, want) in [
        (ReplicaShare::UpTo(milli("50")), "0", 0),
        (ReplicaShare::UpTo(milli("50")), "100", 2),
        (ReplicaShare::UpTo(milli("50")), "100.01", 3),
        (ReplicaShare::Below(milli("50")), "0", 1),
        (ReplicaShare::Below(milli("50")), "99.99", 2),
        (ReplicaShare::Below(milli("50")), "100", 3),
    ] {
        assert_eq!(share.replicas(milli(load)), want, "{share:?} {load}");
    }
}
