//! The load client's checks of bodies, its HTTP/2, and its percentiles.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use crate::load::latency::Latency;
use crate::load::{Client, Counts, Failure, Kind, Load};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const HELLO: &[u8] = b"hello from x\n";

/// Serves one connection for each part of the script, then no more.
fn server<T: Send + 'static>(script: Vec<T>, serve: fn(TcpStream, T)) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        script.into_iter().for_each(|part| serve(listener.accept().unwrap().0, part));
    });
    address
}

fn counts_after(target: SocketAddr, kind: Kind, method: &'static str, path: &str) -> Counts {
    let pause = if kind == Kind::Http2 { Duration::ZERO } else { Duration::from_secs(3600) };
    let client = Client { kind, method, path: path.to_owned(), pause };
    let load = Load::start_with_silence(target, vec![client], Duration::from_secs(2));
    load.wait_for(SOON, |counts| 0 < counts.sent());
    load.stop()
}

fn answer_with(mut client: TcpStream, body: &'static str) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write_all(format!("{head}{body}").as_bytes()).unwrap();
}

#[test]
fn a_whole_answer_with_another_body_is_a_failure() {
    let chunk: &str = "x".repeat(1024).leak();
    let rows = [
        ("GET", "/", "hello from a\n", true),
        ("GET", "/", "hello from a", false),
        ("GET", "/slow?ms=3", "slept 3 ms on a\n", true),
        ("GET", "/slow?ms=3", "slept 4 ms on a\n", false),
        ("GET", "/stream?chunks=1&ms=1", chunk, true),
        ("GET", "/stream?chunks=2&ms=1", chunk, false),
        ("POST", "/echo", "not what was sent", false),
        ("GET", "/other", "anything", true),
    ];
    for (method, path, body, is_right) in rows {
        let target = server(vec![body], answer_with);
        let counts = counts_after(target, Kind::Close, method, path).of(Kind::Close);
        let expected = if is_right { None } else { Some((Failure::Body, 1)) };
        assert_eq!(counts.failures, expected.into_iter().collect(), "{path} {body}");
        assert_eq!(counts.first_failure.is_some(), !is_right);
    }
}

/// What a scripted HTTP/2 server does with the first four requests of a connection.
#[derive(Clone, Copy)]
enum Serve {
    /// Answers all, and every one after them.
    All,
    /// Answers two, and leaves the others to another connection.
    GoAway,
    /// Says that it fails.
    Broken,
    Closes,
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    frame
}

fn answer(id: u32) -> Vec<u8> {
    // The table has no room now; status 200.
    [frame(1, 4, id, &[0x20, 0x88]), frame(0, 1, id, HELLO)].concat()
}

fn serve_http2(mut client: TcpStream, part: Serve) {
    client.read_exact(&mut [0; 24]).unwrap();
    client.write_all(&frame(4, 0, 0, &[])).unwrap();
    let mut asked = 0;
    let mut head = [0; 9];
    while client.read_exact(&mut head).is_ok() {
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        client.read_exact(&mut vec![0; length]).unwrap();
        if head[3] != 1 {
            continue;
        }
        asked += 1;
        let id = u32::from_be_bytes(head[5..].try_into().unwrap());
        let goaway = |code: u8| frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, code]);
        let said = match part {
            Serve::All => answer(id),
            _ if asked < 4 => continue,
            Serve::GoAway => [goaway(0), answer(1), answer(3)].concat(),
            Serve::Broken => goaway(2),
            Serve::Closes => return,
        };
        // A client that has heard enough is gone.
        if client.write_all(&said).is_err() {
            return;
        }
    }
}

#[test]
fn over_http2_only_what_the_target_declares_unprocessed_is_no_failure() {
    let rows = [
        (vec![Serve::All], BTreeMap::new(), 0),
        (vec![Serve::GoAway, Serve::All], BTreeMap::new(), 2),
        (vec![Serve::Broken, Serve::All], BTreeMap::from([(Failure::Garbage, 4)]), 0),
        (vec![Serve::Closes, Serve::All], BTreeMap::from([(Failure::Reset, 4)]), 0),
    ];
    for (n, (script, failures, unprocessed)) in rows.into_iter().enumerate() {
        let counts = counts_after(server(script, serve_http2), Kind::Http2, "GET", "/");
        let counts = counts.of(Kind::Http2);
        assert_eq!(counts.failures, failures, "row {n}");
        assert_eq!(counts.unprocessed, unprocessed, "row {n}");
        assert!(0 < counts.ok || 0 < counts.failed(), "row {n}");
    }
}

#[test]
fn percentiles_are_an_eighth_too_high_at_most() {
    let mut latency = Latency::default();
    assert_eq!(latency.percentile(50), Duration::ZERO);
    (1..=100).for_each(|ms| latency.add(Duration::from_millis(ms)));
    for percent in [1, 50, 99, 100] {
        let exact = Duration::from_millis(percent);
        let shown = latency.percentile(percent);
        assert!(exact <= shown && shown <= exact * 9 / 8, "{percent}: {shown:?}");
    }
    let mut more = Latency::default();
    more.merge(&latency);
    assert_eq!(more, latency);
}
