//! An HAProxy that hangs is replaced and ended; one that only takes its time is let be.

#![allow(clippy::disallowed_methods, reason = "a test measures by the clock")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::daemon::{Daemon, reached, secs, signal};
use crate::testbed::{Testbed, everyone};

const ONE: &str = r#""min_replicas": 1, "max_replicas": 1"#;

fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with('Z'))
}

/// Whether a request gets its answer within this time.
fn answers(to: SocketAddr, path: &str, within: Duration) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&to, within)?;
        stream.set_read_timeout(Some(within))?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn a_haproxy_that_hangs_is_replaced_and_ended_and_requests_hang_no_more() {
    let testbed = Testbed::new("hung");
    let daemon = Daemon::start(&testbed.configure(ONE));
    testbed.wait_serving(1, secs(30), &daemon);
    let hung = testbed.haproxy_pid();
    signal(hung, "STOP");
    let began = Instant::now();
    let killed = daemon.wait(&["kind=haproxy.killed", &hung.to_string()], secs(20));
    let took = began.elapsed();
    assert!(!runs(hung), "it is gone");
    // Every connection goes to one that answers.
    for _ in 0..40 {
        assert!(answers(testbed.address(), "/", secs(2)), "{:#?}", daemon.lines());
    }
    println!("replaced and ended after {took:?}");
    assert!(took < secs(12), "{took:?}");
    let reloaded = daemon.wait(&["kind=haproxy.reloaded"], secs(1));
    assert!(reloaded < killed, "its successor serves first");
    let counted = everyone(&testbed);
    counted.wait_for(secs(10), |c| 200 < c.sent());
    let counts = counted.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

#[test]
fn one_that_takes_its_time_to_finish_is_not_ended() {
    let testbed = Testbed::new("finish");
    let daemon = Daemon::start(&testbed.configure(ONE));
    testbed.wait_serving(1, secs(30), &daemon);
    let old = testbed.haproxy_pid();
    let address = testbed.address();
    let slow = thread::spawn(move || answers(address, "/slow?ms=7000", secs(20)));
    let is_asked = || {
        let rows = testbed.ask_haproxy("show stat");
        let row = rows.lines().find(|l| l.starts_with(&format!("{},BACKEND,", testbed.service)));
        row.is_some_and(|row| row.split(',').nth(4) == Some("1"))
    };
    assert!(reached(secs(5), is_asked));
    let from = daemon.lines().len();
    testbed.configure_with(ONE, &testbed.other(crate::testbed::free_port()));
    daemon.signal("HUP");
    daemon.wait_from(from, &["kind=haproxy.reloaded"], secs(10));
    assert_ne!(testbed.haproxy_pid(), old);
    assert!(runs(old), "it finishes");
    assert!(slow.join().unwrap(), "the slow answer came whole: {:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=haproxy.killed"]), 0, "{:#?}", daemon.lines());
}
