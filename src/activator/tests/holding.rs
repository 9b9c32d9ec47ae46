//! Connections that wait for a replica, or are refused.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::activator::tests::{BOUND, Rig, all, assert_cut, body, closed, reached, replica};
use crate::model::time::Moment;
use crate::outside::Activator;

#[test]
fn a_connection_is_held_unread_and_wakes() {
    let rig = Rig::new();
    assert!(rig.activator.is_idle() && rig.web().is_listening && rig.web().held_since.is_none());
    let mut first = rig.connect();
    rig.reached(1, 0);
    assert!(reached(|| rig.wakes() == 1), "{}", rig.wakes());
    rig.clock.pass(10);
    let _second = rig.connect();
    rig.reached(2, 0);
    first.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(rig.web().held_since, Some(Moment(1_000_000)));
    assert!(!rig.activator.is_idle());
    // The bytes do not come by themselves: the thread waits for other things.
    let (address, got) = replica(|mut stream| {
        let mut head = [0; 18];
        stream.read_exact(&mut head).map(|()| head)
    });
    rig.activator.forward("web", &[]);
    rig.reached(2, 0);
    rig.activator.forward("api", &[address]);
    rig.reached(2, 0);
    rig.activator.forward("web", &[address, closed()]);
    assert_eq!(&got.recv_timeout(BOUND).unwrap().unwrap(), b"GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn a_client_that_leaves_is_held_no_more() {
    let rig = Rig::new();
    let (first, second) = (rig.connect(), rig.connect());
    rig.reached(2, 0);
    let before = rig.wakes();
    drop(first);
    rig.reached(1, 0);
    assert!(reached(|| before < rig.wakes()));
    // It sends no more, and waits for an answer.
    second.shutdown(Shutdown::Write).unwrap();
    let (address, got) = replica(|mut stream| stream.write_all(b"answer").is_ok());
    rig.reached(1, 0);
    rig.activator.forward("web", &[address]);
    assert!(got.recv_timeout(BOUND).unwrap());
    assert_eq!(all(second).unwrap(), b"answer");
    rig.reached(0, 0);
}

#[test]
fn a_connection_stays_held_while_no_replica_accepts_it() {
    let rig = Rig::new();
    let mut stream = rig.connect();
    stream.write_all(b"ask").unwrap();
    rig.reached(1, 0);
    for _ in 0..3 {
        let before = rig.wakes();
        rig.activator.forward("web", &[closed()]);
        assert!(reached(|| before < rig.wakes()));
        rig.reached(1, 0);
    }
    assert_eq!(rig.web().held_since, Some(Moment(1_000_000)));
    let (address, got) = replica(|mut stream| {
        let mut part = [0; 3];
        stream.read_exact(&mut part).unwrap();
        stream.write_all(b"answer").unwrap();
        part
    });
    rig.activator.forward("web", &[address]);
    assert_eq!(&got.recv_timeout(BOUND).unwrap(), b"ask");
    assert_eq!(all(&mut stream).unwrap(), b"answer");
    drop(stream);
    rig.reached(0, 0);
    rig.activator.forward("web", &[]);
    // It is watched again after a failure, too.
    let gone = rig.connect();
    rig.reached(1, 0);
    rig.activator.forward("web", &[closed()]);
    drop(gone);
    rig.reached(0, 0);
}

#[test]
fn a_refused_request_gets_its_answer_even_if_it_was_not_read() {
    let rig = Rig::new();
    for (retry_after, length, want) in
        [(0, 0, "0"), (1000, 200_000, "1"), (1001, 200_000, "2"), (60_000, 2_000_000, "60")]
    {
        let mut stream = rig.connect();
        let mut other = stream.try_clone().unwrap();
        let (sent, is_sent) = mpsc::channel();
        let writer = thread::spawn(move || {
            other.write_all(&body(length.min(100_000), 0)).unwrap();
            sent.send(()).unwrap();
            other.write_all(&body(length.saturating_sub(100_000), 0))
        });
        is_sent.recv_timeout(BOUND).unwrap();
        rig.reached(1, 0);
        rig.activator.refuse("web", Some(Duration::from_millis(retry_after)));
        assert_eq!(rig.web().held, 0);
        let answer = String::from_utf8(all(&mut stream).unwrap()).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        let has = |line: &str| head.lines().any(|other| other == line);
        assert!(has(&format!("Retry-After: {want}")) && has("Connection: close"), "{head}");
        assert!(has(&format!("Content-Length: {}", text.len())), "{head}");
        writer.join().unwrap().unwrap();
        drop(stream);
        assert!(reached(|| rig.activator.is_idle()));
        rig.clock.pass(500);
    }
}

#[test]
fn what_was_queued_behind_a_refused_request_is_refused_too() {
    let rig = Rig::new();
    let _first = rig.connect();
    rig.reached(1, 0);
    rig.activator.refuse("web", Some(Duration::ZERO));
    rig.clock.pass(499);
    let answer = all(&rig.connect()).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
    rig.clock.pass(1);
    let _later = rig.connect();
    rig.reached(1, 0);
}

#[test]
fn a_refused_client_that_does_not_close_is_closed_after_a_second() {
    let rig = Rig::new();
    let stream = rig.connect();
    rig.reached(1, 0);
    rig.activator.refuse("web", Some(Duration::ZERO));
    all(&stream).unwrap();
    rig.clock.pass(999);
    // The thread looks again at each change.
    let other = rig.connect();
    rig.reached(1, 0);
    drop(other);
    rig.reached(0, 0);
    assert!(!rig.activator.is_idle());
    rig.clock.pass(1);
    assert!(reached(|| rig.activator.is_idle()));
    assert_eq!((&stream).write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_refused_connection_of_no_http_service_just_ends() {
    let rig = Rig::new();
    let mut stream = rig.connect();
    stream.write_all(b"ask").unwrap();
    rig.reached(1, 0);
    rig.activator.refuse("web", None);
    rig.activator.refuse("api", None);
    assert_cut(stream);
    assert!(rig.activator.is_idle());
}

#[test]
fn a_service_holds_sixteen_and_the_others_wait_to_be_accepted() {
    let rig = Rig::new();
    let mut streams: Vec<UnixStream> = (0..18).map(|_| rig.connect()).collect();
    rig.reached(16, 0);
    drop(streams.remove(0));
    // The seventeenth takes its place.
    rig.reached(16, 0);
    streams.truncate(9);
    rig.reached(9, 0);
}

#[test]
fn so_many_are_copied_at_once_and_the_others_stay_held() {
    let rig = Rig::new();
    // Nobody accepts: the kernel does.
    let replicas = [1, 2].map(|n| TcpListener::bind((Ipv4Addr::new(127, 0, 0, n), 0)).unwrap());
    let to = replicas.each_ref().map(|replica| replica.local_addr().unwrap());
    rig.activator.forward("web", &to);
    let mut streams = Vec::new();
    for round in 1..=16 {
        streams.extend((0..16).map(|_| rig.connect()));
        rig.reached(0, round * 16);
    }
    assert_eq!(rig.web().copies, BTreeMap::from(to.map(|to| (to, 128))));
    streams.push(rig.connect());
    rig.reached(1, 256);
    // One ends, and its place is taken.
    drop(streams.remove(0));
    rig.reached(0, 256);
    drop(streams);
    rig.reached(0, 0);
    assert!(rig.activator.is_idle());
}

#[test]
fn what_comes_later_is_copied_too_until_it_is_to_be_held() {
    let rig = Rig::new();
    let replica = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = replica.local_addr().unwrap();
    rig.activator.forward("web", &[to]);
    let first = rig.connect();
    rig.reached(0, 1);
    rig.activator.forward("web", &[]);
    let second = rig.connect();
    rig.reached(1, 1);
    drop((first, second));
    rig.reached(0, 0);
}
