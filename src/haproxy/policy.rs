//! Renders how HAProxy treats the requests of one service. Texts of the config are quoted, and `%`,
//! which begins a variable in HAProxy's formats, is doubled.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::haproxy::files;
use crate::haproxy::quoting::{format_text, quoted};
use crate::model::proxy::Backend;
use crate::model::secret::Secret;
use crate::model::traffic_policy::{Balance, ClientRateLimit, Protocol};

/// Clients whose requests are counted, for each service: 100 000 take 10 MB.
const CLIENTS_MAX: &str = "100k";

/// Servers that drain. A cookie for one is made one for none, so that HAProxy chooses another
/// replica and gives a new cookie (`ignore-persist` gives none). No frontend has this name.
pub(crate) fn draining_map(config: &Path) -> PathBuf {
    files::beside(config, "_draining.map")
}

fn users(name: &str) -> String {
    format!("{name}:users")
}

fn clients(name: &str) -> String {
    format!("{name}:clients")
}

/// Sections of their own that the rules refer to.
pub(crate) fn sections(backend: &Backend, out: &mut String) {
    let name = backend.service.as_str();
    if let Some(auth) = &backend.policy.basic_auth {
        let _ = write!(out, "\nuserlist {}\n", users(name));
        for (user, password) in &auth.users {
            let text = password.expose();
            // As crypt(3) marks its hashes.
            let is_hash = text.starts_with('$') && 2 < text.matches('$').count();
            let kind = if is_hash { "password" } else { "insecure-password" };
            let _ = writeln!(out, "    user {user} {kind} {}", quoted(text));
        }
    }
    if let Some(ClientRateLimit { period, .. }) = backend.policy.rate_limit {
        let ms = period.as_millis();
        let _ = write!(
            out,
            "\nbackend {}\n    stick-table type ipv6 size {CLIENTS_MAX} expire {ms}ms \
             store http_req_rate({ms}ms)\n",
            clients(name)
        );
    }
}

/// Which requests are let in. `comes_again`: requests pass the backend a second time, from HAProxy
/// itself, and were let in before.
pub(crate) fn admission(backend: &Backend, comes_again: bool, out: &mut String) {
    let name = backend.service.as_str();
    let policy = &backend.policy;
    if policy.allow.is_empty() && policy.basic_auth.is_none() && policy.rate_limit.is_none() {
        return;
    }
    if policy.protocol == Protocol::Tcp {
        for network in &policy.allow {
            let _ = writeln!(out, "    acl allowed src {network}");
        }
        let _ = writeln!(out, "    tcp-request content reject unless allowed");
        return;
    }
    let (or_again, and_first) = if comes_again {
        let _ = writeln!(out, "    acl again fe_name -m str {name}:again");
        (" or again", " !again")
    } else {
        ("", "")
    };
    let _ = writeln!(
        out,
        "    http-request set-var(txn.client) src unless {{ var(txn.client) -m found }}{or_again}"
    );
    if !policy.allow.is_empty() {
        for network in &policy.allow {
            let _ = writeln!(out, "    acl allowed var(txn.client) -m ip {network}");
        }
        let _ = writeln!(out, "    http-request deny deny_status 403 unless allowed{or_again}");
    }
    if let Some(limit) = policy.rate_limit {
        let table = clients(name);
        let most = limit.requests;
        let wait = limit.period.as_millis().div_ceil(1000);
        let unless = if comes_again { " unless again" } else { "" };
        let _ = write!(
            out,
            "    http-request track-sc0 var(txn.client) table {table}{unless}\n    \
             http-request return status 429 content-type text/plain hdr Retry-After {wait} \
             string 'Too many requests' if {{ sc_http_req_rate(0,{table}) gt {most} }}{and_first}\n"
        );
    }
    if let Some(auth) = &policy.basic_auth {
        let realm = quoted(&auth.realm);
        let users = users(name);
        let _ = writeln!(
            out,
            "    http-request auth realm {realm} unless {{ http_auth({users}) }}{or_again}"
        );
    }
}

/// The lines of a backend that are no rules of admission.
pub(crate) fn settings(backend: &Backend, config: &Path, out: &mut String) {
    let policy = &backend.policy;
    match policy.balance {
        Balance::LeastConn => (),
        Balance::Source => out.push_str("    balance source\n    hash-type consistent\n"),
        other => {
            let _ = writeln!(out, "    balance {}", other.word());
        }
    }
    let times = &policy.timeouts;
    timeout("connect", times.connect, out);
    timeout("server", times.server, out);
    timeout("queue", times.queue, out);
    timeout("tunnel", times.tunnel, out);
    if let Some(retries) = &policy.retries {
        let on = retries.on.join(" ");
        let _ = writeln!(out, "    retries {}\n    retry-on {on}", retries.attempts);
        if on != "conn-failure" {
            // What may change something is sent once.
            out.push_str("    http-request disable-l7-retry unless { method GET HEAD OPTIONS }\n");
        }
    }
    if let Some(sticky) = &policy.sticky {
        let cookie = &sticky.cookie;
        let life = sticky.ttl.map(|ttl| format!(" maxlife {}s", ttl.as_secs())).unwrap_or_default();
        let map = draining_map(config);
        let map = map.display();
        let _ = write!(
            out,
            "    cookie {cookie} insert indirect nocache httponly{life}\n    # map {map}\n    \
             http-request replace-header Cookie '^(.*; *|){cookie}=[^;]*(.*)$' '\\1{cookie}=-\\2' \
             if {{ req.cook({cookie}),map({map}) -m found }}\n"
        );
    }
    headers("http-request", &policy.request_headers, out);
    headers("http-response", &policy.response_headers, out);
}

pub(crate) fn timeout(name: &str, span: Option<Duration>, out: &mut String) {
    if let Some(span) = span {
        let _ = writeln!(out, "    timeout {name} {}ms", span.as_millis());
    }
}

fn headers(rule: &str, headers: &[(String, Option<Secret>)], out: &mut String) {
    for (name, value) in headers {
        let name = quoted(name);
        let _ = match value {
            Some(value) => {
                writeln!(out, "    {rule} set-header {name} {}", format_text(value.expose()))
            }
            None => writeln!(out, "    {rule} del-header {name}"),
        };
    }
}

/// More connections than HAProxy ever has to one server. HAProxy 3.0 gives a server without a limit
/// nothing of what waits in the backend's queue.
const UNREACHED_LIMIT: u32 = 1_000_000;

/// What each server has beside its health check.
pub(crate) fn server_options(backend: &Backend) -> String {
    let policy = &backend.policy;
    let unreached = backend.wake.is_some().then_some(UNREACHED_LIMIT);
    let limit = policy.max_connections.or(unreached);
    let limit = limit.map(|most| format!(" maxconn {most}")).unwrap_or_default();
    let proto = if policy.protocol == Protocol::H2 { " proto h2" } else { "" };
    limit + proto
}

/// The cookie of a server, which is its name.
pub(crate) fn server_cookie(backend: &Backend, server: &str) -> String {
    if backend.policy.sticky.is_some() { format!(" cookie {server}") } else { String::new() }
}
