//! Renders routes as HAProxy's configuration. All input is validated before: names are plain,
//! addresses and numbers are typed, paths and texts are quoted.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::haproxy::front_door::SharedSettings;
use crate::haproxy::quoting::{format_text, quoted};
use crate::haproxy::{policy, wake};
use crate::model::config::ProxyConfig;
use crate::model::hash::fnv1a;
use crate::model::health::{HEALTH_HOST, HealthKind, HttpCheck};
use crate::model::proxy::{Backend, KEEP_ALIVE, Routes};
use crate::model::service::{Listen, Retry};
use crate::model::traffic_policy::Protocol;

/// The fixed lines. idle-close-on-response: a finishing process does not close an idle client
/// connection under its next request. load-server-state-from-file: a server that is down or drains
/// stays so in the next process. http-server-close: each request has its own connection to the
/// replica, because on a kept connection a close by the replica looks like a crash. redispatch and
/// retries: after `timeout connect` a refused try goes to another replica.
const DEFAULTS: &str = "\
    mode http
    balance leastconn
    option forwardfor
    option idle-close-on-response
    option http-server-close
    option redispatch 1
    retries 4
    retry-on conn-failure
    load-server-state-from-file global
    timeout connect 500ms
    timeout client 1m
    timeout server 5m
    timeout queue 30s
    timeout http-request 10s
    timeout tunnel 1h
";

/// Of services that are no HTTP: a database's client may say nothing for long.
const TCP_DEFAULTS: &str = "\
    mode tcp
    balance leastconn
    option redispatch 1
    retries 4
    load-server-state-from-file global
    timeout connect 500ms
    timeout client 1h
    timeout server 1h
    timeout queue 30s
";

/// How long a GET waits before its second try.
const RETRY_DELAY_MS: u32 = 200;

/// Within it, the first health checks of all servers are spread.
const FIRST_CHECK_MS: u32 = 50;

/// Not a valid service name, so no service has it.
const STATS: &str = "_statistics";

/// The account that HAProxy changes to when root starts it; HAProxy's packages create it.
pub(crate) const ACCOUNT: &str = "haproxy";

/// Begins the line that changes with the certificates.
const MARK: &str = "# Certificate: ";

/// Without what changes with the certificates.
pub(crate) fn without_mark(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with(MARK)).collect()
}

/// What is known of the process that will read the text.
#[derive(Clone, Copy)]
pub(crate) struct ProcessFacts {
    /// It is started by root, and there is an account for it.
    pub(crate) drops_root: bool,
    /// It can connect to sockets in the folder of its own one.
    pub(crate) sees_files: bool,
}

/// `mark` is that of the certificates: with it the text changes when they do.
pub(crate) fn render(
    config: &ProxyConfig,
    state_file: &Path,
    process: ProcessFacts,
    mark: &str,
    routes: &Routes,
) -> String {
    let mut out = String::from("# Written by plimsoll. Changes are lost at the next reload.\n");
    if !mark.is_empty() {
        let _ = writeln!(out, "{MARK}{mark}");
    }
    render_globals(config, state_file, process, routes, &mut out);
    let share = share(config, routes);
    let safe: Vec<&str> = routes
        .backends
        .iter()
        .filter(|backend| again(config, routes, backend).is_some())
        .map(|backend| backend.service.as_str())
        .collect();
    let limit = if safe.is_empty() { None } else { share };
    let shared = SharedSettings { config: &config.config, routes, safe, limit };
    for frontend in &routes.front_door.frontends {
        shared.render(frontend, &mut out);
    }
    shared.render_acme(&config.socket, process.sees_files, &mut out);
    let is_tcp = |backend: &&Backend| backend.policy.protocol == Protocol::Tcp;
    for backend in routes.backends.iter().filter(|backend| !is_tcp(backend)) {
        let again = again(config, routes, backend);
        let limit = again.as_ref().and(share);
        policy::sections(backend, &mut out);
        render_frontend(backend, config.certificate.as_deref(), limit, &mut out);
        let inner = inner_socket(config, backend);
        let has_page = wake::page(backend).is_some();
        if again.is_some() {
            render_again(backend, &inner, &mut out);
        } else if has_page {
            render_inner(backend, &inner, "", &mut out);
        }
        wake::render_page(backend, &inner, &mut out);
        render_backend(backend, (config, process), again.is_some() || has_page, &mut out);
    }
    for (n, backend) in routes.backends.iter().filter(is_tcp).enumerate() {
        if n == 0 {
            let _ = write!(out, "\ndefaults\n{TCP_DEFAULTS}");
        }
        render_frontend(backend, None, None, &mut out);
        render_backend(backend, (config, process), false, &mut out);
    }
    out
}

/// The global and the first default section, and the page of statistics.
fn render_globals(
    config: &ProxyConfig,
    state_file: &Path,
    process: ProcessFacts,
    routes: &Routes,
    out: &mut String,
) {
    out.push_str("global\n");
    let socket = quoted(&config.socket.to_string_lossy());
    let state = quoted(&state_file.to_string_lossy());
    let hard_stop_ms = config.hard_stop_after.as_millis();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "    stats socket {socket} mode 600 level admin expose-fd listeners");
    let _ = writeln!(out, "    server-state-file {state}");
    let _ = writeln!(out, "    hard-stop-after {hard_stop_ms}ms");
    if let Some(most) = config.max_connections {
        let _ = writeln!(out, "    maxconn {most}");
    }
    let may_sleep = routes.backends.iter().any(|backend| backend.wake.is_some());
    if may_sleep {
        // Else the first health check of a new server comes after `downinter`, and what waits for
        // the server waits as long.
        let _ = writeln!(out, "    max-spread-checks {FIRST_CHECK_MS}");
    }
    // A base config sets the account itself.
    if process.drops_root && config.base_config.is_none() {
        let _ = writeln!(out, "    user {ACCOUNT}\n    group {ACCOUNT}");
    }
    let _ = write!(out, "\ndefaults\n{DEFAULTS}");
    let is_limited = |backend: &Backend| backend.policy.max_connections.is_some();
    if may_sleep || routes.backends.iter().any(is_limited) {
        // Who has left takes no other one's place. In a backend alone it has no effect.
        out.push_str("    option abortonclose\n");
    }
    let _ = writeln!(out, "    timeout http-keep-alive {}ms", KEEP_ALIVE.as_millis());
    if let Some(port) = config.stats_port {
        let _ = write!(out, "\nlisten {STATS}\n    bind 127.0.0.1:{port}\n    stats enable\n");
        let _ = writeln!(out, "    stats uri /\n    stats refresh 5s");
    }
}

/// The abstract socket through which HAProxy passes a GET to itself for its second try. All
/// HAProxy processes of a host share the namespace of these names.
fn again(config: &ProxyConfig, routes: &Routes, backend: &Backend) -> Option<String> {
    let is_reached = backend.listen.is_some() || !routes.front_door.frontends.is_empty();
    let is_http = backend.policy.protocol != Protocol::Tcp;
    if !is_reached || !is_http || backend.retry != Retry::Safe {
        return None;
    }
    Some(inner_socket(config, backend))
}

fn inner_socket(config: &ProxyConfig, backend: &Backend) -> String {
    let site = fnv1a(config.socket.as_os_str().as_encoded_bytes());
    format!("abns@plimsoll-{site:016x}-{}", backend.service)
}

/// Where a request of HAProxy's own reaches the backend.
fn render_inner(backend: &Backend, socket: &str, settings: &str, out: &mut String) {
    let name = &backend.service;
    let _ = write!(
        out,
        "\nfrontend {name}:again\n    bind {socket}\n{settings}    default_backend {name}\n"
    );
}

/// `maxconn` of a frontend whose requests take two connections. Without it, first connections
/// could use up all of `maxconn`, and none would be left for the second pass.
fn share(config: &ProxyConfig, routes: &Routes) -> Option<u32> {
    let safe = || routes.backends.iter().filter(|b| again(config, routes, b).is_some());
    let own = safe().filter(|b| b.listen.is_some()).count();
    let shared = safe().next().map_or(0, |_| routes.front_door.frontends.len());
    let count = u32::try_from(own + shared).ok().filter(|count| 0 < *count)?;
    let each = count.saturating_mul(2);
    Some((config.max_connections? / each).max(1))
}

/// The first line of a service's frontend. HAProxy 3.3 and later refuse one with the name of a
/// backend.
pub(crate) fn frontend_head(service: &str) -> String {
    format!("frontend {service}:frontend")
}

fn render_frontend(
    backend: &Backend,
    certificate: Option<&Path>,
    limit: Option<u32>,
    out: &mut String,
) {
    let Some(listen) = &backend.listen else { return };
    let name = &backend.service;
    let _ = write!(out, "\n{}\n    bind {listen}", frontend_head(name.as_str()));
    if let Some(file) = certificate {
        let _ = write!(out, " ssl crt {}", quoted(&file.to_string_lossy()));
        let _ = write!(out, "\n    http-request set-header X-Forwarded-Proto https");
    }
    if let Some(limit) = limit {
        let _ = write!(out, "\n    maxconn {limit}");
    }
    if wake::page(backend).is_some() {
        let _ = write!(out, "\n    use_backend {name}:page if {}", wake::gets_page(name.as_str()));
    }
    if backend.retry == Retry::Safe && backend.policy.protocol != Protocol::Tcp {
        let _ = write!(out, "\n    use_backend {name}:first if METH_GET");
    }
    if let Some(client) = backend.policy.timeouts.client {
        let _ = write!(out, "\n    timeout client {}ms", client.as_millis());
    }
    let _ = writeln!(out, "\n    default_backend {name}");
}

/// HAProxy has one limit for connection retries and request retries. One limit for both would
/// either send a request to many replicas or give up when several are gone. So a GET passes HAProxy
/// twice: the outer pass repeats it once when there is no answer, the inner pass finds a replica
/// that accepts the connection. The inner 502 for a crashed replica is suppressed, so that the
/// outer pass sees no answer.
///
/// A process that is killed closes its connections one by one, and its listener may still accept
/// when the first is gone. The dying replica has the fewest requests then, so a repeat at once
/// would go back to it. Hence the server `wait`, which answers nothing after [`RETRY_DELAY_MS`]:
/// `balance first` begins with the server `again`, and each redispatch goes to the other one.
/// (A delay by `tcp-request inspect-delay` ends at once in HAProxy 2.6 if the request has no body.)
fn render_again(backend: &Backend, socket: &str, out: &mut String) {
    let name = &backend.service;
    let times = &backend.policy.timeouts;
    let mut own = String::new();
    policy::admission(backend, false, &mut own);
    // The inner pass waits for a replica, and then for its answer.
    if times.server.is_some() || times.queue.is_some() {
        let inner = times.server(backend.policy.protocol) + times.queue();
        policy::timeout("server", Some(inner), &mut own);
    }
    policy::timeout("tunnel", times.tunnel, &mut own);
    let _ = write!(
        out,
        "\nbackend {name}:first\n    balance first\n{own}    retries 2\n    \
         retry-on conn-failure empty-response\n    server again {socket}\n    \
         server wait {socket}:wait\n"
    );
    render_inner(backend, socket, "    errorfile 502 /dev/null\n", out);
    let _ = write!(
        out,
        "\nfrontend {name}:wait\n    bind {socket}:wait\n    errorfile 502 /dev/null\n    \
         timeout tarpit {RETRY_DELAY_MS}ms\n    http-request tarpit deny_status 502\n"
    );
}

/// `comes_again`: GETs pass it from HAProxy itself.
fn render_backend(
    backend: &Backend,
    (config, process): (&ProxyConfig, ProcessFacts),
    comes_again: bool,
    out: &mut String,
) {
    let name = &backend.service;
    let _ = write!(out, "\nbackend {name}\n");
    policy::admission(backend, comes_again, out);
    policy::settings(backend, &config.config, out);
    wake::render(backend, &config.socket, process.sees_files, out);
    let health = &backend.health;
    if let HealthKind::Http(http) = &health.kind {
        let path = quoted(&http.path);
        let _ = writeln!(out, "    option httpchk");
        let _ = write!(out, "    http-check send meth GET uri {path} ver HTTP/1.1");
        if http.host().is_none() {
            let _ = write!(out, " hdr Host {HEALTH_HOST}");
        }
        for (name, value) in &http.headers {
            let value = format_text(value.expose());
            let _ = write!(out, " hdr {} {value}", quoted(name));
        }
        let _ = writeln!(out, "\n    http-check expect status {}", http.expected());
    }
    let _ = writeln!(out, "    timeout check {}ms", health.timeout.as_millis());
    let _ = writeln!(out, "    default-server {}", server_options(backend));
    for server in &backend.servers {
        // On each server, though the default has it, so that one line shows the whole setting.
        let cookie = policy::server_cookie(backend, &server.name);
        let _ = writeln!(out, "    server {} {} check{cookie}", server.name, server.address);
    }
}

/// What each server of a backend has. One that is added to a running HAProxy takes nothing over
/// from `default-server`, not even the defaults without which connections to it are not kept. Its
/// first check comes after `downinter`, as does that of one that is to come back.
///
/// A server that cannot be connected to is down at once: it would attract requests, as the one with
/// the fewest. Where there is no other one, it is better to try it again than to have none.
pub(crate) fn server_options(backend: &Backend) -> String {
    let health = &backend.health;
    let port = health.port.map(|p| format!(" port {p}")).unwrap_or_default();
    let interval = health.interval.as_millis();
    let is_alone = backend.is_single || backend.servers.len() == 1;
    let own = policy::server_options(backend);
    let observe = if is_alone { "" } else { " observe layer4 error-limit 1 on-error mark-down" };
    let tls = match &health.kind {
        HealthKind::Http(http) => http.tls.as_ref().map(|_| check_tls(http)).unwrap_or_default(),
        HealthKind::Tcp | HealthKind::Docker | HealthKind::None => String::new(),
    };
    format!(
        "check{port}{tls} inter {interval}ms fastinter 1s downinter 500ms fall {} rise {} \
         pool-max-conn -1 pool-purge-delay 5s{observe}{own}",
        health.unhealthy_after, health.healthy_after
    )
}

/// HAProxy's own check looks at no certificate, whatever `verify` says: it may not be able to read
/// the operator's CA, and our probe decides on health. The name is not quoted: quotes would become
/// a part of it in `add server`.
fn check_tls(http: &HttpCheck) -> String {
    let name = http.server_name();
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let is_name = is_plain && name.parse::<IpAddr>().is_err();
    let sni = if is_name { format!(" check-sni {name}") } else { String::new() };
    format!(" check-ssl verify none{sni}")
}

/// The address in a `bind` line that we rendered.
fn bound(line: &str) -> Option<&str> {
    line.strip_prefix("    bind ")?.split(' ').next()
}

/// Whether a line that we rendered binds this port.
pub(crate) fn binds(line: &str, port: u16) -> bool {
    bound(line).and_then(|at| at.rsplit(':').next()) == Some(&port.to_string())
}

/// The address of the frontend with this first line in a text that we rendered.
pub(crate) fn listen_of(text: &str, head: &str) -> Option<Listen> {
    let at = bound(text.lines().skip_while(|line| *line != head).nth(1)?)?;
    match at.strip_prefix(':') {
        Some(port) => Some(Listen { address: None, port: port.parse().ok()? }),
        None => {
            let address: SocketAddr = at.parse().ok()?;
            Some(Listen { address: Some(address.ip()), port: address.port() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::haproxy::render::{
        ProcessFacts, binds, frontend_head, listen_of, render, server_options,
    };
    use crate::model::config::{ProxyConfig, ProxyMode};
    use crate::model::health::{HealthCheck, HealthKind, HttpCheck};
    use crate::model::proxy::{Backend, Routes, Server};
    use crate::model::secret::Secret;
    use crate::model::service::{Listen, Retry, ServiceName};
    use crate::model::traffic_policy::TrafficPolicy;

    const ROOTLESS: ProcessFacts = ProcessFacts { drops_root: false, sees_files: true };

    fn config() -> ProxyConfig {
        ProxyConfig {
            mode: ProxyMode::Process,
            base_config: None,
            binary: "/usr/sbin/haproxy".into(),
            config: "/s/haproxy.cfg".into(),
            pid_file: "/r/haproxy.pid".into(),
            socket: "/r/haproxy.sock".into(),
            stats_port: None,
            certificate: None,
            max_connections: Some(1000),
            hard_stop_after: Duration::from_secs(600),
            min_reload_interval: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_certificate_turns_every_frontend_to_https_and_its_edition_is_told() {
        let certificate = Some("/etc/it's.pem".into());
        let config = ProxyConfig { stats_port: Some(8404), certificate, ..config() };
        let listen = Some(Listen { address: None, port: 443 });
        let service = ServiceName::new("web").unwrap();
        let servers = Vec::new();
        let health = HealthCheck::default();
        let retry = Retry::Connect;
        let is_single = false;
        let own = Vec::new();
        let policy = TrafficPolicy::default();
        let backend = Backend {
            service,
            listen,
            routes: own,
            health,
            retry,
            policy,
            is_single,
            wake: None,
            servers,
        };
        let routes = Routes { backends: vec![backend], ..Routes::default() };
        let [old, new] = ["Monday", "Tuesday"].map(|fingerprint| {
            render(&config, Path::new("/s/state"), ROOTLESS, fingerprint, &routes)
        });
        for text in [
            "\nlisten _statistics\n    bind 127.0.0.1:8404\n    stats enable\n",
            "\nfrontend web:frontend\n    bind :443 ssl crt '/etc/it'\\''s.pem'\n",
            "    http-request set-header X-Forwarded-Proto https\n    default_backend web\n",
        ] {
            assert!(old.contains(text), "{text} is not in {old}");
        }
        assert_ne!(old, new);
        let head = frontend_head("web");
        assert_eq!(listen_of(&old, &head), routes.backends[0].listen);
        let bound = |port| old.lines().any(|line| binds(line, port));
        assert_eq!((bound(443), bound(8404), bound(80)), (true, true, false));
    }

    #[test]
    fn a_service_is_a_frontend_and_a_backend() {
        let config = config();
        let backend = Backend {
            service: ServiceName::new("web").unwrap(),
            listen: Some(Listen { address: None, port: 80 }),
            routes: Vec::new(),
            health: HealthCheck {
                kind: HealthKind::Http(HttpCheck {
                    path: "/up?a='b'".to_owned(),
                    headers: vec![
                        ("host".to_owned(), Secret::new("a 'b' 100%[src]".to_owned())),
                        ("X-A'".to_owned(), Secret::new("c".to_owned())),
                    ],
                    expect: vec![(200, 299), (401, 401)],
                    tls: None,
                }),
                port: Some(81),
                timeout: Duration::from_millis(1500),
                unhealthy_after: 5,
                healthy_after: 2,
                ..HealthCheck::default()
            },
            retry: Retry::Connect,
            policy: TrafficPolicy::default(),
            is_single: false,
            wake: None,
            servers: vec![Server {
                name: "web-1".to_owned(),
                address: "172.17.0.2:8080".parse().unwrap(),
                draining: true,
            }],
        };
        let routes = Routes { backends: vec![backend], ..Routes::default() };
        let process = ProcessFacts { drops_root: true, ..ROOTLESS };
        let text = render(&config, Path::new("/s/haproxy.cfg.state"), process, "", &routes);
        let tail = "
frontend web:frontend
    bind :80
    default_backend web

backend web
    option httpchk
    http-check send meth GET uri '/up?a='\\''b'\\''' ver HTTP/1.1 \
hdr 'host' 'a '\\''b'\\'' 100%%[src]' hdr 'X-A'\\''' 'c'
    http-check expect status 200-299,401
    timeout check 1500ms
    default-server check port 81 inter 10000ms fastinter 1s downinter 500ms fall 5 rise 2 \
                    pool-max-conn -1 pool-purge-delay 5s
    server web-1 172.17.0.2:8080 check
";
        assert!(text.ends_with(tail), "{text}");
        let listen = |name| listen_of(&text, &frontend_head(name));
        assert_eq!((listen("web"), listen("we")), (routes.backends[0].listen.clone(), None));
        let socket = "stats socket '/r/haproxy.sock' mode 600 level admin expose-fd listeners";
        for line in [
            socket,
            "server-state-file '/s/haproxy.cfg.state'",
            "hard-stop-after 600000ms",
            "\n    maxconn 1000\n",
            "user haproxy",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    fn backend(retry: Retry, servers: u8, is_single: bool) -> Backend {
        let server = |n: u8| Server {
            name: format!("web-{n}"),
            address: std::net::SocketAddr::from(([10, 0, 0, n], 80)),
            draining: false,
        };
        Backend {
            service: ServiceName::new("web").unwrap(),
            listen: Some(Listen { address: None, port: 80 }),
            routes: Vec::new(),
            health: HealthCheck::default(),
            retry,
            policy: TrafficPolicy::default(),
            is_single,
            wake: None,
            servers: (0..servers).map(server).collect(),
        }
    }

    #[test]
    fn a_server_that_refuses_is_down_at_once_where_there_may_be_another() {
        for (servers, is_single, want) in
            [(1, false, false), (2, false, true), (2, true, false), (0, false, true)]
        {
            let options = server_options(&backend(Retry::Connect, servers, is_single));
            let is_observed = options.ends_with(" observe layer4 error-limit 1 on-error mark-down");
            assert_eq!(is_observed, want, "{servers} {is_single}: {options}");
        }
    }

    #[test]
    fn a_get_passes_twice_where_it_may_be_sent_twice_and_finds_room_both_times() {
        let text = |retry, count| {
            let backends = vec![backend(retry, 2, false); count];
            let routes = Routes { backends, ..Routes::default() };
            render(&config(), Path::new("/s/state"), ROOTLESS, "", &routes)
        };
        let socket = "abns@plimsoll-27bd8fa642f176dc-web";
        let want = format!(
            "
frontend web:frontend
    bind :80
    maxconn 250
    use_backend web:first if METH_GET
    default_backend web

backend web:first
    balance first
    retries 2
    retry-on conn-failure empty-response
    server again {socket}
    server wait {socket}:wait

frontend web:again
    bind {socket}
    errorfile 502 /dev/null
    default_backend web

frontend web:wait
    bind {socket}:wait
    errorfile 502 /dev/null
    timeout tarpit 200ms
    http-request tarpit deny_status 502

backend web
"
        );
        let safe = text(Retry::Safe, 2);
        assert!(safe.contains(&want), "{safe}");
        assert!(!text(Retry::Connect, 2).contains("empty-response"));
    }

    #[test]
    fn a_port_is_found_whatever_the_address() {
        for line in ["    bind :80", "    bind 127.0.0.1:80", "    bind [::1]:80"] {
            assert!(binds(line, 80) && !binds(line, 8) && !binds(line, 180), "{line}");
        }
        assert!(!binds("    server web-1 127.0.0.1:80", 80));
    }
}
