//! Settings that differ from today's: for people, as keys of the config, and as labels.

use std::time::Duration;

use chrono::Weekday;
use serde_json::{Map, Value, json};

use crate::advise::tuning::{Goal, Tuning};
use crate::model::behavior::{Amount, Behavior, Policy, Rules, Select};
use crate::model::metric::{Field, Metric, Milli, Source};
use crate::model::schedule::Schedule;
use crate::model::service::Service;
use crate::model::units;
use crate::sim::workload::LoadMetric;

const DAYS: [(Weekday, &str); 7] = [
    (Weekday::Mon, "mon"),
    (Weekday::Tue, "tue"),
    (Weekday::Wed, "wed"),
    (Weekday::Thu, "thu"),
    (Weekday::Fri, "fri"),
    (Weekday::Sat, "sat"),
    (Weekday::Sun, "sun"),
];

/// One changed setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// In the service, as labels have it: `cooldown_period.up`.
    pub(crate) path: String,
    /// For people.
    pub(crate) today: String,
    pub(crate) advised: String,
    /// Of the key at the top of the service.
    key: &'static str,
    /// `None`: it cannot be written down here without a secret.
    value: Option<Value>,
}

/// In the order of the config's documentation.
pub(crate) fn settings(service: &Service, today: &Tuning, found: &Tuning) -> Vec<Setting> {
    let mut all = Vec::new();
    let mut add = |path: &str, key, value: Option<Value>, today: String, advised: String| {
        if today != advised {
            all.push(Setting { path: path.to_owned(), today, advised, key, value });
        }
    };
    let (before, after) = (today.bounds, found.bounds);
    let number = |n: u32| n.to_string();
    let (min, max) = ("min_replicas", "max_replicas");
    add(min, min, Some(after.min().into()), number(before.min()), number(after.min()));
    add(max, max, Some(after.max().into()), number(before.max()), number(after.max()));
    match (today.goal, found.goal) {
        (Goal::Thresholds(before), Goal::Thresholds(after)) => {
            for (key, before, after) in [
                ("scale_up_threshold", before.upper(), after.upper()),
                ("scale_down_threshold", before.lower(), after.lower()),
            ] {
                let value = Some(percent(after.hundredths()));
                add(key, key, value, before.to_string(), after.to_string());
            }
        }
        (Goal::Target(before), Goal::Target(after)) => {
            let at = counted_in(service);
            let value = metrics(service, at, after);
            let path = format!("metrics.{at}.target");
            add(&path, "metrics", value, before.to_string(), after.to_string());
        }
        (Goal::Thresholds(_), Goal::Target(_)) | (Goal::Target(_), Goal::Thresholds(_)) => (),
    }
    let (before, after) = (today.cooldown, found.cooldown);
    let value = || match after.up == after.down {
        true => seconds(after.up),
        false => json!({ "up": seconds(after.up), "down": seconds(after.down) }),
    };
    let key = "cooldown_period";
    for (path, before, after) in [
        ("cooldown_period.up", before.up, after.up),
        ("cooldown_period.down", before.down, after.down),
    ] {
        add(path, key, Some(value()), units::show(before), units::show(after));
    }
    let shown = |down: Option<Duration>| down.map(units::show).unwrap_or_default();
    let behavior = found.behavior(service).map(|new| behavior(service.behavior.as_ref(), &new));
    let path = "behavior.scale_down.stabilization";
    add(path, "behavior", behavior, shown(today.stabilization), shown(found.stabilization));
    let named = |windows: &[Schedule]| match windows {
        [] => "none".to_owned(),
        all => all.iter().map(window_text).collect::<Vec<_>>().join(", "),
    };
    let value = found.windows.iter().map(schedule).collect();
    let key = "schedules";
    add(key, key, Some(Value::Array(value)), named(&today.windows), named(&found.windows));
    all
}

fn window_text(schedule: &Schedule) -> String {
    format!("{} min {}", schedule.name, schedule.bounds.min())
}

/// Whole keys of the service, each with all that it has to say.
pub(crate) fn keys(settings: &[Setting]) -> Map<String, Value> {
    let known = settings.iter().filter_map(|s| Some((s.key.to_owned(), s.value.clone()?)));
    known.collect()
}

/// Settings that have to be changed by hand.
pub(crate) fn by_hand(settings: &[Setting]) -> impl Iterator<Item = &Setting> {
    settings.iter().filter(|setting| setting.value.is_none())
}

/// Labels of a service of docker compose, in YAML.
pub(crate) fn labels(settings: &[Setting], service: &Service) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in keys(settings) {
        let name = match key.as_str() {
            "min_replicas" => "min",
            "max_replicas" => "max",
            key => key,
        };
        let only_cpu = service.metrics.len() == 1 && service.metrics[0].source == Source::Cpu;
        match &value {
            Value::Array(metrics) if key == "metrics" && only_cpu => {
                let target = metrics.first().map(|metric| metric["target"].clone());
                flatten("plimsoll.cpu", &target.unwrap_or_default(), &mut lines);
            }
            value => flatten(&format!("plimsoll.{name}"), value, &mut lines),
        }
    }
    lines
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| flatten(&format!("{path}.{key}"), value, lines));
        }
        Value::Array(list) if list.iter().all(Value::is_string) => {
            let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            lines.push(format!("{path}: \"{}\"", words.join(",")));
        }
        Value::Array(list) => {
            let numbered = list.iter().enumerate();
            numbered.for_each(|(i, value)| flatten(&format!("{path}.{i}"), value, lines));
        }
        // Labels are text, and YAML reads 08:00 as a number.
        Value::String(text) => lines.push(format!("{path}: {text:?}")),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            lines.push(format!("{path}: \"{value}\""))
        }
    }
}

/// The place of the metric that the load is counted in.
fn counted_in(service: &Service) -> usize {
    let basis = LoadMetric::replayable(service).map(|basis| basis.source);
    let metrics = service.metrics.iter();
    metrics.map(|m| Some(&m.source)).position(|source| source == basis.as_ref()).unwrap_or(0)
}

/// All metrics, one with the new target. A remote one may have a secret in its URL.
fn metrics(service: &Service, at: usize, new: Milli) -> Option<Value> {
    let one = |(i, Metric { source, target }): (usize, &Metric)| {
        let target = unit(if i == at { new } else { *target });
        Some(match source {
            Source::Cpu | Source::Memory => json!({ "source": source.name(), "target": target }),
            Source::Haproxy(field) => {
                json!({ "source": "haproxy", "field": field_name(*field), "target": target })
            }
            Source::Http { .. } | Source::Prometheus { .. } => return None,
        })
    };
    service.metrics.iter().enumerate().map(one).collect::<Option<Vec<Value>>>().map(Value::Array)
}

fn field_name(field: Field) -> &'static str {
    match field {
        Field::Sessions => "sessions",
        Field::Queue => "queue",
        Field::RequestRate => "request_rate",
        Field::ResponseTimeMs => "response_time_ms",
    }
}

fn unit(milli: Milli) -> Value {
    match milli.0 % 1000 {
        0 => (milli.0 / 1000).into(),
        _ => (milli.0 as f64 / 1000.0).into(),
    }
}

fn percent(hundredths: u64) -> Value {
    match hundredths % 100 {
        0 => (hundredths / 100).into(),
        _ => (hundredths as f64 / 100.0).into(),
    }
}

fn seconds(span: Duration) -> Value {
    match span.subsec_millis() {
        0 => span.as_secs().into(),
        _ => format!("{}ms", span.as_millis()).into(),
    }
}

/// What is not the default, and what the service has already.
fn behavior(today: Option<&Behavior>, new: &Behavior) -> Value {
    if today.is_none() {
        return json!({ "scale_down": { "stabilization": seconds(new.scale_down.stabilization) } });
    }
    json!({
        "tolerance": percent(u64::from(new.tolerance)),
        "scale_up": rules(&new.scale_up),
        "scale_down": rules(&new.scale_down),
    })
}

fn rules(rules: &Rules) -> Value {
    let policy = |Policy { amount, period }: &Policy| {
        let (kind, value) = match amount {
            Amount::Percent(value) => ("percent", value),
            Amount::Replicas(value) => ("replicas", value),
        };
        json!({ "type": kind, "value": value, "period": seconds(*period) })
    };
    let select = match rules.select {
        Select::Max => "max",
        Select::Min => "min",
        Select::Disabled => "disabled",
    };
    let policies: Vec<Value> = rules.policies.iter().map(policy).collect();
    json!({
        "stabilization": seconds(rules.stabilization),
        "policies": policies,
        "select": select,
    })
}

fn schedule(schedule: &Schedule) -> Value {
    let window = &schedule.window;
    let days: Vec<&str> =
        DAYS.iter().filter(|(day, _)| window.days.has(*day)).map(|(_, name)| *name).collect();
    json!({
        "name": schedule.name,
        "days": days,
        "start": window.start.to_string(),
        "end": window.end.to_string(),
        "timezone": window.zone.to_string(),
        "min_replicas": schedule.bounds.min(),
        "max_replicas": schedule.bounds.max(),
        "prewarm": units::show(schedule.prewarm),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::advise::fragment::{Setting, labels, settings};
    use crate::advise::tuning::{Goal, Tuning};
    use crate::model::bounds::Bounds;
    use crate::model::metric::{Field, Metric, Milli, Source};
    use crate::model::schedule::Timetable;
    use crate::model::service::{ContainerSpec, Origin, Service, ServiceName};
    use crate::sim::workload::LoadMetric;

    fn web() -> Service {
        let name = ServiceName::new("web").unwrap();
        let container = ContainerSpec::new(Origin::Image("a:1".to_owned()));
        Service::new(name, container, 80, Timetable::always(Bounds::exactly(1)))
    }

    #[test]
    fn the_target_that_changes_is_that_of_the_metric_that_counts() {
        let of = |field, target| Metric { source: Source::Haproxy(field), target: Milli(target) };
        let mut service = web();
        service.metrics = vec![of(Field::ResponseTimeMs, 200_000), of(Field::Sessions, 20_000)];
        let basis = LoadMetric::replayable(&service).unwrap();
        let today = Tuning::of(&service, &basis);
        let found = Tuning { goal: Goal::Target(Milli(30_000)), ..today.clone() };
        let [setting] = &settings(&service, &today, &found)[..] else { panic!() };
        assert_eq!(setting.path, "metrics.1.target");
        let want = json!([
            { "source": "haproxy", "field": "response_time_ms", "target": 200 },
            { "source": "haproxy", "field": "sessions", "target": 30 },
        ]);
        assert_eq!(setting.value, Some(want));
    }

    #[test]
    fn labels_say_what_the_keys_say() {
        let mut service = web();
        service.metrics = vec![Metric { source: Source::Cpu, target: Milli(70_000) }];
        let setting = |key, value| Setting {
            path: String::new(),
            today: String::new(),
            advised: String::new(),
            key,
            value: Some(value),
        };
        let schedule = json!([{ "days": ["mon", "fri"], "start": "08:00", "min_replicas": 4 }]);
        let all = [
            setting("min_replicas", json!(1)),
            setting("metrics", json!([{ "source": "cpu", "target": 66 }])),
            setting("cooldown_period", json!({ "up": 0, "down": 300 })),
            setting("behavior", json!({ "scale_down": { "stabilization": 600 } })),
            setting("schedules", schedule),
        ];
        let mut got = labels(&all, &service);
        got.sort();
        let want = [
            r#"plimsoll.behavior.scale_down.stabilization: "600""#,
            r#"plimsoll.cooldown_period.down: "300""#,
            r#"plimsoll.cooldown_period.up: "0""#,
            r#"plimsoll.cpu: "66""#,
            r#"plimsoll.min: "1""#,
            r#"plimsoll.schedules.0.days: "mon,fri""#,
            r#"plimsoll.schedules.0.min_replicas: "4""#,
            r#"plimsoll.schedules.0.start: "08:00""#,
        ];
        assert_eq!(got, want);
        // Another metric beside it has no short form.
        service.metrics.push(Metric { source: Source::Memory, target: Milli(80_000) });
        let got = labels(&all[1..2], &service);
        assert_eq!(
            got,
            [r#"plimsoll.metrics.0.source: "cpu""#, r#"plimsoll.metrics.0.target: "66""#]
        );
    }
}
