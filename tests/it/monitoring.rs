//! What contrib has for Prometheus and Grafana: it names what there is, and the real programs take
//! it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::reached;
use crate::docs::source;
use crate::harness::{Harness, free_address};
use crate::quickref::is_series;

const SOON: Duration = Duration::from_secs(60);
const PROMETHEUS: &str = "contrib/prometheus/prometheus.yml";
const ALERTS: &str = "contrib/prometheus/alerts.yml";
const ALERT_TESTS: &str = "contrib/prometheus/alerts.test.yml";
const DASHBOARD: &str = "contrib/grafana/dashboard.json";

/// Names that the daemon's page may hold, a histogram's three among them.
fn names() -> BTreeSet<String> {
    let table = source("src/report/series.rs");
    let mut names = BTreeSet::new();
    let mut before = "";
    for text in table.split('"') {
        if is_series(text) && before.trim_end().ends_with("Histogram") {
            names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{text}{suffix}")));
        } else if is_series(text) {
            names.insert(text.to_owned());
        }
        before = text;
    }
    names
}

/// Names of ours in a text that are none.
fn strangers(text: &str, known: &BTreeSet<String>) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| is_series(word));
    ours.filter(|word| !known.contains(*word)).map(str::to_owned).collect()
}

#[test]
fn nothing_is_asked_for_that_the_daemon_does_not_show() {
    let known = names();
    assert!(40 < known.len(), "{known:?}");
    for path in [ALERTS, ALERT_TESTS, DASHBOARD] {
        let lost = strangers(&source(path), &known);
        assert!(lost.is_empty(), "{path}: the daemon shows no {lost:?}");
    }
}

#[test]
fn a_name_that_is_none_is_found() {
    let known = names();
    let text = "rate(plimsoll_tick_duration_seconds_bucket[5m]) / plimsoll_replica{a=\"b\"}, \
                plimsoll_tick_duration_seconds, process_open_fds";
    let want = ["plimsoll_replica", "plimsoll_tick_duration_seconds"];
    assert_eq!(strangers(text, &known), want);
}

#[track_caller]
fn promtool(args: &[&str]) {
    let out = Command::new("promtool").args(args).output().expect("no promtool: run `make test`");
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success(), "promtool {args:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn every_alert_fires_and_does_not_as_its_cases_say() {
    promtool(&["check", "config", "--syntax-only", PROMETHEUS]);
    promtool(&["check", "rules", ALERTS]);
    promtool(&["test", "rules", ALERT_TESTS]);
    let cases = source(ALERT_TESTS);
    let rules = source(ALERTS);
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(15 <= alerts.len());
    for alert in alerts {
        for case in ["fires", "does not"] {
            assert!(cases.contains(&format!("- name: {alert} {case}\n")), "{alert} {case}");
        }
    }
}

/// Killed with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start_prometheus(harness: &Harness, target: &str, listen: &str) -> Prometheus {
    let config = source(PROMETHEUS)
        .replace("127.0.0.1:8000", target)
        .replace("scrape_interval: 15s", "scrape_interval: 1s\n  scrape_timeout: 1s");
    let path = harness.dir.write("prometheus.yml", &config);
    fs::copy(ALERTS, harness.dir.join("alerts.yml")).unwrap();
    let log = File::create(harness.dir.join("prometheus.log")).unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", harness.dir.join("prometheus").display()))
        .arg(format!("--web.listen-address={listen}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Prometheus(child.expect("no prometheus: run `make test`"))
}

/// What a query gives; its error in words.
fn query(prometheus: &str, expression: &str) -> Result<Vec<Value>, String> {
    let plain = |b: u8| {
        if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }
    };
    let encoded: String = expression.bytes().map(plain).collect();
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(prometheus)?;
        stream.set_read_timeout(Some(SOON))?;
        // An answer of this version comes in one piece.
        write!(stream, "GET /api/v1/query?query={encoded} HTTP/1.0\r\nHost: x\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let answer = ask().map_err(|err| err.to_string())?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let answer: Value = serde_json::from_str(body).map_err(|_| answer.clone())?;
    match answer["data"]["result"].as_array() {
        Some(result) => Ok(result.clone()),
        None => Err(answer.to_string()),
    }
}

/// What the panels and variables of the dashboard ask, for every host and service.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&source(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let all = targets.map(|target| target["expr"].as_str().unwrap());
    all.map(|expr| expr.replace("$instance", ".*").replace("$service", ".*")).collect()
}

#[test]
fn a_real_prometheus_scrapes_it_and_answers_all_that_the_dashboard_asks() {
    let mut harness = Harness::new("scrape");
    let address = free_address();
    let listen = free_address();
    harness.set("/api/listen", json!(address));
    let daemon = harness.start();
    harness.wait_served();
    let _prometheus = start_prometheus(&harness, &address, &listen);
    let up = || query(&listen, "up{job=\"plimsoll\"} == 1").is_ok_and(|up| up.len() == 1);
    let log = || fs::read_to_string(harness.dir.join("prometheus.log")).unwrap();
    assert!(reached(SOON, up), "{}", log());
    let ready = r#"plimsoll_replicas{service="web",state="ready"} == 1"#;
    assert!(reached(SOON, || query(&listen, ready).is_ok_and(|r| r.len() == 1)), "{}", log());
    let queries = queries();
    assert!(25 < queries.len(), "{queries:?}");
    for expression in &queries {
        query(&listen, expression).unwrap_or_else(|why| panic!("{expression}: {why}"));
    }
    let shown = |expression: &&String| !query(&listen, expression).unwrap().is_empty();
    let empty: Vec<&String> = queries.iter().filter(|q| !shown(q)).collect();
    // Rates want two samples, metrics a service that has some.
    assert!(empty.len() < queries.len() / 2, "{empty:#?}");
    drop(daemon);
    let down = || query(&listen, "up{job=\"plimsoll\"} == 0").is_ok_and(|up| up.len() == 1);
    assert!(reached(SOON, down), "{}", log());
}
