//! A load trace through the production `tick`, and the timeline that comes of it. The same input
//! gives the same timeline, whenever and wherever it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::model::config::{Config, ProxyMode};
use crate::model::metric::{Milli, shortened};
use crate::model::schedule::Timetable;
use crate::model::service::{Platform, Service};
use crate::model::time::{Moment, Wall};
use crate::sim::run::{Run, ScriptEvent};
use crate::sim::timeline::{Span, Timeline};
use crate::sim::trace::Trace;
use crate::sim::variation::Chance;
use crate::sim::workload::{Demand, LoadMetric};
use crate::sim::world::{START, Scenario};

/// Of simulated time, between two times that `replay_while` asks whether to go on.
const STEP_MS: usize = 3_600_000;
/// From the start of a container until it can serve, unless somebody says otherwise.
pub(crate) const START_UP: Duration = Duration::from_secs(5);
/// The first load is applied this long before the trace, so that it begins settled.
const SETTLE: Duration = Duration::from_secs(3600);
const SETTLE_LOOKS_MIN: u64 = 20;
/// A year at 15 s is about two million.
const LOOKS_MAX: u128 = 3_000_000;
const UNIT_SHOWN: usize = 40;

/// A trace and the service that it is replayed on.
#[derive(Clone)]
pub(crate) struct Replay<'a> {
    pub(crate) config: &'a Config,
    pub(crate) service: Arc<Service>,
    pub(crate) basis: &'a LoadMetric,
    pub(crate) trace: &'a Trace,
    /// When the trace begins.
    pub(crate) start: Wall,
    /// From the start of a container until it can serve.
    pub(crate) start_up: Duration,
    /// What a replica can carry. `None`: whatever it is given.
    pub(crate) capacity: Option<Milli>,
}

pub(crate) struct Replayed {
    pub(crate) timeline: Timeline,
    /// What must not happen and did: a bug of ours.
    pub(crate) violations: Vec<String>,
}

pub(crate) fn replay(asked: &Replay) -> Result<Replayed, String> {
    let mut run = begun(asked)?;
    run.until(last_ms(asked));
    Ok(ended(asked, run))
}

/// As `replay`. `None`: it was not to go on.
pub(crate) fn replay_while(
    asked: &Replay,
    goes_on: impl Fn() -> bool,
) -> Result<Option<Replayed>, String> {
    let mut run = begun(asked)?;
    let last = last_ms(asked);
    for ms in (0..last).step_by(STEP_MS).chain([last]) {
        if !goes_on() {
            return Ok(None);
        }
        run.until(ms);
    }
    Ok(Some(ended(asked, run)))
}

/// The last row ends the trace: what would happen at that very moment is not in it.
fn last_ms(asked: &Replay) -> u64 {
    let ms = u64::try_from(asked.trace.span().as_millis()).unwrap_or(u64::MAX);
    ms.saturating_sub(1)
}

fn begun(asked: &Replay) -> Result<Run, String> {
    // The decision is the same on Docker and Swarm.
    let service = Arc::new(Service { runs: Platform::Docker, ..(*asked.service).clone() });
    let span = asked.trace.span();
    let interval = asked.config.check_interval;
    let looks = span.as_millis() / interval.as_millis().max(1);
    if LOOKS_MAX < looks {
        return Err(format!(
            "the trace takes {looks} looks, one each {} ms, and {LOOKS_MAX} at most are allowed; \
             shorten it, or raise autoscaler.check_interval",
            interval.as_millis()
        ));
    }
    let scenario = Scenario {
        service: service.clone(),
        wall: asked.start,
        start_up: asked.start_up,
        broken_image: None,
        demand: Demand {
            source: asked.basis.source.clone(),
            load: Milli(0),
            capacity: asked.capacity,
        },
        wakes: asked.config.fixed.proxy.mode != ProxyMode::None,
        chance: Chance::Usual,
    };
    let begin = begin(interval);
    let config = alone(asked.config, &service);
    Ok(Run::new(scenario, config, begin, script(asked.trace, begin)))
}

fn ended(asked: &Replay, mut run: Run) -> Replayed {
    let span = asked.trace.span();
    let may_sleep = run.world.state().may_sleep();
    let waits = may_sleep.then(|| run.world.state().waiting.times());
    let timeline = Timeline {
        service: asked.service.name.as_str().to_owned(),
        unit: shortened(&asked.basis.unit, UNIT_SHOWN),
        target: asked.basis.target.0 as f64 / 1000.0,
        zone: asked.service.timetable.zone(),
        start: asked.start,
        points: std::mem::take(&mut run.points),
        windows: windows(&asked.service.timetable, asked.start, span),
        waits,
        gaps: Vec::new(),
        end: span,
    };
    let violations = std::mem::take(&mut run.world.state().violations);
    Replayed { timeline, violations }
}

/// A whole number of intervals before the start, so that an evaluation falls on it.
fn begin(interval: Duration) -> Moment {
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let settle = u64::try_from(SETTLE.as_millis()).unwrap_or(u64::MAX);
    let looks = settle.div_ceil(interval).max(SETTLE_LOOKS_MIN);
    Moment(START.0.saturating_sub(looks.saturating_mul(interval)))
}

/// Nothing but the service, and it is really scaled. The made-up world has an HAProxy, and a
/// replica serves when that has it: also where the config leaves HAProxy to somebody else.
fn alone(config: &Config, service: &Arc<Service>) -> Config {
    let services = [(service.name.clone(), service.clone())].into();
    let mut alone = Config { services, dry_run: false, ..config.clone() };
    alone.fixed.proxy.mode = ProxyMode::Process;
    alone
}

fn script(trace: &Trace, begin: Moment) -> Vec<(Moment, ScriptEvent)> {
    let load = |value: f64| ScriptEvent::Load((value * 1000.0).round() as u64);
    let rows = trace.rows().iter().map(|(at, value)| (START.plus(*at), load(*value)));
    let first = trace.rows().first().map(|(_, value)| (begin, load(*value)));
    first.into_iter().chain(rows).collect()
}

/// Schedules by their names; where there is none, the hours in which load may change the number.
fn windows(timetable: &Timetable, start: Wall, span: Duration) -> Vec<Span> {
    let seconds = i64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
    let course = timetable.course(start, Wall(start.0.saturating_add(seconds)));
    let since = |at: Wall| Duration::from_secs(at.0.abs_diff(start.0));
    let ends = course.iter().skip(1).map(|(at, _)| since(*at)).chain([span]);
    let mut windows: Vec<Span> = Vec::new();
    for ((from, effective), to) in course.iter().zip(ends) {
        let in_hours = timetable.hours.is_some() && effective.scaling;
        let hours = in_hours.then(|| "business hours".to_owned());
        let Some(name) = effective.window.clone().or(hours) else { continue };
        let from = since(*from);
        match windows.last_mut() {
            Some(last) if last.to == from && last.name == name => last.to = to,
            Some(_) | None => windows.push(Span { from, to, name }),
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config;
    use crate::model::metric::Milli;
    use crate::model::time::Wall;
    use crate::sim::random::Random;
    use crate::sim::replay::{Replay, Replayed, replay};
    use crate::sim::timeline::Point;
    use crate::sim::trace::Trace;
    use crate::sim::workload::LoadMetric;

    /// A Monday, midnight in Berlin.
    const MONDAY: Wall = Wall(1_772_406_000);

    /// A service `web` with this beside what every service needs. Its config is one for trying out,
    /// which a simulation always is.
    fn run(service: &str, trace: &str, start_up_s: u64, capacity: Option<u64>) -> Replayed {
        run_with("process", service, trace, start_up_s, capacity)
    }

    fn run_with(
        mode: &str,
        service: &str,
        trace: &str,
        start_up_s: u64,
        capacity: Option<u64>,
    ) -> Replayed {
        let text = format!(
            r#"{{ "autoscaler": {{ "dry_run": true }}, "load_balancer": {{ "mode": "{mode}" }},
                 "services": {{ "web": {{ "image": "a:1", "port": 80, {service} }} }} }}"#
        );
        let loaded = config::parse("made up", &text);
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let service = config.services.values().next().unwrap().clone();
        let asked = Replay {
            config: &config,
            basis: &LoadMetric::first(&service).unwrap_or_else(LoadMetric::none),
            service,
            trace: &Trace::parse(trace.as_bytes()).unwrap(),
            start: MONDAY,
            start_up: Duration::from_secs(start_up_s),
            capacity: capacity.map(|n| Milli(n * 1000)),
        };
        let replayed = replay(&asked).unwrap();
        assert_eq!(replayed.violations, [""; 0]);
        replayed
    }

    const BAND: &str = r#""min_replicas": 1, "max_replicas": 20, "scale_up_threshold": 70,
        "scale_down_threshold": 20, "cooldown_period": 0"#;

    fn changes(replayed: &Replayed) -> Vec<(u64, u32)> {
        let mut changes: Vec<(u64, u32)> = Vec::new();
        for point in &replayed.timeline.points {
            if changes.last().is_none_or(|(_, before)| *before != point.desired) {
                changes.push((point.at.as_secs(), point.desired));
            }
        }
        changes
    }

    #[test]
    fn a_run_begins_settled_with_a_look_and_ends_before_the_last_row() {
        let replayed = run(BAND, "100,300\n160,0\n", 5, None);
        let looks: Vec<Point> =
            replayed.timeline.points.iter().filter(|p| p.is_look).copied().collect();
        let times: Vec<u64> = looks.iter().map(|p| p.at.as_secs()).collect();
        assert_eq!(times, [0, 15, 30, 45]);
        for point in looks {
            assert_eq!((point.ready, point.replicas, point.desired, point.value), (5, 5, 5, 300.0));
        }
        assert_eq!(replayed.timeline.end, Duration::from_secs(60));
    }

    /// Who runs HAProxy changes nothing in what load asks for.
    #[test]
    fn every_mode_of_the_load_balancer_gives_the_same_timeline() {
        let step = "0,50\n60,800\n300,800\n";
        let own = run(BAND, step, 5, None).timeline.points;
        for mode in ["none", "systemd", "container"] {
            assert_eq!(run_with(mode, BAND, step, 5, None).timeline.points, own, "{mode}");
        }
    }

    #[test]
    fn a_replica_that_can_carry_no_more_hides_the_rest_of_the_load() {
        let step = "0,50\n60,800\n300,800\n";
        assert_eq!(changes(&run(BAND, step, 5, None)), [(0, 1), (61, 12)]);
        // A replica that is new to an evaluation has no sample yet; two seconds later it has.
        let limited = changes(&run(BAND, step, 5, Some(100)));
        assert_eq!(limited, [(0, 1), (62, 2), (77, 3), (92, 5), (107, 8), (122, 12)]);
    }

    #[test]
    fn what_starts_serves_only_after_its_start_up() {
        let step = "0,50\n60,100\n300,100\n";
        // A starting replica is probed often for 30 s, then in its slot of the interval, 10 s: the
        // first time up to one and a half intervals later.
        for (start_up, probed_within) in [(0, 0), (20, 0), (23, 0), (29, 0), (31, 15), (100, 10)] {
            let replayed = run(BAND, step, start_up, None);
            let points = &replayed.timeline.points;
            let at = points.iter().find(|p| p.ready == 2).unwrap().at;
            // Docker, a probe and a reload of HAProxy take less than two seconds together.
            // And the step is seen in two samples.
            let from = 61 + start_up;
            let to = 64 + start_up + probed_within;
            assert!((from..to).contains(&at.as_secs()), "{at:?} with {start_up}");
        }
    }

    const SLEEPY: &str = r#""min_replicas": 0, "max_replicas": 20, "sleep_after": "2m",
        "cooldown_period": 0"#;

    #[test]
    fn a_request_wakes_a_service_that_sleeps_when_it_comes() {
        let cpu = format!(r#"{SLEEPY}, "scale_up_threshold": 70, "scale_down_threshold": 20"#);
        let rate = format!(
            r#"{SLEEPY}, "metrics": [{{ "source": "haproxy", "field": "request_rate",
               "target": 50 }}]"#
        );
        let nap = "0,0\n1007,20\n1300,0\n3000,0\n";
        for (service, requests) in [(&cpu, 1), (&rate, 120)] {
            let replayed = run(service, nap, 5, None);
            let [(0, 0), (1007, 1), (sleeps, 0)] = changes(&replayed)[..] else {
                panic!("{:?}", changes(&replayed));
            };
            assert!((1400..1440).contains(&sleeps), "{sleeps}");
            let waits = replayed.timeline.waits.unwrap();
            assert!(waits.requests.abs_diff(requests) <= requests / 3, "{waits:?}");
            assert!((5_000..8_000).contains(&waits.longest.as_millis()), "{waits:?}");
            assert_eq!(waits.refused, 0);
        }
    }

    #[test]
    fn where_no_request_can_wake_it_none_waits() {
        let service = format!(r#"{SLEEPY}, "scale_up_threshold": 70, "scale_down_threshold": 20"#);
        let replayed = run_with("none", &service, "0,0\n100,20\n300,0\n", 5, None);
        assert_eq!(changes(&replayed), [(0, 0)]);
        assert_eq!(replayed.timeline.waits, None);
        assert_eq!(run(BAND, "0,50\n60,50\n", 5, None).timeline.waits, None);
    }

    #[test]
    fn what_starts_too_slowly_has_requests_refused() {
        let slow = r#""health_check": { "start_period": "5m" }"#;
        let band = r#""scale_up_threshold": 70, "scale_down_threshold": 20"#;
        let service = format!("{SLEEPY}, {band}, {slow}");
        // A client that was refused comes again after 10 s, and may find a replica then.
        for (start_up, waited, refused) in [(50, 1, 0), (65, 0, 1), (75, 1, 1), (140, 1, 2)] {
            let replayed = run(&service, "0,0\n100,20\n600,0\n", start_up, None);
            let waits = replayed.timeline.waits.unwrap();
            assert_eq!((waits.requests, waits.refused), (waited, refused), "{start_up}");
        }
    }

    #[test]
    fn windows_are_schedules_by_name_and_else_the_business_hours() {
        let hours = format!(
            r#"{BAND}, "business_hours_only": true, "business_hours": {{ "start": "09:00",
               "end": "17:00", "timezone": "Europe/Berlin" }}, "schedules": [
               {{ "name": "lunch", "start": "12:00", "end": "13:00", "prewarm": "10m",
                  "timezone": "Europe/Berlin", "min_replicas": 3, "max_replicas": 20 }}]"#
        );
        let replayed = run(&hours, "0,50\n86400,50\n", 5, None);
        let windows = &replayed.timeline.windows;
        let shown: Vec<String> = windows
            .iter()
            .map(|w| format!("{} {}-{}", w.name, w.from.as_secs(), w.to.as_secs()))
            .collect();
        let want =
            ["business hours 32400-42600", "lunch 42600-46800", "business hours 46800-61200"];
        assert_eq!(shown, want);
        assert_eq!(changes(&replayed), [(0, 1), (42600, 3), (46800, 2)]);
        assert_eq!(run(BAND, "0,50\n86400,50\n", 5, None).timeline.windows, []);
    }

    /// Bounds that change at any time, loads that jump: nothing that must not happen does.
    #[test]
    fn no_trace_and_no_schedule_breaks_a_rule() {
        for seed in 1..=20 {
            let mut random = Random::new(seed);
            let mut schedules = Vec::new();
            for i in 0..random.below(6) {
                let hour = random.below(3);
                let minute = random.below(60);
                let min = random.below(8);
                let room = random.below(6);
                schedules.push(format!(
                    r#"{{ "name": "w{i}", "start": "{hour:02}:{minute:02}",
                        "end": "{:02}:{:02}", "timezone": "Europe/Berlin",
                        "min_replicas": {min}, "max_replicas": {} }}"#,
                    hour + random.below(2),
                    random.below(60),
                    (min + room).max(1),
                ));
            }
            let service = format!(
                r#""min_replicas": {}, "max_replicas": 9, "scale_up_threshold": 70,
                   "scale_down_threshold": {}, "cooldown_period": {}, "schedules": [{}]"#,
                random.below(3),
                random.between(1, 60),
                random.below(90),
                schedules.join(", "),
            );
            let mut trace = String::new();
            for minute in 0..180 {
                trace += &format!("{},{}\n", minute * 60 + random.below(60), random.below(900));
            }
            let capacity = random.one_in(2).then_some(100);
            let replayed = run(&service, &trace, random.below(60), capacity);
            assert!(720 <= replayed.timeline.points.len(), "{seed}");
        }
    }
}
