//! `metrics` and `behavior`: what a service scales by, and how fast.

use std::time::Duration;

use crate::config::cursor::{Node, Section};
use crate::config::endpoint;
use crate::model::behavior::{Amount, Behavior, Policy, Rules, Select};
use crate::model::metric::{Field, Metric, Milli, Source};

const HOUR: Duration = Duration::from_secs(3600);
/// The limit of `periodSeconds` in Kubernetes.
const PERIOD_MAX: Duration = Duration::from_secs(1800);
/// In thousandths: a target of a thousand million, far above any real value.
const TARGET_MAX: u64 = 1_000_000_000_000;
/// Metrics of one service; each is read at every evaluation.
const METRICS_MAX: usize = 16;
const POLICIES_MAX: usize = 16;
/// Default of `tolerance`, in hundredths of the target, as in Kubernetes.
const TOLERANCE: u32 = 10;

pub(crate) fn metrics(node: Option<Node>) -> Vec<Metric> {
    let Some(node) = node else { return Vec::new() };
    let nodes = node.list().unwrap_or_default();
    if METRICS_MAX < nodes.len() {
        node.error(format!(
            "a service has at most {METRICS_MAX} metrics; this one has {}",
            nodes.len()
        ));
    }
    let metrics: Vec<Metric> = nodes.iter().filter_map(metric).collect();
    let all = metrics.len() == nodes.len() && nodes.len() <= METRICS_MAX;
    for (i, metric) in metrics.iter().enumerate().filter(|_| all) {
        if metrics[..i].iter().any(|m| m.source == metric.source) {
            nodes[i].error(format!("{} is in this list twice", metric.source));
        }
    }
    metrics
}

fn metric(node: &Node) -> Option<Metric> {
    let section = node.section()?;
    let what = "cpu, memory, haproxy, http or prometheus";
    let source = section.need("source", what);
    let word = source.as_ref().and_then(|n| n.text());
    let read = match word.as_deref() {
        Some("cpu") => Some(Source::Cpu),
        Some("memory") => Some(Source::Memory),
        Some("haproxy") => field(&section).map(Source::Haproxy),
        Some("http") => http(&section),
        Some("prometheus") => prometheus(&section),
        Some(_) => source.and_then(|n| n.wrong(what)),
        None => None,
    };
    let target = section.need("target", "the target value for each replica");
    let target = target.and_then(|n| n.thousandths(1..=TARGET_MAX, ""));
    section.done();
    Some(Metric { source: read?, target: Milli(target?) })
}

fn field(section: &Section) -> Option<Field> {
    let what = "sessions, queue, request_rate or response_time_ms";
    let field = |word: &str| match word {
        "sessions" => Some(Field::Sessions),
        "queue" => Some(Field::Queue),
        "request_rate" => Some(Field::RequestRate),
        "response_time_ms" => Some(Field::ResponseTimeMs),
        _ => None,
    };
    section.need("field", what)?.word(what, field)
}

fn http(section: &Section) -> Option<Source> {
    let endpoint = endpoint::metric(section, "the address of the document");
    let pointer = section.get("pointer").map(|n| pointer(&n));
    Some(Source::Http {
        endpoint: endpoint?,
        pointer: pointer.unwrap_or_else(|| Some(String::new()))?,
    })
}

fn pointer(node: &Node) -> Option<String> {
    let is_good = |text: &str| {
        let escapes = text.match_indices('~');
        let mut followed = escapes.map(|(at, _)| text.get(at + 1..at + 2));
        text.starts_with('/') && followed.all(|next| matches!(next, Some("0" | "1")))
    };
    let text = node.text()?;
    if is_good(&text) {
        return Some(text.into_owned());
    }
    node.wrong(r#"a JSON pointer like "/jobs/waiting"; in a name, `~0` is `~` and `~1` is `/`"#)
}

fn prometheus(section: &Section) -> Option<Source> {
    let endpoint = endpoint::metric(section, "the address of Prometheus");
    let query =
        section.need("query", "an instant query").and_then(|n| Some(n.text()?.into_owned()));
    Some(Source::Prometheus { endpoint: endpoint?, query: query? })
}

pub(crate) fn behavior(section: Option<Section>) -> Option<Behavior> {
    let section = section?;
    let tolerance = section.get("tolerance").and_then(|n| n.hundredths(0..=1_00, ""));
    let up = section.section("scale_up").and_then(|s| rules(s, Rules::up()));
    let down = section.section("scale_down").and_then(|s| rules(s, Rules::down()));
    section.done();
    let tolerance = tolerance.and_then(|t| u32::try_from(t).ok()).unwrap_or(TOLERANCE);
    let scale_up = up.unwrap_or_else(Rules::up);
    let scale_down = down.unwrap_or_else(Rules::down);
    Some(Behavior { tolerance, scale_up, scale_down })
}

fn rules(section: Section, default: Rules) -> Option<Rules> {
    let span = section.get("stabilization").map(|n| n.duration(Duration::ZERO..=HOUR));
    let policies = section.get("policies").map(|n| policies(&n));
    let select = section.get("select").map(|n| n.word("max, min or disabled", select));
    let select = select.unwrap_or(Some(default.select))?;
    let is_empty = policies.as_ref().is_some_and(|p| p.as_ref().is_some_and(Vec::is_empty));
    if let Some(node) = section.get("policies").filter(|_| is_empty && select != Select::Disabled) {
        node.error(r#"an empty list allows no change; remove it, or set "select": "disabled""#);
    }
    section.done();
    Some(Rules {
        stabilization: span.unwrap_or(Some(default.stabilization))?,
        policies: policies.unwrap_or(Some(default.policies))?,
        select,
    })
}

fn select(word: &str) -> Option<Select> {
    match word {
        "max" => Some(Select::Max),
        "min" => Some(Select::Min),
        "disabled" => Some(Select::Disabled),
        _ => None,
    }
}

fn policies(node: &Node) -> Option<Vec<Policy>> {
    let nodes = node.list()?;
    if POLICIES_MAX < nodes.len() {
        node.error(format!(
            "at most {POLICIES_MAX} policies are allowed; there are {}",
            nodes.len()
        ));
    }
    let policies: Vec<Policy> = nodes.iter().filter_map(policy).collect();
    (policies.len() == nodes.len()).then_some(policies)
}

fn policy(node: &Node) -> Option<Policy> {
    let section = node.section()?;
    let kind = section.need("type", "percent or replicas");
    let value = section
        .need("value", "the largest change in one period")
        .and_then(|n| n.whole(1..=100_000));
    let period = section.need("period", "the time that the limit applies to");
    let period = period.and_then(|n| n.duration(Duration::from_secs(1)..=PERIOD_MAX));
    section.done();
    let amount = kind?.word("percent or replicas", |word| match word {
        "percent" => Some(Amount::Percent as fn(u32) -> Amount),
        "replicas" => Some(Amount::Replicas as fn(u32) -> Amount),
        _ => None,
    });
    Some(Policy { amount: amount?(value?), period: period? })
}
