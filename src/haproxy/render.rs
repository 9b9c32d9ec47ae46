//! Routes to HAProxy's configuration. Everything that stands in it was checked before: names are
//! plain, addresses and numbers are typed, paths and texts go in quotes that nothing escapes from.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::model::config::ProxyConfig;
use crate::model::health::{HEALTH_HOST, HealthCheck, HealthKind};
use crate::model::proxy::{Backend, KEEP_ALIVE, Routes};
use crate::model::service::{Listen, ServiceName};

/// Figures and choices behind the fixed lines: idle-close-on-response keeps idle clients of a
/// finishing process from being closed under their next request; the server state file keeps a
/// server that is down or drains so; only requests that may be sent twice are.
const DEFAULTS: &str = "\
    mode http
    balance leastconn
    option forwardfor
    option idle-close-on-response
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response 503
    load-server-state-from-file global
    timeout connect 2s
    timeout client 1m
    timeout server 5m
    timeout queue 30s
    timeout http-request 10s
    timeout tunnel 1h
";

/// No service can be called so.
const STATS: &str = "_statistics";

/// The account that a process of root's gives its rights up for; HAProxy's packages make it.
pub(crate) const ACCOUNT: &str = "haproxy";

/// `drops_root` where HAProxy is started by root and there is an account for it. `edition` tells
/// one certificate from the one that replaced it under its name.
pub(crate) fn render(
    config: &ProxyConfig,
    state_file: &Path,
    drops_root: bool,
    edition: &str,
    routes: &Routes,
) -> String {
    let mut out =
        String::from("# Written by plimsoll. What is changed here is lost at the next reload.\n");
    if !edition.is_empty() {
        let _ = writeln!(out, "# The certificate is that of {edition}.");
    }
    out.push_str("global\n");
    let socket = quoted(&config.socket.to_string_lossy());
    let state = quoted(&state_file.to_string_lossy());
    let hard_stop_ms = config.hard_stop_after.as_millis();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "    stats socket {socket} mode 600 level admin expose-fd listeners");
    let _ = writeln!(out, "    server-state-file {state}");
    let _ = writeln!(out, "    hard-stop-after {hard_stop_ms}ms");
    // Whose the operator's own file runs it as is said there.
    if drops_root && config.base_config.is_none() {
        let _ = writeln!(out, "    user {ACCOUNT}\n    group {ACCOUNT}");
    }
    let _ = write!(out, "\ndefaults\n{DEFAULTS}");
    let _ = writeln!(out, "    timeout http-keep-alive {}ms", KEEP_ALIVE.as_millis());
    if let Some(port) = config.stats_port {
        let _ = write!(out, "\nlisten {STATS}\n    bind 127.0.0.1:{port}\n    stats enable\n");
        let _ = writeln!(out, "    stats uri /\n    stats refresh 5s");
    }
    for backend in &routes.backends {
        render_frontend(backend, config.certificate.as_deref(), &mut out);
        render_backend(backend, &mut out);
    }
    out
}

fn render_frontend(backend: &Backend, certificate: Option<&Path>, out: &mut String) {
    let Some(listen) = &backend.listen else { return };
    let name = &backend.service;
    let _ = write!(out, "\nfrontend {name}\n    bind {listen}");
    if let Some(file) = certificate {
        let _ = write!(out, " ssl crt {}", quoted(&file.to_string_lossy()));
        let _ = write!(out, "\n    http-request set-header X-Forwarded-Proto https");
    }
    let _ = writeln!(out, "\n    default_backend {name}");
}

fn render_backend(backend: &Backend, out: &mut String) {
    let name = &backend.service;
    let _ = write!(out, "\nbackend {name}\n    http-request disable-l7-retry unless METH_GET\n");
    let health = &backend.health;
    if let HealthKind::Http(http) = &health.kind {
        let path = quoted(&http.path);
        let _ = writeln!(out, "    option httpchk");
        let _ = write!(out, "    http-check send meth GET uri {path} ver HTTP/1.1");
        if !http.names_host() {
            let _ = write!(out, " hdr Host {HEALTH_HOST}");
        }
        for (name, value) in &http.headers {
            // A value is a format, in which `%` begins a variable.
            let value = quoted(&value.expose().replace('%', "%%"));
            let _ = write!(out, " hdr {} {value}", quoted(name));
        }
        let _ = writeln!(out, "\n    http-check expect status {}", http.expected());
    }
    let _ = writeln!(out, "    timeout check {}ms", health.timeout.as_millis());
    let _ = writeln!(out, "    default-server {}", server_options(health));
    for server in &backend.servers {
        // Said of each, though the default has it: whoever reads one line sees that it is checked.
        let _ = writeln!(out, "    server {} {} check", server.name, server.address);
    }
}

/// What each server of a backend has. One that is added to a running HAProxy takes nothing over
/// from `default-server`, not even the defaults without which connections to it are not kept. Its
/// first check comes after `downinter`, as does that of one that is to come back.
pub(crate) fn server_options(health: &HealthCheck) -> String {
    let port = health.port.map(|p| format!(" port {p}")).unwrap_or_default();
    let interval = health.interval.as_millis();
    format!(
        "check{port} inter {interval}ms fastinter 1s downinter 500ms fall {} rise {} \
         pool-max-conn -1 pool-purge-delay 5s",
        health.unhealthy_after, health.healthy_after
    )
}

/// What a line of what we rendered binds.
fn bound(line: &str) -> Option<&str> {
    line.strip_prefix("    bind ")?.split(' ').next()
}

/// Whether a line of what we rendered is that of a frontend on this port.
pub(crate) fn binds(line: &str, port: u16) -> bool {
    bound(line).and_then(|at| at.rsplit(':').next()) == Some(&port.to_string())
}

/// The address of a service's frontend in what we rendered.
pub(crate) fn listen_of(text: &str, service: &ServiceName) -> Option<Listen> {
    let head = format!("frontend {service}");
    let at = bound(text.lines().skip_while(|line| *line != head).nth(1)?)?;
    match at.strip_prefix(':') {
        Some(port) => Some(Listen { address: None, port: port.parse().ok()? }),
        None => {
            let address: SocketAddr = at.parse().ok()?;
            Some(Listen { address: Some(address.ip()), port: address.port() })
        }
    }
}

/// In HAProxy's strong quotes every byte but the quote itself stands for itself; a quote is set
/// between two quoted parts.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::haproxy::render::{binds, listen_of, quoted, render};
    use crate::model::config::{ProxyConfig, ProxyMode};
    use crate::model::health::{HealthCheck, HealthKind, HttpCheck};
    use crate::model::proxy::{Backend, Routes, Server};
    use crate::model::secret::Secret;
    use crate::model::service::{Listen, ServiceName};

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
            hard_stop_after: Duration::from_secs(600),
            min_reload_interval: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_certificate_turns_every_frontend_to_https_and_its_edition_is_told() {
        let certificate = Some("/etc/it's.pem".into());
        let config = ProxyConfig { stats_port: Some(8404), certificate, ..config() };
        let listen = Some(Listen { address: None, port: 443 });
        let (service, servers) = (ServiceName::new("web").unwrap(), Vec::new());
        let backend = Backend { service, listen, health: HealthCheck::default(), servers };
        let routes = Routes { backends: vec![backend] };
        let [old, new] = ["Monday", "Tuesday"]
            .map(|edition| render(&config, Path::new("/s/state"), false, edition, &routes));
        for text in [
            "\nlisten _statistics\n    bind 127.0.0.1:8404\n    stats enable\n",
            "\nfrontend web\n    bind :443 ssl crt '/etc/it'\\''s.pem'\n",
            "    http-request set-header X-Forwarded-Proto https\n    default_backend web\n",
        ] {
            assert!(old.contains(text), "{text} is not in {old}");
        }
        assert_ne!(old, new);
        assert_eq!(listen_of(&old, &routes.backends[0].service), routes.backends[0].listen);
        let bound = |port| old.lines().any(|line| binds(line, port));
        assert_eq!((bound(443), bound(8404), bound(80)), (true, true, false));
    }

    #[test]
    fn a_service_is_a_frontend_and_a_backend() {
        let config = config();
        let backend = Backend {
            service: ServiceName::new("web").unwrap(),
            listen: Some(Listen { address: None, port: 80 }),
            health: HealthCheck {
                kind: HealthKind::Http(HttpCheck {
                    path: "/up?a='b'".to_owned(),
                    headers: vec![
                        ("host".to_owned(), Secret::new("a 'b' 100%[src]".to_owned())),
                        ("X-A'".to_owned(), Secret::new("c".to_owned())),
                    ],
                    expect: vec![(200, 299), (401, 401)],
                }),
                port: Some(81),
                timeout: Duration::from_millis(1500),
                unhealthy_after: 5,
                healthy_after: 2,
                ..HealthCheck::default()
            },
            servers: vec![Server {
                name: "web-1".to_owned(),
                address: "172.17.0.2:8080".parse().unwrap(),
                draining: true,
            }],
        };
        let routes = Routes { backends: vec![backend] };
        let text = render(&config, Path::new("/s/haproxy.cfg.state"), true, "", &routes);
        let tail = "
frontend web
    bind :80
    default_backend web

backend web
    http-request disable-l7-retry unless METH_GET
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
        let listen = |name| listen_of(&text, &ServiceName::new(name).unwrap());
        assert_eq!((listen("web"), listen("we")), (routes.backends[0].listen.clone(), None));
        let socket = "stats socket '/r/haproxy.sock' mode 600 level admin expose-fd listeners";
        for line in [
            socket,
            "server-state-file '/s/haproxy.cfg.state'",
            "hard-stop-after 600000ms",
            "user haproxy",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_port_is_found_whatever_the_address() {
        for line in ["    bind :80", "    bind 127.0.0.1:80", "    bind [::1]:80"] {
            assert!(binds(line, 80) && !binds(line, 8) && !binds(line, 180), "{line}");
        }
        assert!(!binds("    server web-1 127.0.0.1:80", 80));
    }

    #[test]
    fn nothing_gets_out_of_quotes() {
        assert_eq!(quoted(r#"a "b" $C \ # '"#), r#"'a "b" $C \ # '\'''"#);
    }
}
