//! Load with and without a forecast, through the whole control loop.

use std::time::Duration;

use crate::config;
use crate::model::forecast::{ForecastConfig, ForecastMode};
use crate::model::metric::{Milli, Source};
use crate::model::service::Service;
use crate::model::time::{DAY, Moment, Wall};
use crate::sim::past::Past;
use crate::sim::random::Random;
use crate::sim::run::{Run, ScriptEvent};
use crate::sim::variation::Chance;
use crate::sim::workload::Demand;
use crate::sim::world::{START, Scenario};

/// A Monday.
const BEGIN: Wall = Wall(1_772_409_600);
const WEEKS: i64 = 3;
const MAX: u64 = 20;
const SEEDS: u64 = 16;
/// Of the first load: a forecast needs some minutes of it.
const SETTLE_S: u64 = 180;

/// A service, its load, and weeks before it that have nothing to do with that load.
struct Trial {
    check_interval: u64,
    service: String,
    script: Vec<(Moment, ScriptEvent)>,
    /// Milliseconds.
    span: u64,
    weeks: Vec<(Moment, u64)>,
}

fn rules(random: &mut Random, stabilization: u64) -> String {
    let policy = |random: &mut Random| {
        let (kind, most) = if random.one_in(2) { ("percent", 120) } else { ("replicas", 4) };
        let value = random.between(1, most);
        let period = random.between(15, 700);
        format!(r#"{{ "type": "{kind}", "value": {value}, "period": {period} }}"#)
    };
    let policies: Vec<String> = (0..random.between(1, 3)).map(|_| policy(random)).collect();
    let select = ["max", "min"][random.below(2) as usize];
    let stabilization = random.below(stabilization);
    format!(
        r#"{{ "stabilization": {stabilization}, "select": "{select}", "policies": [{}] }}"#,
        policies.join(", ")
    )
}

fn service(random: &mut Random) -> String {
    let by = if random.one_in(2) {
        let upper = random.between(40, 90);
        let lower = random.between(10, upper - 10);
        format!(r#""scale_up_threshold": {upper}, "scale_down_threshold": {lower}"#)
    } else {
        let target = random.between(40, 90);
        format!(r#""metrics": [{{ "source": "cpu", "target": {target} }}]"#)
    };
    let behavior = if random.one_in(2) {
        let (up, down) = (rules(random, 60), rules(random, 400));
        let tolerance = random.below(20);
        format!(
            r#", "behavior": {{ "tolerance": 0.{tolerance:02}, "scale_up": {up},
                "scale_down": {down} }}"#
        )
    } else {
        String::new()
    };
    let (up, down) = (random.below(3) * random.below(200), random.below(3) * random.below(400));
    format!(
        r#"{by}{behavior}, "min_replicas": {}, "max_replicas": {MAX},
           "cooldown_period": {{ "up": {up}, "down": {down} }}"#,
        random.between(1, 3)
    )
}

/// Steps, spikes, a slow walk, or nothing at all for a time.
fn load(random: &mut Random, check_interval: u64, span: u64) -> Vec<(Moment, u64)> {
    let kind = random.below(3);
    let mut now = 0;
    let mut load = random.below(900_000);
    let mut loads = vec![(START, load)];
    while now < span {
        now += random.between(1_000, 6_000 * check_interval.max(5));
        load = match kind {
            _ if random.one_in(20) => 0,
            _ if random.one_in(20) => 2 * load,
            0 => random.below(1_200_000),
            1 => (load + random.below(200_000)).saturating_sub(100_000),
            _ if random.one_in(4) => random.below(1_500_000),
            _ => 100_000,
        };
        load = load.min(1_500_000);
        loads.push((Moment(START.0 + now), load));
    }
    loads
}

impl Trial {
    fn new(seed: u64) -> Trial {
        let mut random = Random::new(seed);
        let check_interval = [5, 15, 60, 300][(seed % 4) as usize];
        let span = (40_000 * check_interval).min(1_800_000);
        let service = service(&mut random);
        let script = load(&mut random, check_interval, span);
        let script = script.into_iter().map(|(at, load)| (at, ScriptEvent::Load(load))).collect();
        let mut weeks = Vec::new();
        let mut at = START;
        while at < Moment(START.0 + u64::try_from(WEEKS * 7 * DAY).unwrap() * 1000 + span) {
            weeks.push((at, random.below(1_200_000)));
            at = at.plus(Duration::from_secs(random.between(60, 1_200)));
        }
        Trial { check_interval, service, script, span, weeks }
    }

    fn run(&self, mode: ForecastMode) -> Run {
        let text = format!(
            r#"{{ "autoscaler": {{ "check_interval": {} }}, "services": {{ "web":
                 {{ "image": "a:1", "port": 80, {} }} }} }}"#,
            self.check_interval, self.service
        );
        let loaded = config::parse("made up", &text);
        let mut config = loaded.config.unwrap_or_else(|| panic!("{text}: {:?}", loaded.problems));
        let service = config.services.values_mut().next().unwrap();
        let made = Service::clone(service);
        let forecast = ForecastConfig { mode, ..made.forecast };
        *service = Service { forecast, ..made }.into();
        let scenario = Scenario {
            service: service.clone(),
            wall: BEGIN,
            start_up: Duration::ZERO,
            broken_image: None,
            demand: Demand { source: Source::Cpu, load: Milli(100_000), capacity: None },
            wakes: false,
            chance: Chance::Usual,
        };
        let looks = SETTLE_S.div_ceil(self.check_interval).max(5);
        let begin = Moment(START.0 - looks * self.check_interval * 1000);
        let first = self.script.iter().take(1).map(|(_, load)| (begin, *load));
        let script = first.chain(self.script.iter().copied()).collect();
        let mut run = Run::new(scenario, config, begin, script);
        run.past = Past {
            metric: Source::Cpu.to_string(),
            begin: Wall(BEGIN.0 - WEEKS * 7 * DAY),
            loads: self.weeks.clone(),
        };
        run.until(self.span);
        assert_eq!(run.world.state().violations, [""; 0]);
        run
    }

    /// What was desired, with the times since when.
    fn course(&self, mode: ForecastMode) -> Vec<(Duration, u32)> {
        self.run(mode).points.iter().map(|point| (point.at, point.desired)).collect()
    }
}

fn at(course: &[(Duration, u32)], time: Duration) -> Option<u32> {
    let after = course.partition_point(|(at, _)| *at <= time);
    Some(course.get(after.checked_sub(1)?)?.1)
}

/// Whatever is forecast, whatever the settings and the load, early evaluations included.
///
/// A replica is ready before the next evaluation. Else the run without a forecast counts replicas
/// as starting that the other one has already, so that load gives another number there: at another
/// time, as soon as a cooldown has passed.
#[test]
fn a_forecast_never_costs_a_replica_that_load_asks_for() {
    let (mut raised, mut changed) = (0, 0);
    for seed in 1..=SEEDS {
        let trial = Trial::new(seed);
        let (least, more) = (trial.course(ForecastMode::Off), trial.course(ForecastMode::On));
        for time in least.iter().chain(&more).map(|(at, _)| *at) {
            let (Some(least), Some(more)) = (at(&least, time), at(&more, time)) else { continue };
            let settings = &trial.service;
            assert!(least <= more, "seed {seed}, {time:?}: {more} for {least}, {settings}");
            raised += u64::from(least < more);
        }
        changed += least.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    }
    // The forecast matters, and load does.
    assert!(300 < raised && 20 < changed, "{raised} {changed}");
}

/// More replicas than the load needs hide no step of it: the policy's time begins as early.
#[test]
fn a_step_of_load_is_seen_as_early_as_without_a_forecast() {
    let (low, high) = (150_000, 700_000);
    let mut weeks = Vec::new();
    for week in 0..=WEEKS {
        let begin = u64::try_from(week * 7 * DAY).unwrap() * 1000;
        let ms = [(0, low), (600_000, high), (3_600_000, low)];
        weeks.extend(ms.map(|(ms, load)| (Moment(START.0 + begin + ms), load)));
    }
    let trial = Trial {
        check_interval: 300,
        service: format!(
            r#""metrics": [{{ "source": "cpu", "target": 60 }}], "max_replicas": {MAX},
               "behavior": {{ "scale_up": {{ "policies":
                 [{{ "type": "replicas", "value": 2, "period": "10m" }}] }} }}"#
        ),
        script: [(0, low), (60_000, 400_000)]
            .map(|(ms, load)| (Moment(START.0 + ms), ScriptEvent::Load(load)))
            .to_vec(),
        span: 70_000,
        weeks,
    };
    assert_eq!(trial.run(ForecastMode::Off).memory().desired, Some(5));
    let memory = trial.run(ForecastMode::On).memory();
    assert!(Some(5) < memory.desired, "{:?}", memory.desired);
    assert_eq!(memory.forecast.map(|raise| raise.load), Some(5));
}
