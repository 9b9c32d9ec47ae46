//! What keeps a service awake, and what a replica ends before it goes.

use std::sync::PoisonError;

use crate::daemon::{delay, secs};
use crate::sleep::kinds::{WebSocket, get};
use crate::sleep::{Dormitory, SLEEPY, at_once, events};
use crate::testbed::QUIET;

/// The request and the WebSocket that wake a service are copied by the daemon; those that come
/// later reach the replica without it.
#[test]
fn a_slow_answer_and_an_open_websocket_keep_a_service_awake() {
    let _quiet = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    let mut dormitory = Dormitory::new("sleep-session");
    let keys = SLEEPY.replace(r#""2s""#, r#""1s""#);
    let slow = dormitory.add(&keys);
    let socket = dormitory.add(&keys);
    let daemon = dormitory.start(&keys);
    let is_awake = |service: &str| {
        let all = daemon.lines();
        assert_eq!(events(&daemon, "service.asleep", service), 0, "{service}: {all:#?}");
    };
    let ask = |to| {
        let answer = get(to, "/slow?ms=4000", "").map(|answer| answer.status);
        assert_eq!(answer, Ok(200), "{:#?}", daemon.lines());
    };
    let talk = |to| {
        let mut socket = WebSocket::open(to)?;
        socket.echo(10)?;
        // Silent for longer than it takes to fall asleep.
        delay(secs(4));
        socket.echo(10)?;
        Ok(socket)
    };
    at_once([0, 1], |which| match which {
        0 => {
            ask(slow.1);
            is_awake(&slow.0);
            ask(slow.1);
            is_awake(&slow.0);
        }
        _ => {
            for _ in 0..2 {
                let open: Result<WebSocket, String> = talk(socket.1);
                let open = open.unwrap_or_else(|err| panic!("{err}: {:#?}", daemon.lines()));
                is_awake(&socket.0);
                assert_eq!(open.close(), Ok(()), "{:#?}", daemon.lines());
            }
        }
    });
    dormitory.wait_all_asleep(&daemon);
}
