//! How large HAProxy makes itself: its tables have a row for each descriptor that it may have.

use std::path::PathBuf;
use std::process::Command;

use crate::daemon::{Daemon, PLIMSOLL, secs};
use crate::testbed::{HAPROXY, HAPROXY_3_0, Testbed, everyone};

const ONE: &str = r#""min_replicas": 1, "max_replicas": 1"#;

#[track_caller]
fn check(name: &str, haproxy: &str) {
    let mut testbed = Testbed::new(name);
    testbed.haproxy = PathBuf::from(haproxy);
    assert!(testbed.haproxy.exists(), "no {haproxy}: run `make test`");
    let mut daemon = Command::new("prlimit");
    daemon.arg("--nofile=4096:4096").arg(PLIMSOLL);
    let daemon = Daemon::start_by(daemon, &testbed.configure(ONE), &[]);
    testbed.wait_serving(1, secs(30), &daemon);
    let load = everyone(&testbed);
    load.wait_for(secs(10), |c| 100 < c.sent());
    let info = testbed.ask_haproxy("show info");
    let number = |key: &str| -> u64 {
        info.lines().find_map(|l| l.strip_prefix(key)).expect(&info).trim().parse().unwrap()
    };
    assert_eq!(number("Maxconn:"), 1024);
    // Two of each client, and few of its own.
    assert!((2048..2200).contains(&number("Maxsock:")), "{info}");
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

#[test]
fn haproxys_size_is_that_of_its_clients_and_not_of_the_limit_of_descriptors() {
    check("size", HAPROXY);
    check("size3", HAPROXY_3_0);
}
