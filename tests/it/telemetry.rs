//! What Prometheus reads of the running daemon: every series, what it counts, and the verdict of
//! Prometheus' own tool.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::daemon::reached;
use crate::docs::source;
use crate::fake_docker::{Fault, Route};
use crate::harness::{Harness, free_address};
use crate::quickref::is_series;
use crate::raw_http::To;

const SOON: Duration = Duration::from_secs(30);

/// A service of one to three replicas, with windows, which nothing but orders scales.
fn harness(name: &str) -> (Harness, To) {
    let mut harness = Harness::new(name);
    let address = free_address();
    harness.set("/api/listen", json!(address));
    harness.set("/services/web/max_replicas", json!(3));
    harness.set("/services/web/scale_up_threshold", json!(90));
    harness.set("/services/web/scale_down_threshold", json!(0));
    let night = json!([{ "name": "a \"b\"\\c", "start": "00:00", "end": "24:00",
                         "min_replicas": 1, "max_replicas": 3 }]);
    harness.set("/services/web/schedules", night);
    (harness, To::Tcp(address))
}

fn page(to: &To) -> String {
    let answer = to.get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let kind = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(answer.head.contains(kind), "{answer:?}");
    answer.body
}

/// What Prometheus' tool complains of.
fn complaints(page: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tool = command.spawn().expect("no promtool: run `make test`");
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let out = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() { said } else { format!("{}: {said}", out.status) }
}

/// Until a line of the page is this one.
#[track_caller]
fn wait(to: &To, line: &str) {
    let mut last = String::new();
    let found = reached(SOON, || {
        last = page(to);
        last.lines().any(|l| l == line)
    });
    assert!(found, "no {line} in\n{last}");
}

#[test]
fn every_series_is_there_and_prometheus_own_tool_finds_no_fault() {
    let (mut harness, tcp) = harness("series");
    let sessions = json!([{ "source": "haproxy", "field": "sessions", "target": 40 }]);
    harness.set("/services/web/metrics", sessions);
    let _daemon = harness.start();
    harness.wait_served();
    assert_eq!(tcp.get("/no/such/thing").status, 404);
    assert_eq!(tcp.get("/services/nobody").status, 404);
    assert_eq!(tcp.say(b"BREW / HTTP/1.0\r\n\r\n").unwrap().status, 405);
    assert_eq!(tcp.say(b"GET / HTTP/3.0\r\n\r\n").unwrap().status, 505);
    for line in [
        r#"plimsoll_replicas{service="web",state="ready"} 1"#,
        r#"plimsoll_replicas{service="web",state="exited"} 0"#,
        r#"plimsoll_replicas_desired{service="web"} 1"#,
        r#"plimsoll_replicas_max{service="web"} 3"#,
        r#"plimsoll_schedule_active{service="web",window="a \"b\"\\c"} 1"#,
        r#"plimsoll_metric_target{service="web",metric="haproxy sessions"} 40"#,
        r#"plimsoll_metric_value{service="web",metric="haproxy sessions"} 0"#,
        r#"plimsoll_hold_active{service="web"} 0"#,
        r#"plimsoll_probe_failures_total{service="web",cause="refused"} 0"#,
        r#"plimsoll_docker_up 1"#,
        r#"plimsoll_haproxy_up 1"#,
        r#"plimsoll_haproxy_reloads_total{result="failed"} 0"#,
        r#"plimsoll_haproxy_reload_duration_seconds_bucket{le="0.001"} 0"#,
        r#"plimsoll_docker_request_duration_seconds_count{op="create"} 1"#,
        r#"plimsoll_docker_request_duration_seconds_count{op="ping"} 1"#,
        r#"plimsoll_events_total{kind="replica.started"} 1"#,
        r#"plimsoll_config_last_reload_successful 1"#,
        r#"plimsoll_http_requests_total{method="GET",route="other",code="404"} 1"#,
        r#"plimsoll_http_requests_total{method="GET",route="/services/{name}",code="404"} 1"#,
        r#"plimsoll_http_requests_total{method="other",route="/",code="405"} 1"#,
        r#"plimsoll_http_requests_total{method="other",route="other",code="505"} 1"#,
    ] {
        wait(&tcp, line);
    }
    let page = page(&tcp);
    assert_eq!(complaints(&page), "");
    assert!(page.contains("plimsoll_http_request_duration_seconds_sum{method=\"GET\""));
    for name in source("src/report/series.rs").split('"').filter(|text| is_series(text)) {
        assert!(page.contains(&format!("# TYPE {name} ")), "no {name} in\n{page}");
    }
    // The tool would have said so.
    assert!(complaints("a_total{b=\"c} 1\n").contains("error while linting"));
}

#[test]
fn what_happens_is_counted() {
    let (harness, tcp) = harness("counted");
    let control = To::Unix(harness.dir.join("api.sock"));
    let daemon = harness.start();
    harness.wait_served();
    let scaled = control.ask("POST /services/web/scale", "", r#"{"replicas":3}"#);
    assert_eq!(scaled.status, 202, "{scaled:?}");
    wait(&tcp, r#"plimsoll_scaling_events_total{service="web",action="up"} 1"#);
    wait(&tcp, r#"plimsoll_hold_active{service="web"} 1"#);
    wait(&tcp, r#"plimsoll_metric_target{service="web",metric="cpu"} 90"#);
    wait(&tcp, r#"plimsoll_decision_reason{service="web",reason="Held"} 1"#);
    wait(&tcp, r#"plimsoll_decision_reason{service="web",reason="CoolingDown"} 0"#);
    wait(&tcp, r#"plimsoll_replicas_desired{service="web"} 3"#);
    wait(&tcp, r#"plimsoll_scaling_events_total{service="web",action="down"} 0"#);
    harness.docker.end("web-2", 1, false, "");
    wait(&tcp, r#"plimsoll_scaling_events_total{service="web",action="replace"} 1"#);
    wait(&tcp, r#"plimsoll_events_total{kind="replica.exited"} 1"#);
    let good = std::fs::read_to_string(harness.dir.join("config.json")).unwrap();
    harness.dir.write("config.json", "{");
    daemon.signal("HUP");
    wait(&tcp, "plimsoll_config_last_reload_successful 0");
    harness.dir.write("config.json", &good);
    daemon.signal("HUP");
    wait(&tcp, "plimsoll_config_last_reload_successful 1");
    harness.docker.fault(Route::List, Fault::Refuse(500, "no"));
    wait(&tcp, "plimsoll_docker_up 0");
    assert!(!page(&tcp).contains(r#"plimsoll_docker_errors_total{op="list"} 0"#));
    // A service that leaves takes its series along.
    harness.docker.heal();
    wait(&tcp, "plimsoll_docker_up 1");
    harness.dir.write("config.json", &good.replace("\"web\"", "\"api\""));
    daemon.signal("HUP");
    wait(&tcp, r#"plimsoll_replicas_desired{service="api"} 1"#);
    // Its container still runs, and that is a problem.
    let orphaned = r#"plimsoll_problem{kind="service.orphaned",service="web"} 1"#;
    wait(&tcp, orphaned);
    assert!(!page(&tcp).replace(orphaned, "").contains("service=\"web\""), "{}", page(&tcp));
    assert_eq!(complaints(&page(&tcp)), "");
}
