//! The keys of a service that say how its requests are treated, each with the real HAProxy and with
//! curl: at an address of the service's own, at a shared one, and where a GET passes HAProxy twice.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::curl::{Answer, curl};
use crate::daemon::{Daemon, reached, secs};
use crate::harness::{Harness, free_address};

const SOON: std::time::Duration = std::time::Duration::from_secs(10);

/// One service at its own address and at a shared one.
struct Served {
    harness: Harness,
    shared: String,
}

impl Served {
    fn new(name: &str, keys: &Value) -> Served {
        let mut harness = Harness::new(name);
        let shared = free_address();
        harness.set("/load_balancer/frontends", json!({ "http": { "listen": shared } }));
        harness.set("/services/web/routes", json!([{ "host": "web.example" }]));
        harness.set("/services/web/health_check", json!({ "type": "tcp", "interval": 1 }));
        for (key, value) in keys.as_object().unwrap() {
            harness.set(&format!("/services/web/{key}"), value.clone());
        }
        Served { harness, shared }
    }

    /// With so many replicas that get requests.
    fn start(&self, replicas: usize) -> Daemon {
        let daemon = self.harness.start();
        let up = || self.servers("0").len() == replicas;
        assert!(reached(SOON, up), "{:#?}", daemon.lines());
        daemon
    }

    /// Names of the servers with this admin state (`0` ready, `8` drain).
    fn servers(&self, admin_state: &str) -> Vec<String> {
        let socket = self.harness.dir.join("haproxy.sock");
        let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else {
            return Vec::new();
        };
        let mut text = String::new();
        drop(stream.write_all(b"show servers state web\n"));
        drop(stream.read_to_string(&mut text));
        let rows = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let of_it = rows.filter(|row| row.len() > 6 && row[6] == admin_state && row[5] == "2");
        of_it.map(|row| row[3].to_owned()).collect()
    }

    /// One replica is enough: waits until the second one drains.
    #[track_caller]
    fn drain_second(&self, daemon: &Daemon) {
        let mut fewer = self.harness.config.clone();
        fewer["services"]["web"]["min_replicas"] = json!(1);
        fewer["services"]["web"]["max_replicas"] = json!(1);
        self.harness.dir.write("config.json", &fewer.to_string());
        daemon.signal("HUP");
        assert!(reached(SOON, || self.servers("8") == ["web-2"]), "{:#?}", daemon.lines());
    }

    /// Both ways in.
    fn frontends(&self) -> [&str; 2] {
        [&self.harness.front, &self.shared]
    }

    fn ask(&self, frontend: &str, path: &str, args: &[&str]) -> Answer {
        curl(frontend, &format!("http://web.example{path}"), args)
    }
}

/// The address that answered.
fn replica(answer: &Answer) -> String {
    answer.body.lines().next().unwrap_or_default().to_owned()
}

fn with_retry(keys: &Value, retry: &str) -> Value {
    let mut keys = keys.clone();
    keys["retry"] = json!(retry);
    keys
}

#[test]
fn who_is_let_in() {
    let users = json!({ "users": { "anna": "s3cret", "bob": hashed("pa'ss") }, "realm": "a b" });
    for (name, keys, rows) in [
        ("allowed", json!({ "allow": ["10.0.0.0/8", "127.0.0.0/8"] }), vec![(vec![], 200)]),
        ("denied", json!({ "allow": ["10.0.0.0/8", "::1"] }), vec![(vec![], 403)]),
        (
            "auth",
            json!({ "basic_auth": users }),
            vec![
                (vec![], 401),
                (vec!["-u", "anna:s3cret"], 200),
                (vec!["-u", "anna:S3cret"], 401),
                (vec!["-u", "carl:s3cret"], 401),
                (vec!["-u", "bob:pa'ss"], 200),
                (vec!["-u", "bob:x"], 401),
            ],
        ),
    ] {
        for retry in ["connect", "safe"] {
            let served = Served::new(&format!("{name}-{retry}"), &with_retry(&keys, retry));
            let _daemon = served.start(1);
            for frontend in served.frontends() {
                for (args, want) in &rows {
                    for method in [&[][..], &["-d", "x"]] {
                        let answer = served.ask(frontend, "/", &[args, method].concat());
                        assert_eq!(answer.status, *want, "{name} {retry} {args:?} {method:?}");
                    }
                }
            }
        }
    }
}

/// As `mkpasswd -m sha-256` makes it.
fn hashed(password: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["passwd", "-5", "-salt", "abcdefgh", password]);
    String::from_utf8(openssl.output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn a_client_gets_no_more_than_its_rate() {
    for retry in ["connect", "safe"] {
        let keys = json!({ "rate_limit": { "requests": 4, "period": "1m", "by": "ip" } });
        let served = Served::new(&format!("rate-{retry}"), &with_retry(&keys, retry));
        let _daemon = served.start(1);
        let [own, shared] = served.frontends();
        let mut statuses = Vec::new();
        for frontend in [own, shared, own, shared, own, shared] {
            statuses.push(served.ask(frontend, "/", &[]).status);
        }
        assert_eq!(statuses, [200, 200, 200, 200, 429, 429], "{retry}");
        let refused = served.ask(own, "/", &["-i", "-d", "x"]);
        assert!(refused.status == 429 && refused.body.contains("etry-after: 60"), "{refused:?}");
    }
}

#[test]
fn headers_are_set_and_removed_as_they_are_written() {
    let odd = r#"a "b" 'c' %[src] %% \ $HOME {x} #"#;
    let keys = json!({
        "request_headers": { "X-Env": odd, "User-Agent": null },
        "response_headers": { "X-Out": odd, "Content-Length": null, "X-App": "1" },
    });
    for retry in ["connect", "safe"] {
        let served = Served::new(&format!("headers-{retry}"), &with_retry(&keys, retry));
        let _daemon = served.start(1);
        for frontend in served.frontends() {
            let answer = served.ask(frontend, "/", &["-i"]);
            let lower = answer.body.to_ascii_lowercase();
            for line in ["x-env: ", "x-out: "] {
                let want = format!("{line}{}", odd.to_ascii_lowercase());
                assert!(lower.lines().any(|line| line == want), "{want}: {answer:?}");
            }
            assert!(!lower.contains("user-agent"), "{answer:?}");
            assert!(lower.contains("x-app: 1"), "{answer:?}");
        }
    }
}

#[test]
fn a_replica_that_says_nothing_is_waited_for_as_long_as_is_written() {
    for retry in ["connect", "safe"] {
        let keys = json!({ "timeouts": { "server": "300ms", "queue": "200ms", "connect": "1s",
                                         "client": "20s", "tunnel": "1h" } });
        let served = Served::new(&format!("timeouts-{retry}"), &with_retry(&keys, retry));
        let _daemon = served.start(1);
        for frontend in served.frontends() {
            let answer = served.ask(frontend, "/silent", &["-d", "x", "--max-time", "5"]);
            assert_eq!(answer.status, 504, "{retry} {answer:?}");
        }
    }
}

#[test]
fn what_one_replica_may_not_get_waits_and_then_fails() {
    let keys = json!({ "max_connections": 1, "timeouts": { "queue": "300ms" } });
    let served = Served::new("queue", &keys);
    let _daemon = served.start(1);
    let [own, shared] = served.frontends();
    assert_eq!(served.ask(own, "/", &[]).status, 200);
    let mut held = TcpStream::connect(own).unwrap();
    held.write_all(b"GET /silent HTTP/1.1\r\nHost: web.example\r\n\r\n").unwrap();
    let is_full = || served.ask(shared, "/", &[]).status == 503;
    assert!(reached(SOON, is_full), "a second request got through");
    drop(held);
    assert!(reached(SOON, || served.ask(shared, "/", &[]).status == 200));
}

#[test]
fn requests_are_spread_as_is_written() {
    for (balance, replicas) in
        [("leastconn", None), ("roundrobin", Some(2)), ("random", None), ("source", Some(1))]
    {
        let keys = json!({ "balance": balance, "min_replicas": 2, "max_replicas": 2 });
        let served = Served::new(balance, &keys);
        let _daemon = served.start(2);
        let answers: Vec<Answer> = (0..8).map(|_| served.ask(&served.shared, "/", &[])).collect();
        assert!(answers.iter().all(|answer| answer.status == 200), "{balance}: {answers:?}");
        let seen: BTreeSet<String> = answers.iter().map(replica).collect();
        assert!(replicas.is_none_or(|count| count == seen.len()), "{balance}: {seen:?}");
    }
}

#[test]
fn a_request_without_an_answer_is_repeated_if_it_changes_nothing() {
    let keys = json!({ "retry": { "on": ["conn-failure", "empty-response"], "attempts": 2 } });
    let served = Served::new("retries", &keys);
    let _daemon = served.start(1);
    assert_eq!(served.ask(&served.shared, "/drop-once/retries-get", &[]).status, 200);
    let sent = served.ask(&served.shared, "/drop-once/retries-post", &["-d", "x"]);
    assert_eq!(sent.status, 502);
}

#[test]
fn a_client_stays_with_its_replica_until_that_drains() {
    let keys = json!({
        "sticky": { "cookie": "srv", "ttl": "1h" }, "min_replicas": 2, "max_replicas": 2,
        // With a limit, a request of a client that left ends.
        "drain_timeout": "1m", "max_connections": 100,
    });
    let served = Served::new("sticky", &keys);
    let daemon = served.start(2);
    let first = served.ask(&served.shared, "/", &["-i"]);
    assert!(
        first.body.contains("et-cookie: srv=web-") && first.body.contains("HttpOnly"),
        "{first:?}"
    );
    // As two clients that came before; the app never sees the cookie.
    let at = |server: &str| {
        let answer = served.ask(&served.shared, "/", &["-b", &format!("a=1; srv={server}")]);
        assert!(answer.status == 200 && !answer.body.contains("srv="), "{answer:?}");
        replica(&answer)
    };
    let (one, two) = (at("web-1"), at("web-2"));
    assert_ne!(one, two);
    for _ in 0..10 {
        assert_eq!((at("web-1"), at("web-2")), (one.clone(), two.clone()));
    }

    // A request in flight keeps the second one draining.
    let mut held = TcpStream::connect(&served.shared).unwrap();
    held.write_all(b"GET /silent HTTP/1.1\r\nHost: web.example\r\nCookie: srv=web-2\r\n\r\n")
        .unwrap();
    served.drain_second(&daemon);
    assert!(reached(SOON, || at("web-2") == one), "{:#?}", daemon.lines());
    assert_eq!(served.servers("8"), ["web-2"], "it still drains");
    let moved = served.ask(&served.shared, "/", &["-i", "-b", "srv=web-2"]);
    assert!(moved.body.contains("et-cookie: srv=web-1"), "{moved:?}");
    drop(held);
    assert!(reached(SOON, || served.servers("8").is_empty()), "{:#?}", daemon.lines());
}

/// Answers each line with its own address and the line.
fn start_lines() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut out = stream.try_clone().unwrap();
                let own = stream.local_addr().unwrap();
                let lines = std::io::BufRead::lines(std::io::BufReader::new(stream));
                for line in lines.map_while(Result::ok) {
                    drop(writeln!(out, "{own} {line}"));
                }
            });
        }
    });
    port
}

struct Line(std::io::BufReader<TcpStream>);

impl Line {
    fn open(address: &str) -> Line {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(secs(5))).unwrap();
        Line(std::io::BufReader::new(stream))
    }

    /// The address that answered.
    fn ask(&mut self, text: &str) -> String {
        let mut line = String::new();
        drop(writeln!(self.0.get_mut(), "{text}"));
        drop(std::io::BufRead::read_line(&mut self.0, &mut line));
        let (own, back) = line.trim_end().split_once(' ').unwrap_or_default();
        assert!(own.is_empty() || back == text, "{line}");
        own.to_owned()
    }
}

#[test]
fn connections_of_tcp_outlive_that_replicas_come_and_go() {
    let mut harness = Harness::new("tcp");
    for (key, value) in [
        ("port", json!(start_lines())),
        ("protocol", json!("tcp")),
        ("health_check", json!({ "type": "tcp", "interval": 1 })),
        ("allow", json!(["127.0.0.0/8"])),
        ("max_replicas", json!(2)),
        ("min_replicas", json!(2)),
        ("drain_timeout", json!("1m")),
    ] {
        harness.set(&format!("/services/web/{key}"), value);
    }
    let served = Served { shared: String::new(), harness };
    let daemon = served.start(2);
    let mut lines: Vec<Line> = (0..4).map(|_| Line::open(&served.harness.front)).collect();
    let first: Vec<String> = lines.iter_mut().map(|line| line.ask("a")).collect();
    let replicas: BTreeSet<&String> = first.iter().collect();
    assert_eq!(replicas.len(), 2, "{first:?}");

    served.drain_second(&daemon);
    // Each goes on with its own replica, and a new one gets the one that stays.
    let again: Vec<String> = lines.iter_mut().map(|line| line.ask("b")).collect();
    assert_eq!(again, first);
    let stays = Line::open(&served.harness.front).ask("c");
    assert_eq!(Line::open(&served.harness.front).ask("c"), stays);
    assert_eq!(served.servers("8"), ["web-2"], "it drains as long as it has connections");
    lines.retain_mut(|line| line.ask("d") == stays);
    assert!(reached(SOON, || served.servers("8").is_empty()), "{:#?}", daemon.lines());
    assert!(lines.iter_mut().all(|line| line.ask("e") == stays));
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server of HTTP/2 without TLS, which knows nothing else: another HAProxy.
fn start_h2(harness: &Harness, port: u16) -> Program {
    let text = format!(
        "defaults\n    mode http\n    timeout client 5s\n    timeout connect 1s\n    \
         timeout server 5s\n\nfrontend app\n    bind :{port} proto h2\n    http-request return \
         status 200 content-type text/plain lf-string \"%[req.ver] %[path]\"\n"
    );
    let file = harness.dir.write("h2.cfg", &text);
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    Program(command.spawn().unwrap())
}

#[test]
fn replicas_that_speak_http_2_only_are_asked_so() {
    for retry in ["connect", "safe"] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let keys = json!({ "protocol": "h2", "port": port });
        let served = Served::new(&format!("h2-{retry}"), &with_retry(&keys, retry));
        let _app = start_h2(&served.harness, port);
        let _daemon = served.start(1);
        for frontend in served.frontends() {
            for args in [&["--http2-prior-knowledge"][..], &["--http1.1"], &["-d", "x"]] {
                let answer = served.ask(frontend, "/a", args);
                assert_eq!((answer.status, answer.body.as_str()), (200, "2.0 /a"), "{args:?}");
            }
        }
    }
}
