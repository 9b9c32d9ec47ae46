//! What can go wrong with HAProxy itself, while clients are served.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use crate::daemon::{Daemon, reached, secs, signal};
use crate::load::{Kind, Load};
use crate::testbed::{HAPROXY, Testbed, clients, everyone, free_port};

const ONE: &str = r#""min_replicas": 1, "max_replicas": 1"#;

/// The real HAProxy, on a file that is spoilt on its way while the file `spoil` is there.
fn spoil_files(testbed: &mut Testbed) {
    let dir = testbed.dir.path().display().to_string();
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = -c ] && [ -e {dir}/spoil ]; then\n  \
         echo '    no_such_keyword here' >>\"$3\"\n  echo spoilt >>{dir}/runs\nfi\n\
         exec {HAPROXY} \"$@\"\n"
    );
    testbed.haproxy = testbed.dir.write("haproxy", &text);
    fs::set_permissions(&testbed.haproxy, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn servers_come_and_go_without_a_reload() {
    let testbed = Testbed::new("amend");
    let daemon = Daemon::start(&testbed.configure(ONE));
    testbed.wait_serving(1, secs(30), &daemon);
    let load = everyone(&testbed);
    let pid = testbed.haproxy_pid();
    for _ in 0..2 {
        testbed.configure(r#""min_replicas": 3, "max_replicas": 3"#);
        daemon.signal("HUP");
        testbed.wait_serving(3, secs(30), &daemon);
        load.wait_for(secs(10), |c| 100 < c.sent());
        testbed.configure(ONE);
        daemon.signal("HUP");
        let left = || testbed.containers().len() == 1;
        assert!(reached(secs(60), left), "{:#?}", daemon.lines());
    }
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    assert_eq!(testbed.haproxy_pid(), pid);
    assert!(daemon.count(&["kind=haproxy.reloaded"]) <= 1, "{:#?}", daemon.lines());
    // Clients held on to them for a while.
    let listed = || testbed.ask_haproxy("show servers state").matches(&testbed.service).count();
    assert!(reached(secs(30), || listed() == 2), "one server in its backend: {}", listed());
}

#[test]
fn a_container_that_is_gone_gets_nothing_more_though_no_file_is_taken() {
    let mut testbed = Testbed::new("gone");
    spoil_files(&mut testbed);
    let daemon = Daemon::start(&testbed.configure(r#""min_replicas": 2, "max_replicas": 2"#));
    testbed.wait_serving(2, secs(30), &daemon);
    testbed.dir.write("spoil", "");
    let (id, name, _) = testbed.containers().pop().unwrap();
    testbed.docker(&["rm", "-f", &id]).unwrap();
    let is_out = || {
        let rows = testbed.ask_haproxy("show stat");
        let row = rows.lines().find(|row| row.contains(&format!(",{name},")));
        row.is_none_or(|row| row.contains(",MAINT,"))
    };
    assert!(reached(secs(20), is_out), "{:#?}", daemon.lines());
    daemon.wait(&["kind=haproxy.reload_failed", "the file is refused"], secs(20));
    fs::remove_file(testbed.dir.join("spoil")).unwrap();
    testbed.wait_serving(2, secs(60), &daemon);
}

#[test]
fn a_file_that_haproxy_refuses_leaves_the_old_one_serving() {
    let mut testbed = Testbed::new("refuse");
    spoil_files(&mut testbed);
    let daemon = Daemon::start(&testbed.configure(ONE));
    testbed.wait_serving(1, secs(20), &daemon);
    let load = everyone(&testbed);
    let pid = testbed.haproxy_pid();
    let good = fs::read(testbed.dir.join("haproxy.cfg")).unwrap();
    testbed.dir.write("spoil", "");
    testbed.configure(r#""min_replicas": 2, "max_replicas": 2"#);
    daemon.signal("HUP");
    let failed =
        ["kind=haproxy.reload_failed", "unknown keyword 'no_such_keyword'", "the file is refused"];
    daemon.wait(&failed, secs(10));
    let runs = || fs::read_to_string(testbed.dir.join("runs")).unwrap_or_default();
    assert!(reached(secs(20), || 6 <= runs().lines().count()), "it is tried again");
    assert_eq!(daemon.count(&failed), 1, "and reported once: {:#?}", daemon.lines());
    assert_eq!(testbed.haproxy_pid(), pid, "the old process goes on");
    assert_eq!(fs::read(testbed.dir.join("haproxy.cfg")).unwrap(), good, "with its file");
    fs::remove_file(testbed.dir.join("spoil")).unwrap();
    daemon.wait(&["kind=haproxy.reloaded", "ms, after ", " failures"], secs(30));
    testbed.wait_serving(2, secs(20), &daemon);
    load.wait_for(secs(5), |c| 200 < c.sent());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

#[test]
fn the_operators_own_file_is_served_beside_ours() {
    let testbed = Testbed::new("base");
    let own = free_port();
    // Without that option HAProxy itself closes idle clients of the file at every reload.
    let base = format!(
        "global\n    maxconn 500\ndefaults\n    mode http\n    timeout client 5s\n\
         \x20   option idle-close-on-response\n\
         frontend own\n    bind 127.0.0.1:{own}\n    http-request return status 204\n\
         backend legacy\n    server a 127.0.0.1:9\n    server b unix@/nowhere.sock\n"
    );
    let base = testbed.dir.write("base.cfg", &base);
    let config = testbed.configure(ONE);
    let text = fs::read_to_string(&config).unwrap();
    let key = format!(r#""load_balancer": {{ "base_config": "{}","#, base.display());
    fs::write(&config, text.replacen(r#""load_balancer": {"#, &key, 1)).unwrap();
    let daemon = Daemon::start(&config);
    testbed.wait_serving(1, secs(20), &daemon);
    let load = everyone(&testbed);
    let own = SocketAddr::from(([127, 0, 0, 1], own));
    let operators = Load::start(own, clients(2, Kind::KeepAlive, "/own", 5));
    // What is ours changes meanwhile.
    let text = fs::read_to_string(&config).unwrap();
    let two = r#""min_replicas": 2, "max_replicas": 2"#;
    fs::write(&config, text.replacen(ONE, two, 1)).unwrap();
    daemon.signal("HUP");
    testbed.wait_serving(2, secs(20), &daemon);
    for load in [load, operators] {
        load.wait_for(secs(5), |c| 100 < c.sent());
        let counts = load.stop();
        assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    }
    // A refused file is reported with HAProxy's message; the running HAProxy goes on serving.
    fs::write(&base, "global\n    no_such_keyword\n").unwrap();
    fs::write(&config, fs::read_to_string(&config).unwrap().replacen(two, ONE, 1)).unwrap();
    let load = everyone(&testbed);
    daemon.signal("HUP");
    daemon.wait(&["kind=haproxy.reload_failed", "base.cfg", "no_such_keyword"], secs(10));
    load.wait_for(secs(5), |c| 100 < c.sent());
    assert_eq!(load.stop().failed(), 0);
}

#[test]
fn a_port_that_is_taken_is_reported_and_heals() {
    let testbed = Testbed::new("taken");
    let daemon = Daemon::start(&testbed.configure(ONE));
    testbed.wait_serving(1, secs(20), &daemon);
    let load = everyone(&testbed);
    let taken = free_port();
    let holder = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let other = testbed.other(taken);
    testbed.configure_with(ONE, &other);
    daemon.signal("HUP");
    let place = format!("127.0.0.1:{taken}");
    daemon.wait(&["kind=haproxy.reload_failed", "cannot bind", &place, "in use"], secs(20));
    // The other service goes on as if nothing were wrong.
    testbed.configure_with(r#""min_replicas": 2, "max_replicas": 2"#, &other);
    daemon.signal("HUP");
    testbed.wait_serving(2, secs(20), &daemon);
    load.wait_for(secs(5), |c| 200 < c.sent());
    drop(holder);
    let healed =
        reached(secs(30), || testbed.ask_haproxy("show stat").contains("-b:frontend,FRONTEND"));
    assert!(healed, "{:#?}", daemon.lines());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

#[test]
fn a_new_process_that_dies_is_followed_by_the_last_good_configuration() {
    let mut testbed = Testbed::new("dies");
    // The real HAProxy; while the file `doom` is there, it takes over and is killed, once.
    let dir = testbed.dir.path().display().to_string();
    let text = format!(
        "#!/bin/sh\n{HAPROXY} \"$@\" || exit\n[ \"$1\" = -D ] && [ -e {dir}/doom ] || exit 0\n\
         rm {dir}/doom\nkill -KILL \"$(cat {dir}/haproxy.pid)\"\n"
    );
    testbed.haproxy = testbed.dir.write("haproxy", &text);
    fs::set_permissions(&testbed.haproxy, fs::Permissions::from_mode(0o755)).unwrap();

    let daemon = Daemon::start(&testbed.configure(ONE));
    testbed.wait_serving(1, secs(20), &daemon);
    testbed.dir.write("doom", "");
    testbed.configure_with(r#""min_replicas": 2, "max_replicas": 2"#, &testbed.other(free_port()));
    daemon.signal("HUP");
    let failed = ["kind=haproxy.reload_failed", "the new process ended right after its start"];
    let failed = daemon.wait(&failed, secs(20));
    let back = daemon.wait_from(failed, &["kind=haproxy.rolled_back"], secs(1));
    testbed.wait_serving(2, secs(20), &daemon);
    daemon.wait_from(back, &["kind=haproxy.reloaded"], secs(1));
}

#[test]
fn a_killed_haproxy_is_back_within_seconds() {
    let testbed = Testbed::new("killed");
    let daemon = Daemon::start(&testbed.configure(r#""min_replicas": 2, "max_replicas": 2"#));
    testbed.wait_serving(2, secs(20), &daemon);
    let pid = testbed.haproxy_pid();
    signal(pid, "KILL");
    assert!(reached(secs(5), || testbed.serving().len() == 2), "{:#?}", daemon.lines());
    assert_ne!(testbed.haproxy_pid(), pid);
    let alone = || testbed.haproxy_pids() == [testbed.haproxy_pid()];
    assert!(reached(secs(5), alone), "one process, no more: {:?}", testbed.haproxy_pids());
    assert_eq!(testbed.containers().len(), 2);
}

#[test]
fn a_restarted_daemon_goes_on_with_the_haproxy_that_runs() {
    let testbed = Testbed::new("again");
    let config = testbed.configure(r#""min_replicas": 2, "max_replicas": 2"#);
    let mut daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(20), &daemon);
    let load = everyone(&testbed);
    let pid = testbed.haproxy_pid();
    let containers = testbed.containers();
    daemon.signal("TERM");
    assert!(daemon.wait_exit(secs(10)).success());
    daemon.wait(&["kind=daemon.stopping"], secs(1));
    let daemon = Daemon::start(&config);
    daemon.wait(&["reason=DesiredWithinRange"], secs(10));
    load.wait_for(secs(10), |c| 300 < c.sent());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    assert_eq!((testbed.haproxy_pid(), testbed.containers()), (pid, containers));
    assert_eq!(daemon.count(&["kind=haproxy.reloaded"]), 0, "{:#?}", daemon.lines());
}

#[test]
fn a_frozen_haproxy_neither_hangs_the_daemon_nor_stops_a_replica() {
    let testbed = Testbed::new("frozen");
    let mut daemon = Daemon::start(&testbed.configure(r#""min_replicas": 2, "max_replicas": 2"#));
    testbed.wait_serving(2, secs(20), &daemon);
    signal(testbed.haproxy_pid(), "STOP");
    // Many observations, so that its backlog of connections is full; then a task for Docker.
    testbed.configure(ONE);
    daemon.signal("HUP");
    daemon.wait(&["kind=replica.draining"], secs(20));
    let more = daemon.lines().len();
    daemon.wait_from(more, &["debug service="], secs(20));
    daemon.signal("TERM");
    assert!(daemon.wait_exit(secs(25)).success());
    assert_eq!(testbed.containers().len(), 2, "HAProxy may still serve it when it wakes");
}
