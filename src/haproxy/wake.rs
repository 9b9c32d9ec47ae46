//! Renders what a backend has whose service may sleep: the server that wakes it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::haproxy::policy;
use crate::haproxy::quoting::{daemon_address, quoted};
use crate::model::config::HAPROXY_SOCKET_MAX;
use crate::model::proxy::Backend;
use crate::model::sleep::{WAKE_SERVER, abstract_wake_socket, wake_socket};
use crate::model::traffic_policy::Protocol;

/// HAProxy tries again at once where a connection is refused, and takes some 60 us for it: a
/// request alone outlasts half a second without the daemon, as while it is restarted. The more
/// requests wait, the longer they do, as they take turns.
const RETRIES: u32 = 10_000;

/// The `Retry-After` of a request that waited in the queue for too long, in seconds.
const RETRY_AFTER: u32 = 10;

/// The page of a browser that has waited for some time.
const PAGE: &str = "<!doctype html><meta http-equiv=\"refresh\" content=\"2\">\
                    <title>Starting</title><p>This service is starting. This page reloads itself.";

/// How long a browser waits for a page of its own, if it gets one.
pub(crate) fn page(backend: &Backend) -> Option<Duration> {
    let page = backend.wake.as_ref()?.policy.page?;
    (backend.policy.protocol != Protocol::Tcp).then_some(page)
}

/// A browser asks, and nothing else serves yet.
pub(crate) fn gets_page(service: &str) -> String {
    format!(
        "METH_GET {{ req.hdr(accept) -m sub text/html }} {{ srv_is_up({service}/{WAKE_SERVER}) }}"
    )
}

/// A browser's requests pass HAProxy twice while the service sleeps: the outer pass gives up when
/// the page is due. `socket` is where the inner pass begins.
pub(crate) fn render_page(backend: &Backend, socket: &str, out: &mut String) {
    let Some(page) = page(backend) else { return };
    let name = &backend.service;
    let _ = writeln!(out, "\nbackend {name}:page");
    policy::admission(backend, false, out);
    let _ = write!(
        out,
        "    timeout server {}ms\n    http-error status 504 content-type text/html string {}\n    \
         http-after-response set-status 503 if {{ status 504 }}\n    \
         http-after-response set-header Cache-Control no-store if {{ status 503 }}\n    \
         server again {socket}\n",
        page.as_millis(),
        quoted(PAGE)
    );
}

/// `socket` is HAProxy's. The server stands before `default-server`: it has no health check, one
/// request at a time, and no idle connection.
pub(crate) fn render(backend: &Backend, socket: &Path, sees_files: bool, out: &mut String) {
    if backend.wake.is_none() {
        return;
    }
    let name = backend.service.as_str();
    if backend.policy.retries.is_none() {
        let _ = writeln!(out, "    retries {RETRIES}");
    }
    if backend.policy.protocol != Protocol::Tcp {
        let _ = writeln!(
            out,
            "    http-error status 503 content-type text/plain string \"No replica is ready. Try \
             again later.\\n\" hdr Retry-After {RETRY_AFTER}"
        );
    }
    let file = wake_socket(socket, name);
    let sees_file = sees_files && file.as_os_str().len() <= HAPROXY_SOCKET_MAX;
    let address = daemon_address(&file, &abstract_wake_socket(socket, name), sees_file);
    let proto = if backend.policy.protocol == Protocol::H2 { " proto h2" } else { "" };
    let _ = writeln!(out, "    server {WAKE_SERVER} {address} maxconn 1 pool-max-conn 0{proto}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::haproxy::policy;
    use crate::haproxy::wake::{page, render, render_page};
    use crate::model::bounds::Bounds;
    use crate::model::proxy::Backend;
    use crate::model::schedule::Timetable;
    use crate::model::service::{ContainerSpec, Origin, Service, ServiceName};
    use crate::model::traffic_policy::{Protocol, Retries};

    fn service() -> Service {
        let container = ContainerSpec::new(Origin::Image(String::new()));
        let bounds = Timetable::always(Bounds::new(0, 1).unwrap());
        Service::new(ServiceName::new("web").unwrap(), container, 80, bounds)
    }

    fn woken(service: &Service) -> Backend {
        let mut backend = Backend::of(service, Vec::new());
        backend.set_wake(service, true);
        backend
    }

    fn rendered(backend: &Backend, socket: &str, sees_files: bool) -> String {
        let mut out = String::new();
        render(backend, Path::new(socket), sees_files, &mut out);
        out
    }

    #[test]
    fn a_sleeping_backend_has_a_server_at_the_daemon() {
        let web = woken(&service());
        let want = "    retries 10000\n    http-error status 503 content-type text/plain string \
                    \"No replica is ready. Try again later.\\n\" hdr Retry-After 10\n    \
                    server wake 'unix@/r/haproxy.sock.wake.web' maxconn 1 pool-max-conn 0\n";
        assert_eq!(rendered(&web, "/r/haproxy.sock", true), want);
        assert_eq!(rendered(&Backend::of(&service(), Vec::new()), "/r/h", true), "");
    }

    #[test]
    fn replicas_have_a_limit_without_which_haproxy_would_not_give_them_the_queue() {
        let mut limited = service();
        limited.policy.max_connections = Some(50);
        for (backend, want) in [
            (Backend::of(&service(), Vec::new()), ""),
            (woken(&service()), " maxconn 1000000"),
            (woken(&limited), " maxconn 50"),
        ] {
            assert_eq!(policy::server_options(&backend), want);
        }
    }

    #[test]
    fn where_haproxy_sees_no_file_or_none_so_long_the_name_is_abstract() {
        let web = woken(&service());
        let long = format!("/{}", "a".repeat(90));
        for (socket, sees_files, is_file) in
            [("/r/h", true, true), ("/r/h", false, false), (&*long, true, false)]
        {
            let text = rendered(&web, socket, sees_files);
            assert_eq!(text.contains("unix@"), is_file, "{text}");
            assert_eq!(text.contains("abns@plimsoll-wake-"), !is_file, "{text}");
        }
    }

    #[test]
    fn what_waits_waits_for_as_long_as_a_wake_up_may_take() {
        let second = Duration::from_secs(1);
        for (configured, wake_timeout, want) in
            [(None, 10, 30), (None, 25, 30), (None, 26, 31), (Some(40), 10, 40), (Some(5), 10, 15)]
        {
            let mut service = service();
            service.policy.timeouts.queue = configured.map(|seconds| second * seconds);
            service.sleep.wake_timeout = second * wake_timeout;
            let queue = woken(&service).policy.timeouts.queue;
            assert_eq!(queue, Some(second * want), "{configured:?} {wake_timeout}");
        }
    }

    #[test]
    fn other_protocols_get_no_status_and_own_retries_stay() {
        let with = |protocol, retries| {
            let mut service = service();
            service.policy.protocol = protocol;
            service.policy.retries = retries;
            rendered(&woken(&service), "/r/h", true)
        };
        let tcp = with(Protocol::Tcp, None);
        assert!(!tcp.contains("http-error") && tcp.contains("retries 10000"), "{tcp}");
        assert!(with(Protocol::H2, None).ends_with("pool-max-conn 0 proto h2\n"));
        let own = Some(Retries { on: vec!["conn-failure"], attempts: 2 });
        assert!(!with(Protocol::Http, own).contains("retries"));
    }

    #[test]
    fn a_page_is_for_browsers_of_http_alone() {
        let with = |page, protocol| {
            let mut service = service();
            service.sleep.page = page;
            service.policy.protocol = protocol;
            woken(&service)
        };
        let second = Some(Duration::from_secs(1));
        for (backend, want) in [
            (with(second, Protocol::Http), second),
            (with(second, Protocol::Tcp), None),
            (with(None, Protocol::Http), None),
        ] {
            assert_eq!(page(&backend), want);
            let mut out = String::new();
            render_page(&backend, "abns@a", &mut out);
            assert_eq!(out.contains("timeout server 1000ms"), want.is_some(), "{out}");
        }
    }
}
