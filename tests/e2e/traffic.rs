//! What HAProxy counts for a service, as `/metrics` and `/status` show it.

use serde_json::Value;

use crate::daemon::{Daemon, polled, secs};
use crate::raw_http::To;
use crate::testbed::{Testbed, free_port};

/// The body of the daemon's answer.
fn ask(testbed: &Testbed, path: &str) -> String {
    To::Unix(testbed.dir.join("api.sock")).get(path).body
}

/// Sends one request to the service; gives the status.
fn send(testbed: &Testbed, method: &str, path: &str) -> u16 {
    let service = To::Tcp(testbed.address().to_string());
    service.ask(&format!("{method} {path}"), "Connection: close\r\n", "").status
}

/// The samples of `service` that are not 0, by name and class.
fn samples(testbed: &Testbed, page: &str) -> Vec<(String, f64)> {
    let own = format!("{{service=\"{}\"", testbed.service);
    let rows =
        page.lines().filter(|line| line.starts_with("plimsoll_backend_") && line.contains(&own));
    let sample = |row: &str| {
        let (name, value) = row.rsplit_once(' ').unwrap();
        let name = name.replace(&own, "{").replace("{,", "{").replace("{}", "");
        (name.trim_start_matches("plimsoll_backend_").to_owned(), value.parse().unwrap())
    };
    rows.map(sample).filter(|(_, value)| *value != 0.0).collect()
}

/// With `retry: safe` a GET passes HAProxy twice, and must count once.
#[track_caller]
fn check_counts(name: &str, retry: &str) {
    let testbed = Testbed::new(name);
    let keys = format!(r#""min_replicas": 2, "max_replicas": 2, "retry": "{retry}""#);
    let daemon = Daemon::start(&testbed.configure(&keys));
    testbed.wait_serving(2, secs(20), &daemon);
    // HAProxy has been looked at: what comes from now on is counted.
    let shown = || {
        let status: Value = serde_json::from_str(&ask(&testbed, "/status")).unwrap();
        status["services"][0]["haproxy"].clone()
    };
    let begun = polled(secs(20), secs(1) / 4, || shown()["requests_per_s"].is_number());
    assert!(begun, "{:#?}", daemon.lines());

    let requests = [
        ("GET", "/", 200, 12),
        ("POST", "/echo", 200, 4),
        ("GET", "/nothing", 404, 5),
        ("POST", "/nothing", 404, 2),
        ("GET", "/503", 503, 3),
    ];
    for (method, path, status, times) in requests {
        (0..times)
            .for_each(|_| assert_eq!(send(&testbed, method, path), status, "{method} {path}"));
    }
    let want = [
        ("requests_total", 26.0),
        ("responses_total{code=\"4xx\"}", 7.0),
        ("responses_total{code=\"5xx\"}", 3.0),
    ];
    let mut got = Vec::new();
    let done = polled(secs(20), secs(1) / 4, || {
        got = samples(&testbed, &ask(&testbed, "/metrics"));
        want.iter().all(|(name, value)| got.iter().any(|(n, v)| n == name && v == value))
    });
    assert!(done, "{got:?}\n{:#?}", daemon.lines());

    // In the interval of those requests there was a rate; afterwards it is 0, and the sum stands.
    let quiet = polled(secs(20), secs(1) / 4, || shown()["requests_per_s"] == 0.0);
    assert!(quiet, "{}", shown());
    let page = ask(&testbed, "/metrics");
    assert!(samples(&testbed, &page).contains(&("requests_total".to_owned(), 26.0)), "{page}");
    // A new process counts from 0, and the sum goes on.
    let line = daemon.lines().len();
    testbed.configure_with(&keys, &testbed.other(free_port()));
    daemon.signal("HUP");
    daemon.wait_from(line, &["kind=haproxy.reloaded"], secs(20));
    (0..5).for_each(|_| assert_eq!(send(&testbed, "GET", "/"), 200));
    let mut sums = Vec::new();
    let done = polled(secs(20), secs(1) / 4, || {
        let samples = samples(&testbed, &ask(&testbed, "/metrics"));
        sums.extend(samples.iter().filter(|(n, _)| n == "requests_total").map(|(_, v)| *v));
        sums.last() == Some(&31.0)
    });
    assert!(done && sums.is_sorted(), "{sums:?}");
    let page = ask(&testbed, "/metrics");
    let up = format!("plimsoll_server_up{{service=\"{0}\",replica=\"{0}-1\"}} 1", testbed.service);
    assert!(page.contains(&up), "{page}");
    let stats = ask(&testbed, &format!("/services/{}/stats", testbed.service));
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let check = &stats["replicas"][0]["haproxy"];
    assert_eq!(
        (check["up"].as_bool(), check["check"].as_str()),
        (Some(true), Some("L7OK")),
        "{stats}"
    );
}

#[test]
fn each_request_counts_once() {
    check_counts("traffic", "connect");
}

#[test]
fn a_get_that_may_be_repeated_counts_once() {
    check_counts("traffic-safe", "safe");
}
