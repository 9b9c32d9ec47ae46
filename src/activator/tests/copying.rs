//! Connections that are copied to a replica, and how each of the two peers may end them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::activator::copy::copy_all;
use crate::activator::tests::{BOUND, Rig, all, assert_cut, body, reached, replica};
use crate::outside::Activator;

#[test]
fn large_bodies_are_copied_both_ways() {
    let rig = Rig::new();
    let (up, down) = (body(5 << 20, 1), body(5 << 20, 2));
    let answer = down.clone();
    let (address, got) = replica(move |mut stream| {
        // It answers while it reads.
        let mut other = stream.try_clone().unwrap();
        let writer = thread::spawn(move || {
            other.write_all(&answer).unwrap();
            other.shutdown(Shutdown::Write).unwrap();
        });
        let got = all(&mut stream).unwrap();
        writer.join().unwrap();
        got
    });
    let mut stream = rig.connect();
    rig.reached(1, 0);
    rig.clock.pass(250);
    let mut other = stream.try_clone().unwrap();
    let request = up.clone();
    let writer = thread::spawn(move || {
        other.write_all(&request).unwrap();
        other.shutdown(Shutdown::Write).unwrap();
    });
    rig.activator.forward("web", &[address]);
    assert!(all(&mut stream).unwrap() == down);
    writer.join().unwrap();
    assert!(got.recv_timeout(BOUND).unwrap() == up);
    assert_eq!(rig.web().answered, [Duration::from_millis(250)]);
    assert_eq!(rig.web().answered, []);
    rig.reached(0, 0);
    assert!(rig.activator.is_idle());
}

#[test]
fn small_messages_go_to_and_fro() {
    let rig = Rig::new();
    let (address, got) = replica(|mut stream| {
        let mut part = [0; 4];
        while stream.read_exact(&mut part).is_ok() {
            stream.write_all(&part).unwrap();
        }
    });
    let mut stream = rig.copied(address);
    for number in 0..200u32 {
        stream.write_all(&number.to_be_bytes()).unwrap();
        let mut part = [0; 4];
        stream.read_exact(&mut part).unwrap();
        assert_eq!(u32::from_be_bytes(part), number);
    }
    assert_eq!(rig.web().copies, BTreeMap::from([(address, 1)]));
    let before = rig.wakes();
    drop(stream);
    rig.reached(0, 0);
    got.recv_timeout(BOUND).unwrap();
    assert!(reached(|| before < rig.wakes()), "the end of a copy wakes");
}

#[test]
fn either_side_may_end_first_and_still_get_what_the_other_sends() {
    let rig = Rig::new();
    let (address, got) = replica(|mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        all(&mut stream).unwrap()
    });
    let mut stream = rig.copied(address);
    assert_eq!(all(&mut stream).unwrap(), b"bye");
    let late = body(900_000, 3);
    stream.write_all(&late).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(got.recv_timeout(BOUND).unwrap() == late);
    rig.reached(0, 0);

    let (address, got) = replica(|mut stream| {
        let question = all(&mut stream).unwrap();
        stream.write_all(&body(900_000, 4)).unwrap();
        question
    });
    let mut stream = rig.copied(address);
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(all(&mut stream).unwrap() == body(900_000, 4));
    assert_eq!(got.recv_timeout(BOUND).unwrap(), b"question");
    drop(stream);
    rig.reached(0, 0);
}

#[test]
fn a_copy_ends_when_haproxy_is_gone_whatever_the_replica_does() {
    // It says nothing.
    let rig = Rig::new();
    let (address, got) = replica(|mut stream| all(&mut stream).unwrap());
    let mut stream = rig.copied(address);
    stream.write_all(b"ask").unwrap();
    rig.reached(0, 1);
    drop(stream);
    rig.reached(0, 0);
    assert_eq!(got.recv_timeout(BOUND).unwrap(), b"ask");

    // It sends without an end, and HAProxy reads nothing.
    let (address, got) = replica(|mut stream| while stream.write_all(&[2; 999]).is_ok() {});
    let stream = rig.copied(address);
    rig.reached(0, 1);
    drop(stream);
    rig.reached(0, 0);
    got.recv_timeout(BOUND).unwrap();
}

#[test]
fn what_is_left_for_a_replica_that_does_not_read_is_given_up() {
    let (hold, held) = mpsc::channel::<()>();
    let (address, got) = replica(move |stream| {
        let _ = held.recv_timeout(BOUND);
        drop(stream);
    });
    let to = TcpStream::connect(address).unwrap();
    // Else all that HAProxy's socket takes would fit in there.
    SockRef::from(&to).set_send_buffer_size(4096).unwrap();
    let (mut stream, haproxy) = UnixStream::pair().unwrap();
    haproxy.set_nonblocking(true).unwrap();
    to.set_nonblocking(true).unwrap();
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(copy_all(&haproxy, &to, || ()).is_ok()));
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    while stream.write(&[1; 16 << 10]).is_ok() {}
    assert_eq!(result.try_recv(), Err(TryRecvError::Empty));
    drop(stream);
    assert!(result.recv_timeout(BOUND).unwrap());
    drop(hold);
    got.recv_timeout(BOUND).unwrap();
}

#[test]
fn a_copy_ends_when_the_replica_is_gone() {
    let reset = |stream: TcpStream| {
        let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        linger.unwrap();
    };
    let rig = Rig::new();
    // Before an answer, in the middle of one, and after it ended its side.
    let (address, _got) = replica(move |mut stream| {
        stream.read_exact(&mut [0; 3]).unwrap();
        reset(stream);
    });
    let mut stream = rig.copied(address);
    stream.write_all(b"ask").unwrap();
    assert_cut(stream);
    rig.reached(0, 0);

    let (address, _got) = replica(move |mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
        stream.read_exact(&mut [0; 3]).unwrap();
        reset(stream);
    });
    let mut stream = rig.copied(address);
    stream.read_exact(&mut [0; 43]).unwrap();
    stream.write_all(b"ask").unwrap();
    assert_cut(stream);
    rig.reached(0, 0);

    let (address, _got) = replica(move |mut stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_exact(&mut [0; 3]).unwrap();
        reset(stream);
    });
    let mut stream = rig.copied(address);
    assert_eq!(all(&mut stream).unwrap(), b"");
    stream.write_all(b"ask").unwrap();
    rig.reached(0, 0);
}

#[test]
fn an_early_answer_arrives_though_the_replica_reads_no_more() {
    let rig = Rig::new();
    let (address, _got) = replica(|mut stream| {
        stream.read_exact(&mut [0; 9]).unwrap();
        stream.write_all(b"too large").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let stream = rig.copied(address);
    let mut other = stream.try_clone().unwrap();
    let writer = thread::spawn(move || while other.write_all(&[1; 999]).is_ok() {});
    // Then the close, which is a reset if the client still sends.
    let mut answer = [0; 9];
    (&stream).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"too large");
    writer.join().unwrap();
    rig.reached(0, 0);
}
