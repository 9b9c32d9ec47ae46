//! The keys of a service that say how HAProxy treats its requests.

use std::time::Duration;

use jsonc_parser::ast::Value;

use crate::config::cursor::{Node, Section};
use crate::config::endpoint;
use crate::config::front_door::networks;
use crate::model::metric::{Field, Metric, Source};
use crate::model::route::Network;
use crate::model::secret::Secret;
use crate::model::service::Retry;
use crate::model::traffic_policy::{
    Balance, BasicAuth, ClientRateLimit, Protocol, Retries, Sticky, Timeouts, TrafficPolicy,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

const COOKIE: &str = "srv";
const REALM: &str = "restricted";
/// HAProxy's `retry-on`, without what only TLS to replicas has.
const RETRY_ON: [&str; 8] = [
    "conn-failure",
    "empty-response",
    "junk-response",
    "response-timeout",
    "500",
    "502",
    "503",
    "504",
];
const RETRY_ON_ALLOWED: &str = "conn-failure, empty-response, junk-response, response-timeout, \
                                500, 502, 503 or 504";

/// `retry` has two forms: a word, or which failures and how often.
pub(crate) fn policy(section: &Section) -> (TrafficPolicy, Option<Retry>) {
    let (retry, retries) = retry(section.get("retry"));
    let policy = TrafficPolicy {
        protocol: section.get("protocol").and_then(|n| protocol(&n)).unwrap_or_default(),
        balance: section.get("balance").and_then(|n| balance(&n)).unwrap_or_default(),
        sticky: section.get("sticky").and_then(|n| sticky(&n)),
        timeouts: section.section("timeouts").map(timeouts).unwrap_or_default(),
        max_connections: section.get("max_connections").and_then(|n| n.whole(1..=100_000)),
        retries,
        allow: section.get("allow").map(|n| allow(&n)).unwrap_or_default(),
        basic_auth: section.section("basic_auth").and_then(basic_auth),
        rate_limit: section.section("rate_limit").and_then(rate_limit),
        request_headers: headers(section.section("request_headers")),
        response_headers: headers(section.section("response_headers")),
    };
    (policy, retry)
}

fn protocol(node: &Node) -> Option<Protocol> {
    let known = |word: &str| match word {
        "http" => Some(Protocol::Http),
        "h2" => Some(Protocol::H2),
        "tcp" => Some(Protocol::Tcp),
        _ => None,
    };
    node.word("http, h2 or tcp", known)
}

fn balance(node: &Node) -> Option<Balance> {
    let all = [Balance::LeastConn, Balance::RoundRobin, Balance::Random, Balance::Source];
    let known = |word: &str| all.into_iter().find(|balance| balance.word() == word);
    node.word("leastconn, roundrobin, random or source", known)
}

/// `true`, or the cookie and how long it is good for.
fn sticky(node: &Node) -> Option<Sticky> {
    let usual = || Sticky { cookie: COOKIE.to_owned(), ttl: None };
    if let Some(is_sticky) = node.flag() {
        return is_sticky.then(usual);
    }
    let Value::Object(_) = node.value else {
        return node.wrong(r#"true, or an object like {"cookie": "srv", "ttl": "1h"}"#);
    };
    let section = node.section()?;
    let token = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let cookie = section.get("cookie");
    let cookie = cookie.map(|n| n.text_that(token, "a name of letters, digits, `_` and `-`"));
    let ttl = section.get("ttl").and_then(|n| n.duration(Duration::from_secs(1)..=365 * DAY));
    section.done();
    Some(Sticky { cookie: cookie.unwrap_or_else(|| Some(COOKIE.to_owned()))?, ttl })
}

fn timeouts(section: Section) -> Timeouts {
    let span = |key, longest| {
        let node: Option<Node> = section.get(key);
        node.and_then(|n| n.duration(MILLISECOND..=longest))
    };
    let timeouts = Timeouts {
        connect: span("connect", HOUR),
        server: span("server", 7 * DAY),
        client: span("client", 7 * DAY),
        queue: span("queue", HOUR),
        tunnel: span("tunnel", 7 * DAY),
    };
    section.done();
    timeouts
}

fn retry(node: Option<Node>) -> (Option<Retry>, Option<Retries>) {
    let Some(node) = node else { return (None, None) };
    if let Value::Object(_) = node.value {
        return (None, node.section().and_then(retries));
    }
    let known = |word: &str| match word {
        "connect" => Some(Retry::Connect),
        "safe" => Some(Retry::Safe),
        _ => None,
    };
    (node.word("connect or safe, or an object with `on` and `attempts`", known), None)
}

fn retries(section: Section) -> Option<Retries> {
    let word = |node: &Node| {
        let known = |word: &str| RETRY_ON.into_iter().find(|known| *known == word);
        node.word(RETRY_ON_ALLOWED, known)
    };
    let on = section.get("on").and_then(|n| n.list()).map(|nodes| {
        let words: Vec<_> = nodes.iter().filter_map(word).collect();
        words
    });
    let attempts = section.get("attempts").map_or(Some(3), |n| n.whole(0..=10));
    section.done();
    let on = on.filter(|on| !on.is_empty()).unwrap_or_else(|| vec![RETRY_ON[0]]);
    Some(Retries { on, attempts: attempts? })
}

fn allow(node: &Node) -> Vec<Network> {
    let networks = networks(node);
    if networks.is_empty() {
        node.complain("would let nobody in: name a network, or leave the key out");
    }
    networks
}

fn basic_auth(section: Section) -> Option<BasicAuth> {
    let realm = section.get("realm").map(|n| {
        let plain = |text: &str| text.chars().all(|c| (' '..='~').contains(&c) && c != '"');
        n.text_that(plain, "printable ASCII without quotes")
    });
    let users = section.need("users", "an object of names, each with its password");
    section.done();
    let mut out = Vec::new();
    let all = users.as_ref().and_then(|n| n.section());
    let all = all.map(|all| all.entries()).unwrap_or_default();
    if let Some(node) = users.filter(|_| all.is_empty()) {
        node.complain("needs at least one user");
    }
    for (name, node) in all {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
        if name.is_empty() || !name.bytes().all(plain) {
            node.bad_name("a user's name must consist of letters, digits and `._@+-`");
            continue;
        }
        let Some(password) = node.secret() else { continue };
        let is_plain = password.expose().chars().all(|c| !c.is_control());
        if password.expose().is_empty() || !is_plain {
            node.error("a password must be one line, and not empty");
            continue;
        }
        out.push((name.to_owned(), password));
    }
    let realm = realm.unwrap_or_else(|| Some(REALM.to_owned()))?;
    (!out.is_empty()).then_some(BasicAuth { realm, users: out })
}

fn rate_limit(section: Section) -> Option<ClientRateLimit> {
    let requests = section.need("requests", "how many one client may send within the period");
    let requests = requests.and_then(|n| n.whole(1..=1_000_000));
    let period = section
        .get("period")
        .map_or(Some(Duration::from_secs(1)), |n| n.duration(Duration::from_millis(100)..=DAY));
    let known = |word: &str| (word == "ip").then_some(());
    if let Some(node) = section.get("by") {
        node.word("ip", known);
    }
    section.done();
    Some(ClientRateLimit { requests: requests?, period: period? })
}

/// `null` removes a header.
fn headers(section: Option<Section>) -> Vec<(String, Option<Secret>)> {
    let mut out = Vec::new();
    for (name, node) in section.map(|section| section.entries()).unwrap_or_default() {
        if !endpoint::is_header_name(name) {
            node.bad_name(endpoint::HEADER_NAME);
        } else if node.is_null() {
            out.push((name.to_owned(), None));
        } else if let Some(value) = endpoint::header_value(&node) {
            out.push((name.to_owned(), Some(value)));
        }
    }
    out
}

/// What cannot be together.
pub(crate) fn beside(
    section: &Section,
    policy: &TrafficPolicy,
    retry: Option<Retry>,
    metrics: &[Metric],
) {
    if let (Balance::Source, Some(Retry::Safe), Some(node)) =
        (policy.balance, retry, section.get("balance"))
    {
        node.error(
            "source cannot be used with retry safe: HAProxy sends a GET to itself once, and has \
             no client's address then",
        );
    }
    if policy.protocol != Protocol::Tcp {
        return;
    }
    for key in
        ["routes", "sticky", "basic_auth", "rate_limit", "request_headers", "response_headers"]
    {
        if let Some(node) = section.get(key) {
            node.error("cannot be used with protocol tcp: HAProxy does not read what is sent");
        }
    }
    if let Some(node) = section.get("retry") {
        node.error("cannot be used with protocol tcp: bytes that were sent are never sent again");
    }
    if section.get("listen").is_none()
        && let Some(node) = section.get("protocol")
    {
        node.error("needs a `listen` of the service's own");
    }
    let of_requests = |metric: &Metric| {
        matches!(metric.source, Source::Haproxy(Field::RequestRate | Field::ResponseTimeMs))
    };
    if let Some(node) = section.get("metrics").filter(|_| metrics.iter().any(of_requests)) {
        node.error(
            "with protocol tcp there are no requests to count: of source haproxy, use the fields \
             sessions and queue",
        );
    }
}
