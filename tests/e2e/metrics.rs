//! What services are scaled by, of the real thing: HAProxy's counts, Prometheus, control groups.
//! What was read is seen in the log, a line for each metric and evaluation.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::daemon::{Daemon, Dir, PLIMSOLL, reached, secs};
use crate::load::{Kind, Load};
use crate::testbed::{Testbed, clients, everyone, free_port};

/// One replica; what it is scaled by changes nothing then, and is read all the same.
const ONE: &str = r#""min_replicas": 1, "max_replicas": 1"#;

/// Answers every request with two series, whose values add up to what is set. Ends with the test
/// program.
pub(crate) struct Exporter {
    address: SocketAddr,
    pub(crate) sum: Arc<AtomicU64>,
}

impl Exporter {
    pub(crate) fn start(sum: u64) -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exporter =
            Exporter { address: listener.local_addr().unwrap(), sum: Arc::new(sum.into()) };
        let sum = exporter.sum.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hung up meanwhile is its own affair.
                drop(answer(stream, sum.load(Ordering::Relaxed)));
            }
        });
        exporter
    }
}

fn answer(mut stream: TcpStream, sum: u64) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = format!(
        "# TYPE jobs_waiting gauge\njobs_waiting{{queue=\"a\"}} 1\n\
         jobs_waiting{{queue=\"b\"}} {}\n",
        sum - 1
    );
    let kind = "text/plain; version=0.0.4";
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Killed with the test.
pub(crate) struct Prometheus {
    child: Child,
    pub(crate) port: u16,
}

impl Prometheus {
    /// It is ready once it has scraped the exporter.
    #[track_caller]
    pub(crate) fn start(dir: &Dir, port: u16, exporter: &Exporter) -> Prometheus {
        let config = dir.write(
            "prometheus.yml",
            &format!(
                "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n\
                 - job_name: test\n  static_configs:\n  - targets: ['{}']\n",
                exporter.address
            ),
        );
        let log = fs::File::create(dir.join("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("no prometheus: run `make test`");
        let prometheus = Prometheus { child, port };
        let ready = reached(secs(30), || {
            prometheus.get("/api/v1/query?query=jobs_waiting").contains("jobs_waiting")
        });
        let log = fs::read_to_string(dir.join("prometheus.log")).unwrap();
        assert!(ready, "prometheus has no sample:\n{log}");
        prometheus
    }

    /// Empty when nobody answers.
    fn get(&self, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(secs(2)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        ask().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn metrics(list: &[&str]) -> String {
    format!(r#"{ONE}, "metrics": [{}]"#, list.join(", "))
}

#[test]
fn a_real_prometheus_gives_a_value_or_says_why_not() {
    let testbed = Testbed::new("prom");
    let exporter = Exporter::start(42);
    let prometheus = Prometheus::start(&testbed.dir, free_port(), &exporter);
    let port = prometheus.port;
    let rows = [
        ("sum(jobs_waiting)", "reading=\"42\""),
        (r#"sum(jobs_waiting{queue=~\"b|c\"}) / 4"#, "reading=\"10.25\""),
        ("scalar(sum(jobs_waiting))", "reading=\"42\""),
        ("1e6 + sum(jobs_waiting)", "reading=\"1000042\""),
        ("jobs_waiting", "failed: the query returns 2 series, expected one; put sum()"),
        ("no_such_metric", "failed: the query returns no series"),
        ("jobs_waiting[1m]", "failed: the query returns a matrix"),
        ("sum(jobs_waiting) / 0", "+Inf"),
        ("0 - sum(jobs_waiting)", "failed: -42 is less than 0"),
        ("sum(jobs_waiting", "failed: prometheus says: invalid parameter"),
    ];
    let list: Vec<String> = rows
        .iter()
        .map(|(query, _)| {
            format!(
                r#"{{ "source": "prometheus", "url": "http://127.0.0.1:{port}/",
                     "query": "{query}", "target": 10 }}"#
            )
        })
        .collect();
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&testbed.configure(&metrics(&list)));
    for (query, reading) in rows {
        // The log escapes quotes, so that only the part before the first one is compared.
        let start = query.split('\\').next().unwrap();
        let end = if start == query { "\" target=" } else { "" };
        let metric = format!("/ {start}{end}");
        daemon.wait(&["metric=\"prometheus http://127.0.0.1", &metric, reading], secs(20));
    }
    exporter.sum.store(50, Ordering::Relaxed);
    let sum = "/ sum(jobs_waiting)";
    let value = ["/ sum(jobs_waiting)\"", "reading=\"50\""];
    daemon.wait(&value, secs(20));
    let failed = ["kind=metric.failed", "/ sum(jobs_waiting):"];
    assert_eq!(daemon.count(&failed), 0, "{:#?}", daemon.lines());
    drop(prometheus);
    let lost = daemon.wait(&["kind=metric.failed", sum, "Connection refused"], secs(20));
    let _prometheus = Prometheus::start(&testbed.dir, port, &exporter);
    daemon.wait_from(lost, &["kind=metric.recovered", "/ sum(jobs_waiting)\""], secs(20));
    daemon.wait_from(lost, &value, secs(20));
    assert_eq!(daemon.count(&failed), 1, "{:#?}", daemon.lines());
}

fn replicas(count: u32) -> String {
    format!(
        r#""min_replicas": {count}, "max_replicas": {count}, "metrics": [
            {{ "source": "haproxy", "field": "request_rate", "target": 1000 }},
            {{ "source": "haproxy", "field": "sessions", "target": 1000 }},
            {{ "source": "haproxy", "field": "response_time_ms", "target": 1000 }} ]"#
    )
}

fn trace(config: &Path) {
    let text = fs::read_to_string(config).unwrap().replace(r#""debug""#, r#""trace""#);
    fs::write(config, text).unwrap();
}

/// Requests that were counted, of all readings together.
fn counted(daemon: &Daemon) -> u64 {
    let number = |line: &String| -> Option<u64> {
        line.split_once("haproxy_requests=")?.1.split(' ').next()?.parse().ok()
    };
    daemon.lines().iter().filter_map(number).sum()
}

#[test]
fn requests_are_counted_once_each_across_reloads() {
    let testbed = Testbed::new("count");
    let config = testbed.configure(&replicas(1));
    trace(&config);
    let daemon = Daemon::start(&config);
    testbed.wait_serving(1, secs(20), &daemon);
    daemon.wait(&["haproxy_requests=0"], secs(10));
    let load = everyone(&testbed);
    // The reload of the start is none of those that are waited for.
    let mut line = daemon.lines().len();
    let other = testbed.other(free_port());
    for count in [2, 1, 2, 1] {
        let more = if count == 2 { other.as_str() } else { "" };
        trace(&testbed.configure_with(&replicas(count), more));
        daemon.signal("HUP");
        line = 1 + daemon.wait_from(line, &["kind=haproxy.reloaded"], secs(40));
        let more = load.counts().sent() + 100;
        load.wait_for(secs(20), |c| more < c.sent());
    }
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}");
    let sent = counts.sent();
    reached(secs(20), || sent <= counted(&daemon));
    // Nothing more is counted once all is.
    let end = daemon.lines().len();
    daemon.wait_from(end, &["haproxy_requests=0"], secs(5));
    assert_eq!(counted(&daemon), sent, "{:#?}", daemon.lines());
    assert!(
        reached(secs(20), || testbed.haproxy_pids().len() == 1),
        "{:?}",
        testbed.haproxy_pids()
    );
}

#[test]
fn sessions_are_those_of_every_process_and_an_idle_service_responds_in_no_time() {
    let testbed = Testbed::new("open");
    let daemon = Daemon::start(&testbed.configure(&replicas(1)));
    testbed.wait_serving(1, secs(20), &daemon);
    daemon.wait(&["haproxy sessions", "reading=\"0\""], secs(10));
    daemon.wait(&["haproxy response_time_ms", "reading=\"0 on average\""], secs(10));
    let slow = Load::start(testbed.address(), clients(3, Kind::Slow, "/slow?ms=6000", 0));
    let open = daemon.wait(&["haproxy sessions", "reading=\"3\""], secs(10));
    // A process that finishes after a reload keeps its sessions.
    testbed.configure_with(&replicas(2), &testbed.other(free_port()));
    daemon.signal("HUP");
    let reloaded = daemon.wait_from(open, &["kind=haproxy.reloaded"], secs(10));
    daemon.wait_from(reloaded, &["haproxy sessions", "reading=\"3\""], secs(4));
    assert!(1 < testbed.haproxy_pids().len(), "{:?}", testbed.haproxy_pids());
    let counts = slow.stop();
    assert_eq!((counts.sent(), counts.failed()), (3, 0), "{counts}");
    let end = daemon.lines().len();
    daemon.wait_from(end, &["haproxy sessions", "reading=\"0\""], secs(5));
    daemon.wait_from(end, &["haproxy response_time_ms", "reading=\"0 on average\""], secs(5));
    assert!(
        reached(secs(20), || testbed.haproxy_pids().len() == 1),
        "{:?}",
        testbed.haproxy_pids()
    );
}

/// In hundredths of a percent, of the last reading of one replica.
#[track_caller]
fn memory(daemon: &Daemon) -> u64 {
    let mut read = None;
    let found = reached(secs(20), || {
        let lines = daemon.lines();
        let line = lines.iter().rfind(|l| l.contains("metric=\"memory\"") && l.contains("%\""));
        let percent = line.and_then(|l| Some(l.split_once("reading=\"")?.1.split_once('%')?.0));
        read = percent.and_then(|p| p.parse::<f64>().ok());
        read.is_some()
    });
    assert!(found, "no memory is read: {:#?}", daemon.lines());
    (read.unwrap() * 100.0).round() as u64
}

#[test]
fn memory_is_read_from_files_and_without_them_from_docker_and_both_agree() {
    let testbed = Testbed::new("memory");
    let metric = r#"{ "source": "memory", "target": 75 }"#;
    let config = testbed.configure(&format!(r#"{}, "memory": "16m""#, metrics(&[metric])));
    let mut daemon = Daemon::start(&config);
    testbed.wait_serving(1, secs(20), &daemon);
    // What it needs for requests stays with it.
    let load = Load::start(testbed.address(), clients(4, Kind::KeepAlive, "/", 1));
    load.wait_for(secs(10), |c| 500 < c.sent());
    load.stop();
    let looked = daemon.lines().len();
    daemon.wait_from(looked, &["metric=\"memory\"", "%\""], secs(5));
    let files = memory(&daemon);
    daemon.signal("TERM");
    daemon.wait_exit(secs(10));
    let mut hidden = Command::new("unshare");
    let mount = r#"mount -t tmpfs none /sys/fs/cgroup && exec "$0" "$@""#;
    hidden.args(["-m", "sh", "-c", mount, PLIMSOLL]);
    let daemon = Daemon::start_by(hidden, &config, &[]);
    let stats = memory(&daemon);
    // 16m is little enough for what one small app takes to show.
    assert!((50..=100_00).contains(&files), "{files}");
    assert!(files.abs_diff(stats) < 5_00, "{files} by files, {stats} by Docker");
}
