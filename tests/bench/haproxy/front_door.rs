//! The front door: what programs of others lose there while everything behind it changes, and what
//! it costs beside the same HAProxy with a file that a person would write.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::daemon::{reached, secs};
use crate::fleet::program;
use crate::real_clients::{Outcome, RealSite};
use crate::testbed::{HAPROXY, free_port};

const ROUNDS: u32 = 5;
/// Pairs of measurements; the two of a pair follow each other, in turns.
const PAIRS: usize = 9;
const REQUESTS: &str = "20000";

/// Medians of one protocol, through plimsoll's file by those through the other one.
pub(crate) struct Cost {
    connections: &'static str,
    protocol: &'static str,
    requests_per_second: f64,
    p99: f64,
}

pub(crate) fn measure() -> (Vec<Outcome>, Vec<Cost>) {
    let site = RealSite::start("bench-clients", Command::new(program()));
    let clients = site.clients();
    for round in 0..ROUNDS {
        site.change(3, &round.to_string());
        site.change(1, &round.to_string());
    }
    let outcomes = clients.stop();
    site.change(2, "0");
    let (ours, dir) = site.front();
    let servers = site.servers();
    let by_hand = [CLOSING, KEEPING].map(|connections| ByHand::start(dir, &servers, connections));
    let protocols: [(&str, &[&str]); 2] = [("HTTP/2", &["-m", "8"]), ("HTTP/1.1", &["--h1"])];
    let rows =
        by_hand.iter().flat_map(|by_hand| protocols.map(|(name, args)| (by_hand, name, args)));
    let cost = |(by_hand, protocol, args): (&ByHand, _, _)| {
        let once = |front| h2load(front, args, &dir.join("requests.tsv"));
        let pairs: Vec<_> = (0..PAIRS)
            .map(|n| {
                if n % 2 == 0 {
                    let first = once(ours);
                    (first, once(by_hand.front))
                } else {
                    let first = once(by_hand.front);
                    (once(ours), first)
                }
            })
            .collect();
        let ratio = |of: fn(&Speed) -> f64| {
            median(pairs.iter().map(|(ours, other)| of(ours) / of(other)).collect())
        };
        let connections = by_hand.connections;
        Cost {
            connections,
            protocol,
            requests_per_second: ratio(|s| s.per_second),
            p99: ratio(|s| s.p99),
        }
    };
    let costs = rows.map(cost).collect();
    (outcomes, costs)
}

pub(crate) fn print(outcomes: &[Outcome], costs: &[Cost]) {
    println!("{:<28} {:>9} {:>8}", "programs of others", "sent", "failed");
    for Outcome { name, sent, failed, first_failure } in outcomes {
        println!("{name:<28} {sent:>9} {failed:>8}");
        if 0 < *failed {
            println!("  the first: {first_failure}");
        }
    }
    println!("\n{:<44} {:>10} {:>7}", "by a file of a person's", "requests/s", "p99");
    for Cost { connections, protocol, requests_per_second, p99 } in costs {
        let what = format!("{protocol}, {connections}");
        println!("{what:<44} {requests_per_second:>10.3} {p99:>7.3}");
    }
}

/// As plimsoll has it: a request on a connection that a replica is just closing would be lost.
const CLOSING: &str = "option http-server-close";
/// What HAProxy does by itself.
const KEEPING: &str = "option http-keep-alive";

/// An HAProxy with what one would write for the one site.
struct ByHand {
    process: Child,
    connections: &'static str,
    front: SocketAddr,
}

impl ByHand {
    fn start(dir: &Path, servers: &[String], connections: &'static str) -> ByHand {
        let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let certificate = dir.join("site.pem");
        let mut text = format!(
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  \
             timeout server 300s\n  {connections}\nfrontend site\n  \
             bind {front} ssl crt {} alpn h2,http/1.1\n  \
             http-request set-header X-Forwarded-Proto https\n  option forwardfor\n  \
             default_backend app\nbackend app\n  balance leastconn\n  \
             option httpchk GET /health\n",
            certificate.display()
        );
        for (n, server) in servers.iter().enumerate() {
            text += &format!("  server s{n} {server} check\n");
        }
        let file = dir.join(format!("by-hand-{}.cfg", front.port()));
        fs::write(&file, text).unwrap();
        let process = Command::new(HAPROXY).arg("-db").arg("-f").arg(&file).spawn().unwrap();
        let is_up = || std::net::TcpStream::connect(front).is_ok();
        assert!(reached(secs(10), is_up), "it does not start");
        ByHand { process, connections, front }
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

struct Speed {
    per_second: f64,
    /// In microseconds.
    p99: f64,
}

fn h2load(front: SocketAddr, args: &[&str], log: &PathBuf) -> Speed {
    // It appends.
    drop(fs::remove_file(log));
    let mut command = Command::new("h2load");
    command.args(["-n", REQUESTS, "-c", "8"]).args(args).arg("--log-file").arg(log);
    command.arg(format!("--connect-to={front}")).arg("https://shop.example/");
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains(&format!("{REQUESTS} succeeded, 0 failed")), "{text}");
    let (_, rest) = text.split_once("finished in ").expect("a result");
    let per_second = rest.split([',', ' ']).find_map(|word| word.parse().ok());
    let log = fs::read_to_string(log).unwrap();
    let times = log.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok());
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    Speed { per_second: per_second.expect("a number"), p99: times[times.len() * 99 / 100] }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
