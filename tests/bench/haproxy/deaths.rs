//! What clients lose when replicas are killed, when one request kills each that sees it, and when
//! HAProxy hangs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::crowd::Row;
use crate::daemon::{Daemon, reached, secs, signal};
use crate::fleet::program;
use crate::load::{Counts, Failure, Kind, Load};
use crate::testbed::{Testbed, clients};

const REPLICAS: usize = 4;
const KEYS: &str = r#""min_replicas": 4, "max_replicas": 4"#;
const ROLLING: Duration = Duration::from_secs(60);
const BETWEEN: Duration = Duration::from_secs(3);

pub(crate) struct Deaths {
    pub(crate) rows: Vec<Row>,
    /// Requests for which HAProxy found no replica, though one served.
    pub(crate) unserved: u64,
    /// Replicas that one request killed.
    pub(crate) poisoned: usize,
    pub(crate) is_hung_gone: bool,
}

fn start(name: &str) -> (Testbed, Daemon) {
    let testbed = Testbed::new(name);
    let daemon = Daemon::start_by(Command::new(program()), &testbed.configure(KEYS), &[]);
    testbed.wait_serving(REPLICAS, secs(60), &daemon);
    (testbed, daemon)
}

/// Answers take long enough that a dead server, which has none in hand, looks like the best one.
fn crowd(testbed: &Testbed) -> Load {
    let mut all = clients(4, Kind::KeepAlive, "/slow?ms=200", 0);
    all.extend(clients(4, Kind::Slow, "/slow?ms=200", 0));
    all.iter_mut().step_by(2).for_each(|client| client.method = "POST");
    Load::start(testbed.address(), all)
}

fn kill(testbed: &Testbed, daemon: &Daemon, count: usize) {
    testbed.wait_serving(REPLICAS, secs(60), daemon);
    let all = testbed.containers();
    let running = all.iter().filter(|(.., state)| state == "running");
    let ids: Vec<&str> = running.take(count).map(|(id, ..)| id.as_str()).collect();
    testbed.docker(&[&["kill"], &ids[..]].concat()).expect("they are killed");
    // What failed is forgotten, else they would be replaced ever more slowly.
    daemon.signal("HUP");
}

fn unserved(counts: &Counts) -> u64 {
    let none = [Failure::Status(503), Failure::Status(504), Failure::Timeout];
    let failures = counts.kinds.values().flat_map(|metrics_sink| &metrics_sink.failures);
    failures.filter(|(failure, _)| none.contains(failure)).map(|(_, times)| times).sum()
}

pub(crate) fn measure() -> Deaths {
    let mut out = Deaths { rows: Vec::new(), unserved: 0, poisoned: 0, is_hung_gone: false };
    let (testbed, daemon) = start("deaths");
    let mut measured = |name: String, run: &dyn Fn()| {
        let load = crowd(&testbed);
        let since = Instant::now();
        load.wait_for(secs(10), |c| 40 < c.sent());
        run();
        let before = load.counts().sent();
        load.wait_for(secs(20), |c| before + 150 < c.sent());
        let counts = load.stop();
        out.unserved += unserved(&counts);
        out.rows.push(Row::of(name, counts, since.elapsed()));
        testbed.wait_serving(REPLICAS, secs(60), &daemon);
    };
    for count in 1..REPLICAS {
        measured(format!("{count} of {REPLICAS} killed at once"), &|| {
            kill(&testbed, &daemon, count)
        });
    }
    measured(format!("one killed every 3 s, for {} s", ROLLING.as_secs()), &|| {
        let end = Instant::now() + ROLLING;
        while Instant::now() < end {
            kill(&testbed, &daemon, 1);
            thread::sleep(BETWEEN);
        }
    });
    let before = daemon.count(&["kind=replica.exited"]);
    drop(ask_to_die(&testbed));
    let dead = || daemon.count(&["kind=replica.exited"]) - before;
    reached(secs(10), || 0 < dead());
    testbed.wait_serving(REPLICAS, secs(60), &daemon);
    out.poisoned = dead();
    out.is_hung_gone = hang(&testbed);
    let load = crowd(&testbed);
    let since = Instant::now();
    load.wait_for(secs(20), |c| 150 < c.sent());
    let counts = load.stop();
    out.unserved += unserved(&counts);
    out.rows.push(Row::of("after HAProxy hung".to_owned(), counts, since.elapsed()));
    out
}

fn ask_to_die(testbed: &Testbed) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(testbed.address())?;
    stream.write_all(b"GET /die HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether the process that does not answer any more is gone, when another one serves.
fn hang(testbed: &Testbed) -> bool {
    let hung = testbed.haproxy_pid();
    signal(hung, "STOP");
    let another = || {
        let info = testbed.ask_haproxy("show info");
        info.contains("Pid: ") && !info.contains(&format!("Pid: {hung}\n"))
    };
    let gone = || {
        let stat = fs::read_to_string(Path::new("/proc").join(hung.to_string()).join("stat"));
        stat.map_or(true, |text| text.contains(") Z "))
    };
    reached(secs(40), another) && reached(secs(5), gone)
}

pub(crate) fn print(deaths: &Deaths) {
    crate::crowd::print(deaths.rows.iter());
    println!("{} requests found no replica though one served", deaths.unserved);
    println!("{} replicas were killed by a request that kills", deaths.poisoned);
    println!("a HAProxy that hung is {}", if deaths.is_hung_gone { "gone" } else { "still there" });
}
