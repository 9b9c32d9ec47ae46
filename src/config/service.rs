//! `services`: what runs, how many replicas, and how they are checked and replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jsonc_parser::ast::Value;

use crate::config::container;
use crate::config::cursor::{Node, Section};
use crate::config::front_door::RouteReader;
use crate::config::hours::Fallback;
use crate::config::listens::Listens;
use crate::config::values::{self, bounds};
use crate::config::{forecast, health, hooks, hours, image_updates, metric, sleep, traffic_policy};
use crate::model::bounds::Bounds;
use crate::model::config::ProxyMode;
use crate::model::front_door::FrontDoor;
use crate::model::metric::{Field, Metric, Source};
use crate::model::schedule::Timetable;
use crate::model::service::{Band, Cooldown, Percent, Platform, Rollout, Service, ServiceName};

const HOUR: Duration = Duration::from_secs(3600);

/// `around`: `autoscaler.business_hours`, who runs HAProxy, and how long the load history is kept.
pub(crate) fn services(
    root: &Section,
    around: (&Fallback, &ProxyMode, Duration),
    front_door: &FrontDoor,
    listens: &mut Listens,
) -> Option<BTreeMap<ServiceName, Arc<Service>>> {
    let need = root.need("services", "an object with the services to run")?;
    let section = need.section()?;
    let mut services = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut route_reader = RouteReader::new(front_door);
    for (name, node) in section.entries() {
        // A duplicate was reported already.
        if !seen.insert(name) {
            continue;
        }
        let Some(good) = ServiceName::new(name) else {
            node.bad_name(
                "a service name must start with a letter or digit and consist of at most 63 \
                 letters, digits, `_`, `.` and `-`",
            );
            continue;
        };
        let Some(body) = node.section() else { continue };
        let owner = format!("services.{name}");
        if let Some(service) =
            service(good.clone(), &owner, around, body, (listens, &mut route_reader))
        {
            if let Some(other) = twin(&services, &service) {
                node.warning(format!(
                    "services.{other} scales the same Swarm service; remove one of the two"
                ));
            }
            services.insert(good, Arc::new(service));
        }
    }
    Some(services)
}

/// `owner` names it for others that want the same address. `taken`: the addresses and routes of the
/// services before.
pub(crate) fn service(
    name: ServiceName,
    owner: &str,
    around: (&Fallback, &ProxyMode, Duration),
    section: Section,
    taken: (&mut Listens, &mut RouteReader),
) -> Option<Service> {
    // Every key is read before the first `?`, which ends this function: so that every problem is
    // reported, and `done` knows every key.
    let (default_hours, mode, kept) = around;
    let (listens, route_reader) = taken;
    let listen = section.get("listen").and_then(|n| listens.read(&n, owner));
    let routes = route_reader.routes(&section, owner);
    let runs = runs(&section);
    let container = container::container(&section, runs == Some(Platform::Docker));
    let port = section.need("port", "the port that a replica listens on in its container");
    let port = port.and_then(|n| values::port(&n));
    let bounds = bounds(&section);
    let hours = hours::hours(&section, default_hours, bounds);
    let schedules = hours::schedules(section.get("schedules"));
    let metrics = metric::metrics(section.get("metrics"));
    let behavior = metric::behavior(section.section("behavior"));
    let band = band(&section, bounds);
    check_load(&section, bounds, &metrics, (runs.as_ref(), mode));
    let cooldown = cooldown(section.get("cooldown_period"));
    let health = health::health(section.section("health_check"));
    let rollout = rollout(section.section("rollout"));
    let image_updates = image_updates::image_updates(&section);
    let origin = container.as_ref().map(|container| &container.origin);
    image_updates::beside(&section, origin, runs.as_ref());
    let (policy, retry) = traffic_policy::policy(&section);
    traffic_policy::beside(&section, &policy, retry, &metrics);
    let timetable = bounds.zip(hours);
    let timetable = timetable.map(|(bounds, hours)| Timetable { bounds, hours, schedules });
    let sleep = sleep::sleep(&section, &policy);
    sleep::beside(&section, timetable.as_ref(), runs.as_ref(), mode);
    let span = |key, longest| {
        let node: Option<Node> = section.get(key);
        node.and_then(|n| n.duration(Duration::ZERO..=longest))
    };
    let hooks = hooks::hooks(&section, runs.as_ref());
    let forecast = forecast::forecast(&section);
    forecast::beside(&section, &forecast, (band.is_some(), &metrics), kept);
    let drain_timeout = span("drain_timeout", 24 * HOUR);
    let stop_timeout = span("stop_timeout", HOUR);
    section.done();
    let least = Service::new(name, container?, port?, timetable?);
    Some(Service {
        runs: runs?,
        listen,
        routes,
        band,
        metrics,
        behavior,
        cooldown: cooldown.unwrap_or(least.cooldown),
        health,
        rollout,
        image_updates: image_updates?,
        retry: retry.unwrap_or(least.retry),
        policy,
        sleep,
        forecast,
        hooks,
        drain_timeout: drain_timeout.unwrap_or(least.drain_timeout),
        stop_timeout: stop_timeout.unwrap_or(least.stop_timeout),
        ..least
    })
}

fn runs(section: &Section) -> Option<Platform> {
    let known = |word: &str| ["docker", "swarm"].into_iter().find(|w| *w == word);
    let engine = section.get("engine").map(|n| n.word("docker or swarm", known));
    let swarm = section.get("swarm_service");
    match engine.unwrap_or(Some("docker"))? {
        "swarm" => {
            of_swarm(section);
            let what = "the name of the Swarm service to scale, like shop_web";
            let name = section.need("swarm_service", what)?.text()?;
            Some(Platform::Swarm(name.into_owned()))
        }
        _ => {
            if let Some(node) = swarm {
                node.error(r#"needs "engine": "swarm""#);
            }
            Some(Platform::Docker)
        }
    }
}

/// With engine swarm, the Swarm service defines the containers and how they are replaced.
fn of_swarm(section: &Section) {
    let come_and_go = ["image", "compose", "rollout", "drain_timeout", "stop_timeout"];
    for key in come_and_go.into_iter().chain(container::MAKE) {
        section.unused(key, "has no effect with engine swarm: set it in the Swarm service");
    }
}

/// Another service with the same Swarm service: the two would overwrite each other's number.
fn twin<'s>(
    services: &'s BTreeMap<ServiceName, Arc<Service>>,
    service: &Service,
) -> Option<&'s ServiceName> {
    let name = service.runs.swarm()?;
    let same = |other: &&Arc<Service>| other.runs.swarm() == Some(name);
    services.values().find(same).map(|other| &other.name)
}

/// Checks that there is something to scale by, and that it can be measured.
fn check_load(
    section: &Section,
    bounds: Option<Bounds>,
    metrics: &[Metric],
    (runs, mode): (Option<&Platform>, &ProxyMode),
) {
    let has = |key| section.get(key).is_some();
    let has_band = has("scale_up_threshold") || has("scale_down_threshold");
    let has_metrics = section.get("metrics").is_some_and(|n| match n.value {
        Value::Array(list) => !list.elements.is_empty(),
        _ => true,
    });
    // One that a request wakes needs nothing to go by but that.
    let is_on_request = *mode != ProxyMode::None
        && matches!(runs, Some(Platform::Docker))
        && bounds.is_some_and(|b| b.max() == 1);
    let can_scale = bounds.is_some_and(|b| b.min() != b.max()) && !is_on_request;
    if can_scale && !has_band && !has_metrics {
        section.error(
            "nothing to scale by: set scale_up_threshold and scale_down_threshold, or metrics, \
             or make min_replicas and max_replicas equal",
        );
    }
    let of_replicas = |m: &Metric| matches!(m.source, Source::Cpu | Source::Memory);
    let is_swarm = matches!(runs, Some(Platform::Swarm(_)));
    if is_swarm && (has_band || metrics.iter().any(of_replicas)) {
        section.error(
            "a Swarm manager cannot read CPU and memory of containers on other nodes; scale by \
             metrics of haproxy, http or prometheus",
        );
    }
    // Else a request wakes the service: not without HAProxy, and no service of Swarm.
    let is_unmeasured = !metrics.iter().any(wakes) && (has_band || !metrics.is_empty());
    if let Some(min) = section.get("min_replicas").filter(|_| is_unmeasured)
        && bounds.is_some_and(|b| b.min() == 0)
    {
        if *mode == ProxyMode::None {
            min.warning(
                "with 0 replicas there is no load to measure, and with load_balancer.mode none no \
                 request starts one; set 1 unless a schedule starts the first, or also scale by \
                 http or prometheus",
            );
        } else if is_swarm {
            min.warning(
                "with 0 replicas there is no load to measure, so load never starts one; set 1 \
                 unless a schedule starts the first, or also scale by haproxy request_rate, http \
                 or prometheus",
            );
        }
    }
}

/// Whether the metric has a value while there is no replica. HAProxy then refuses requests at once:
/// sessions and queue stay 0, but the requests are counted.
fn wakes(metric: &Metric) -> bool {
    match metric.source {
        Source::Haproxy(field) => field == Field::RequestRate,
        Source::Http { .. } | Source::Prometheus { .. } => true,
        Source::Cpu | Source::Memory => false,
    }
}

fn rollout(section: Option<Section>) -> Rollout {
    let mut out = Rollout::default();
    let Some(section) = section else { return out };
    let count = |key| section.get(key).and_then(|n: Node| n.whole(0..=Bounds::MAX));
    out.max_surge = count("max_surge").unwrap_or(out.max_surge);
    out.max_unavailable = count("max_unavailable").unwrap_or(out.max_unavailable);
    if out.max_surge == 0 && out.max_unavailable == 0 {
        section.error(
            "max_surge and max_unavailable are both 0, so no replica could be replaced; set one of \
             them to 1",
        );
    }
    let second = Duration::from_secs(1);
    let day = 24 * HOUR;
    let deadline = section.get("progress_deadline").and_then(|n| n.duration(second..=day));
    out.progress_deadline = deadline.unwrap_or(out.progress_deadline);
    let rollback = section.get("rollback").and_then(|n| n.boolean());
    out.rollback = rollback.unwrap_or(out.rollback);
    section.done();
    out
}

fn band(section: &Section, bounds: Option<Bounds>) -> Option<Band> {
    let read = |key| {
        let node: Option<Node> = section.get(key);
        let value = node.as_ref().map(|n| n.hundredths(0..=10_000_00, " in percent"));
        (node, value)
    };
    let (upper_node, upper) = read("scale_up_threshold");
    let (lower_node, lower) = read("scale_down_threshold");
    let (upper, lower) = match (upper, lower) {
        (None, None) => return None,
        (Some(_), None) | (None, Some(_)) => {
            let node = upper_node.or(lower_node)?;
            node.error("set both scale_up_threshold and scale_down_threshold");
            return None;
        }
        (Some(upper), Some(lower)) => (upper?, lower?),
    };
    let upper = Percent::from_hundredths(upper);
    let lower = Percent::from_hundredths(lower);
    let node = lower_node?;
    let band = Band::new(lower, upper);
    if band.is_none() {
        node.error(format!("must be less than scale_up_threshold ({upper}), got {lower}"));
    }
    if let Some(bounds) = bounds.filter(|b| b.min() < b.max() && band.is_some()) {
        warn_of_bounce(&node, bounds, lower, upper);
    }
    band
}

/// Checks the last step down, which raises the load of the remaining replicas most.
fn warn_of_bounce(node: &Node, bounds: Bounds, lower: Percent, upper: Percent) {
    let to = u64::from(bounds.min().max(1));
    let projected = Percent::from_hundredths(lower.hundredths() * (to + 1) / to);
    if upper <= projected && to < u64::from(bounds.max()) {
        node.warning(format!(
            "{lower} on {} replicas is {projected} on {to}, which is not below scale_up_threshold \
             ({upper}): plimsoll scales down to {to} only at a lower load",
            to + 1
        ));
    }
}

fn cooldown(node: Option<Node>) -> Option<Cooldown> {
    let allowed = Duration::ZERO..=24 * HOUR;
    let node = node?;
    if !matches!(node.value, Value::Object(_)) {
        let span = node.duration(allowed)?;
        return Some(Cooldown { up: span, down: span });
    }
    let section = node.section()?;
    let read = |key| section.get(key).map(|n: Node| n.duration(allowed.clone()));
    let up = read("up");
    let down = read("down");
    section.done();
    let default = Some(Duration::from_secs(60));
    Some(Cooldown { up: up.unwrap_or(default)?, down: down.unwrap_or(default)? })
}
