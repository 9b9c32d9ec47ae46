//! `health_check`: how a replica is checked.

use std::time::Duration;

use crate::config::cursor::{Node, Section};
use crate::config::endpoint;
use crate::config::values;
use crate::model::health::{CheckTls, HealthCheck, HealthKind, HttpCheck};
use crate::model::units;

const HOUR: Duration = Duration::from_secs(3600);
const KINDS: [&str; 4] = ["http", "tcp", "docker", "none"];

pub(crate) fn health(section: Option<Section>) -> HealthCheck {
    let mut out = HealthCheck::default();
    let Some(section) = section else { return out };
    out.kind = kind(&section);
    out.port = section.get("port").and_then(|n| values::port(&n));
    let span =
        |key| section.get(key).map(|n: Node| (n.duration(Duration::from_millis(100)..=HOUR), n));
    out.interval = span("interval").and_then(|(span, _)| span).unwrap_or(out.interval);
    let wait = span("timeout");
    let waited = wait.as_ref().and_then(|(span, _)| *span);
    out.timeout = waited.unwrap_or(out.timeout.min(out.interval));
    if out.interval < out.timeout
        && let Some((_, node)) = &wait
    {
        let timeout = units::show(out.timeout);
        let interval = units::show(out.interval);
        node.error(format!("must be at most interval ({interval}), got {timeout}"));
    }
    let times = |key| section.get(key).and_then(|n: Node| n.whole(1..=100));
    out.healthy_after = times("healthy_after").unwrap_or(out.healthy_after);
    out.unhealthy_after = times("unhealthy_after").unwrap_or(out.unhealthy_after);
    let start = section.get("start_period").and_then(|n| n.duration(Duration::ZERO..=HOUR));
    out.start_period = start.unwrap_or(out.start_period);
    section.done();
    out
}

fn kind(section: &Section) -> HealthKind {
    let known = |word: &str| KINDS.into_iter().find(|kind| *kind == word);
    let word = section.get("type").and_then(|n| n.word("http, tcp, docker or none", known));
    let http_only = ["path", "expect_status", "headers", "scheme", "verify", "ca_file"];
    let word = match word {
        Some(word) => word,
        None if http_only.iter().any(|key| section.get(key).is_some()) => "http",
        None => "tcp",
    };
    if word != "http" {
        for key in http_only {
            if let Some(node) = section.get(key) {
                node.error(format!("cannot be used with a health check of type {word}"));
            }
        }
    }
    match word {
        "http" => HealthKind::Http(HttpCheck {
            path: section.get("path").and_then(|n| path(&n)).unwrap_or_else(|| "/".to_owned()),
            headers: endpoint::headers(section.section("headers")),
            expect: section
                .get("expect_status")
                .and_then(|n| expect(&n))
                .unwrap_or_else(|| vec![HttpCheck::EXPECT]),
            tls: tls(section),
        }),
        "docker" => HealthKind::Docker,
        "none" => HealthKind::None,
        _ => HealthKind::Tcp,
    }
}

/// The keys `scheme`, `verify` and `ca_file`.
fn tls(section: &Section) -> Option<CheckTls> {
    let known = |word: &str| ["http", "https"].into_iter().find(|scheme| *scheme == word);
    let scheme = section.get("scheme").and_then(|n| n.word("http or https", known));
    let verifies = section.get("verify").and_then(|n| n.boolean()).unwrap_or(false);
    if scheme != Some("https") {
        section.unused("verify", "has no effect without scheme https");
        endpoint::unused_ca_file(section, "has no effect without scheme https");
        return None;
    }
    if !verifies {
        endpoint::unused_ca_file(section, "has no effect without verify");
        return Some(CheckTls::Unverified);
    }
    Some(CheckTls::Verified { ca: endpoint::ca_file(section, false) })
}

fn path(node: &Node) -> Option<String> {
    let text = node.text()?;
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\'#".contains(&b));
    if text.starts_with('/') && plain {
        return Some(text.into_owned());
    }
    node.wrong("a path like \"/health\": it starts with `/` and has no spaces, quotes, `\\` or `#`")
}

/// `200`, `"200-399"`, or a comma-separated list of them.
fn expect(node: &Node) -> Option<Vec<(u16, u16)>> {
    let allowed = r#"statuses from 100 to 599, like 200, "200-399" or "200-299,401""#;
    let status = |text: &str| text.trim().parse().ok().filter(|s| (100..=599).contains(s));
    let range = |part: &str| match part.split_once('-') {
        Some((from, to)) => Some((status(from)?, status(to)?)).filter(|(from, to)| from <= to),
        None => status(part).map(|s| (s, s)),
    };
    let text = match (&node.string, node.number()) {
        (Some(text), _) => text.clone().into_owned(),
        (None, Some(number)) => number.to_owned(),
        (None, None) => return node.wrong(allowed),
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    ranges.or_else(|| node.wrong(allowed))
}
