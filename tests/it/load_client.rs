//! The load client itself: it must tell every way to fail apart, or a test that rests on it proves
//! nothing. Each target is a scripted server on a port of its own.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use crate::daemon::delay;
use crate::load::{Client, Counts, Failure, Kind, Load};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
/// So long that a client asks once and no more.
const ONCE: Duration = Duration::from_secs(3600);
const AGAIN: Duration = Duration::from_millis(10);

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nok\n";
const OLD: &str = "HTTP/1.0 200 OK\r\n\r\nuntil the end";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n";
const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
const SHORT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nnot thirty bytes";
const SHORT_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Le";
const SHORT_CHUNKS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
const BAD_CHUNKS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
const HUGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\n";
const NOT_HTTP: &str = "220 mail.example ESMTP\r\n\r\n";

/// What the server does with one connection, before it closes it.
#[derive(Clone, Copy)]
enum Serve {
    /// Answers one request.
    One(&'static str),
    /// Answers every request until the client leaves.
    All(&'static str),
    /// Answers one request in two halves, and tells the test between them.
    Halves(&'static str, &'static str),
    /// Takes one request and says nothing until the client leaves.
    Silence,
    /// Closes with the request unread, which sends a reset instead of an orderly end.
    Unread,
}

/// Serves one connection for each part of the script, then no more. Returns where, and what the
/// requests were (empty for what was no request but a sign of being halfway).
fn server(script: Vec<Serve>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, received) = channel();
    thread::spawn(move || {
        for part in script {
            serve(listener.accept().unwrap().0, part, &requests);
        }
    });
    (address, received)
}

fn serve(mut client: TcpStream, part: Serve, requests: &Sender<String>) {
    let mut served = false;
    if let Serve::Unread = part {
        // One byte is enough to know that the request has arrived.
        client.peek(&mut [0]).unwrap();
        return;
    }
    while let Some(request) = read_request(&mut client) {
        if served && !matches!(part, Serve::All(_)) {
            return;
        }
        served = true;
        // A test that looks at counts only has let go of the other end.
        let _ = requests.send(request);
        match part {
            Serve::One(answer) => return client.write_all(answer.as_bytes()).unwrap(),
            Serve::All(answer) => client.write_all(answer.as_bytes()).unwrap(),
            Serve::Halves(first, second) => {
                client.write_all(first.as_bytes()).unwrap();
                let _ = requests.send(String::new());
                delay(Duration::from_millis(100));
                return client.write_all(second.as_bytes()).unwrap();
            }
            Serve::Silence | Serve::Unread => {}
        }
    }
}

/// Nothing when the client left instead.
fn read_request(client: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    String::from_utf8(request).ok()
}

fn client(kind: Kind, pause: Duration) -> Vec<Client> {
    vec![Client { kind, method: "GET", path: "/some?path=1".to_owned(), pause }]
}

/// Asks until `sent` requests are over. Silence counts as such after a fifth of a second.
fn counts_after(sent: u64, target: SocketAddr, kind: Kind, pause: Duration) -> Counts {
    let silence_max = Duration::from_millis(200);
    let load = Load::start_with_silence(target, client(kind, pause), silence_max);
    load.wait_for(SOON, |counts| counts.sent() >= sent);
    load.stop()
}

fn check_once(name: &str, part: Serve, expected: Result<(), Failure>) {
    for kind in [Kind::KeepAlive, Kind::Close, Kind::Slow, Kind::Streaming] {
        let counts = counts_after(1, server(vec![part]).0, kind, ONCE).of(kind);
        let failures: BTreeMap<Failure, u64> =
            expected.err().map(|failure| (failure, 1)).into_iter().collect();
        assert_eq!(counts.failures, failures, "{name}, {kind}");
        assert_eq!(counts.ok, u64::from(expected.is_ok()), "{name}, {kind}");
    }
}

#[test]
fn every_way_a_first_request_can_end_has_its_class() {
    let rows = [
        ("good", Serve::One(GOOD), Ok(())),
        ("good, and the last", Serve::One(LAST), Ok(())),
        ("until close", Serve::One(OLD), Ok(())),
        ("chunked", Serve::One(CHUNKED), Ok(())),
        ("interim answer first, no body", Serve::One(INTERIM), Ok(())),
        ("in two halves", Serve::Halves(SHORT_HEAD, "ngth: 1\r\n\r\nx"), Ok(())),
        ("busy", Serve::One(BUSY), Err(Failure::Status(503))),
        ("closed unanswered", Serve::One(""), Err(Failure::Reset)),
        ("reset unanswered", Serve::Unread, Err(Failure::Reset)),
        ("short body", Serve::One(SHORT), Err(Failure::Truncated)),
        ("short head", Serve::One(SHORT_HEAD), Err(Failure::Truncated)),
        ("short chunks", Serve::One(SHORT_CHUNKS), Err(Failure::Truncated)),
        ("silent", Serve::Silence, Err(Failure::Timeout)),
        ("silent halfway", Serve::All(SHORT), Err(Failure::Timeout)),
        ("bad chunk size", Serve::One(BAD_CHUNKS), Err(Failure::Garbage)),
        ("body too large", Serve::One(HUGE), Err(Failure::Garbage)),
        ("not http", Serve::One(NOT_HTTP), Err(Failure::Garbage)),
    ];
    for (name, part, expected) in rows {
        check_once(name, part, expected);
    }
}

#[test]
fn a_head_is_read_up_to_its_bound() {
    let padded = |bytes: usize| -> &'static str {
        let fixed = "HTTP/1.1 204 No Content\r\nX: \r\n\r\n".len();
        let head = format!("HTTP/1.1 204 No Content\r\nX: {}\r\n\r\n", "x".repeat(bytes - fixed));
        head.leak()
    };
    check_once("16 KiB", Serve::One(padded(16 * 1024)), Ok(()));
    check_once("one byte more", Serve::One(padded(16 * 1024 + 1)), Err(Failure::Garbage));
}

#[test]
fn a_closed_port_refuses() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let counts = counts_after(1, closed, Kind::KeepAlive, ONCE).of(Kind::KeepAlive);
    assert_eq!(counts.failures, BTreeMap::from([(Failure::Refused, 1)]));
}

#[test]
fn a_close_between_two_requests_is_stale_and_not_retried() {
    let (target, requests) = server(vec![Serve::One(GOOD), Serve::All(GOOD)]);
    let counts = counts_after(4, target, Kind::KeepAlive, AGAIN).of(Kind::KeepAlive);
    assert_eq!(counts.failures, BTreeMap::from([(Failure::StaleClose, 1)]));
    assert_eq!(counts.ok, requests.iter().count() as u64, "each good answer was asked for once");
}

#[test]
fn an_announced_close_is_no_failure() {
    for part in [LAST, OLD] {
        let (target, _requests) = server(vec![Serve::One(part), Serve::All(GOOD)]);
        let counts = counts_after(4, target, Kind::KeepAlive, AGAIN);
        assert_eq!(counts.failed(), 0, "{counts}");
    }
}

#[test]
fn only_keep_alive_uses_a_connection_twice() {
    let rows = [
        (Kind::KeepAlive, vec![Serve::All(CHUNKED)], "keep-alive"),
        (Kind::Close, vec![Serve::All(GOOD); 100], "close"),
        (Kind::Slow, vec![Serve::All(GOOD); 100], "close"),
    ];
    for (kind, script, wish) in rows {
        let (target, requests) = server(script);
        let counts = counts_after(5, target, kind, AGAIN);
        assert_eq!(counts.failed(), 0, "{counts}");
        let expected =
            format!("GET /some?path=1 HTTP/1.1\r\nHost: {target}\r\nConnection: {wish}\r\n\r\n");
        for _ in 0..counts.sent() {
            assert_eq!(requests.recv_timeout(SOON).unwrap(), expected);
        }
    }
}

#[test]
fn stop_lets_the_current_request_end() {
    let (target, requests) = server(vec![Serve::Halves(SHORT, "......fourteen")]);
    let load = Load::start(target, client(Kind::Slow, AGAIN));
    requests.recv_timeout(SOON).unwrap();
    assert_eq!(requests.recv_timeout(SOON).unwrap(), "", "halfway");
    let counts = load.stop();
    assert_eq!((counts.sent(), counts.failed()), (1, 0), "{counts}");
}

#[test]
fn counts_add_up_and_fit_a_line_for_each_kind() {
    let busy = server(vec![Serve::One(BUSY)]).0;
    let good = server(vec![Serve::One(GOOD)]).0;
    let mut counts = counts_after(1, busy, Kind::Close, ONCE)
        + counts_after(1, good, Kind::Close, ONCE)
        + counts_after(1, server(vec![Serve::One(GOOD)]).0, Kind::KeepAlive, ONCE);
    for (metrics_sink, ms) in counts.kinds.values_mut().zip([7, 8]) {
        metrics_sink.slowest = Duration::from_millis(ms);
    }
    assert_eq!((counts.sent(), counts.failed()), (3, 1));
    let lines = "keep-alive 1 sent 0 failed slowest 7 ms\n\
                 close 2 sent 1 failed status-503=1 slowest 8 ms";
    assert_eq!(counts.to_string(), lines);
}
