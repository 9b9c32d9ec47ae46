//! What can go wrong with HAProxy itself, while clients are served.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use crate::daemon::{Daemon, reached, secs, signal};
use crate::load::{Kind, Load};
use crate::site::{HAPROXY, Site, clients, everyone, free_port};

const ONE: &str = r#""min_replicas": 1, "max_replicas": 1"#;

/// The real HAProxy, on a file that is spoilt on its way while the file `spoil` is there.
fn spoil_files(site: &mut Site) {
    let dir = site.dir.path().display().to_string();
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = -c ] && [ -e {dir}/spoil ]; then\n  \
         echo '    no_such_keyword here' >>\"$3\"\n  echo spoilt >>{dir}/runs\nfi\n\
         exec {HAPROXY} \"$@\"\n"
    );
    site.haproxy = site.dir.write("haproxy", &text);
    fs::set_permissions(&site.haproxy, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn servers_come_and_go_without_a_reload() {
    let site = Site::new("amend");
    let daemon = Daemon::start(&site.configure(ONE));
    site.wait_serving(1, secs(30), &daemon);
    let (load, pid) = (everyone(&site), site.haproxy_pid());
    for _ in 0..2 {
        site.configure(r#""min_replicas": 3, "max_replicas": 3"#);
        daemon.signal("HUP");
        site.wait_serving(3, secs(30), &daemon);
        load.wait_for(secs(10), |c| 100 < c.sent());
        site.configure(ONE);
        daemon.signal("HUP");
        let left = || site.containers().len() == 1;
        assert!(reached(secs(60), left), "{:#?}", daemon.lines());
    }
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    assert_eq!(site.haproxy_pid(), pid);
    assert!(daemon.count(&["kind=haproxy.reloaded"]) <= 1, "{:#?}", daemon.lines());
    // Clients held on to them for a while.
    let listed = || site.ask_haproxy("show servers state").matches(&site.service).count();
    assert!(reached(secs(30), || listed() == 2), "one server in its backend: {}", listed());
}

#[test]
fn a_container_that_is_gone_gets_nothing_more_though_no_file_is_taken() {
    let mut site = Site::new("gone");
    spoil_files(&mut site);
    let daemon = Daemon::start(&site.configure(r#""min_replicas": 2, "max_replicas": 2"#));
    site.wait_serving(2, secs(30), &daemon);
    site.dir.write("spoil", "");
    let (id, name, _) = site.containers().pop().unwrap();
    site.docker(&["rm", "-f", &id]).unwrap();
    let is_out = || {
        let rows = site.ask_haproxy("show stat");
        let row = rows.lines().find(|row| row.contains(&format!(",{name},")));
        row.is_none_or(|row| row.contains(",MAINT,"))
    };
    assert!(reached(secs(20), is_out), "{:#?}", daemon.lines());
    daemon.wait(&["kind=haproxy.reload_failed", "the file is refused"], secs(20));
    fs::remove_file(site.dir.join("spoil")).unwrap();
    site.wait_serving(2, secs(60), &daemon);
}

#[test]
fn a_file_that_haproxy_refuses_leaves_the_old_one_serving() {
    let mut site = Site::new("refuse");
    spoil_files(&mut site);
    let daemon = Daemon::start(&site.configure(ONE));
    site.wait_serving(1, secs(20), &daemon);
    let load = everyone(&site);
    let (pid, good) = (site.haproxy_pid(), fs::read(site.dir.join("haproxy.cfg")).unwrap());
    site.dir.write("spoil", "");
    site.configure(r#""min_replicas": 2, "max_replicas": 2"#);
    daemon.signal("HUP");
    let failed =
        ["kind=haproxy.reload_failed", "unknown keyword 'no_such_keyword'", "the file is refused"];
    daemon.wait(&failed, secs(10));
    let runs = || fs::read_to_string(site.dir.join("runs")).unwrap_or_default();
    assert!(reached(secs(20), || 6 <= runs().lines().count()), "it is tried again");
    assert_eq!(daemon.count(&failed), 1, "and told once: {:#?}", daemon.lines());
    assert_eq!(site.haproxy_pid(), pid, "the old process goes on");
    assert_eq!(fs::read(site.dir.join("haproxy.cfg")).unwrap(), good, "with its file");
    fs::remove_file(site.dir.join("spoil")).unwrap();
    daemon.wait(&["kind=haproxy.reloaded", "ms, after ", " failures"], secs(30));
    site.wait_serving(2, secs(20), &daemon);
    load.wait_for(secs(5), |c| 200 < c.sent());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

#[test]
fn the_operators_own_file_is_served_beside_ours() {
    let site = Site::new("base");
    let own = free_port();
    // Without that option HAProxy itself closes idle clients of the file at every reload.
    let base = format!(
        "global\n    maxconn 500\ndefaults\n    mode http\n    timeout client 5s\n\
         \x20   option idle-close-on-response\n\
         frontend own\n    bind 127.0.0.1:{own}\n    http-request return status 204\n\
         backend legacy\n    server a 127.0.0.1:9\n    server b unix@/nowhere.sock\n"
    );
    let base = site.dir.write("base.cfg", &base);
    let config = site.configure(ONE);
    let text = fs::read_to_string(&config).unwrap();
    let key = format!(r#""load_balancer": {{ "base_config": "{}","#, base.display());
    fs::write(&config, text.replacen(r#""load_balancer": {"#, &key, 1)).unwrap();
    let daemon = Daemon::start(&config);
    site.wait_serving(1, secs(20), &daemon);
    let load = everyone(&site);
    let own = SocketAddr::from(([127, 0, 0, 1], own));
    let operators = Load::start(own, clients(2, Kind::KeepAlive, "/", 5));
    // What is ours changes meanwhile.
    let text = fs::read_to_string(&config).unwrap();
    let two = r#""min_replicas": 2, "max_replicas": 2"#;
    fs::write(&config, text.replacen(ONE, two, 1)).unwrap();
    daemon.signal("HUP");
    site.wait_serving(2, secs(20), &daemon);
    for load in [load, operators] {
        load.wait_for(secs(5), |c| 100 < c.sent());
        let counts = load.stop();
        assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    }
    // A refused file is reported with HAProxy's message; the running HAProxy goes on serving.
    fs::write(&base, "global\n    no_such_keyword\n").unwrap();
    fs::write(&config, fs::read_to_string(&config).unwrap().replacen(two, ONE, 1)).unwrap();
    let load = everyone(&site);
    daemon.signal("HUP");
    daemon.wait(&["kind=haproxy.reload_failed", "base.cfg", "no_such_keyword"], secs(10));
    load.wait_for(secs(5), |c| 100 < c.sent());
    assert_eq!(load.stop().failed(), 0);
}

#[test]
fn a_port_that_is_taken_is_told_and_heals() {
    let site = Site::new("taken");
    let daemon = Daemon::start(&site.configure(ONE));
    site.wait_serving(1, secs(20), &daemon);
    let load = everyone(&site);
    let taken = free_port();
    let holder = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let other = site.other(taken);
    site.configure_with(ONE, &other);
    daemon.signal("HUP");
    let place = format!("127.0.0.1:{taken}");
    daemon.wait(&["kind=haproxy.reload_failed", "cannot bind", &place, "in use"], secs(20));
    // The other service goes on as if nothing were wrong.
    site.configure_with(r#""min_replicas": 2, "max_replicas": 2"#, &other);
    daemon.signal("HUP");
    site.wait_serving(2, secs(20), &daemon);
    load.wait_for(secs(5), |c| 200 < c.sent());
    drop(holder);
    let healed = reached(secs(30), || site.ask_haproxy("show stat").contains("-b,FRONTEND"));
    assert!(healed, "{:#?}", daemon.lines());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

#[test]
fn a_new_process_that_dies_is_followed_by_the_last_good_configuration() {
    let mut site = Site::new("dies");
    // The real HAProxy; while the file `doom` is there, it takes over and is killed, once.
    let dir = site.dir.path().display().to_string();
    let text = format!(
        "#!/bin/sh\n{HAPROXY} \"$@\" || exit\n[ \"$1\" = -D ] && [ -e {dir}/doom ] || exit 0\n\
         rm {dir}/doom\nkill -KILL \"$(cat {dir}/haproxy.pid)\"\n"
    );
    site.haproxy = site.dir.write("haproxy", &text);
    fs::set_permissions(&site.haproxy, fs::Permissions::from_mode(0o755)).unwrap();

    let daemon = Daemon::start(&site.configure(ONE));
    site.wait_serving(1, secs(20), &daemon);
    site.dir.write("doom", "");
    site.configure_with(r#""min_replicas": 2, "max_replicas": 2"#, &site.other(free_port()));
    daemon.signal("HUP");
    let failed = ["kind=haproxy.reload_failed", "the new process ended right after its start"];
    let failed = daemon.wait(&failed, secs(20));
    let back = daemon.wait_from(failed, &["kind=haproxy.rolled_back"], secs(1));
    site.wait_serving(2, secs(20), &daemon);
    daemon.wait_from(back, &["kind=haproxy.reloaded"], secs(1));
}

#[test]
fn a_killed_haproxy_is_back_within_seconds() {
    let site = Site::new("killed");
    let daemon = Daemon::start(&site.configure(r#""min_replicas": 2, "max_replicas": 2"#));
    site.wait_serving(2, secs(20), &daemon);
    let pid = site.haproxy_pid();
    signal(pid, "KILL");
    assert!(reached(secs(5), || site.serving().len() == 2), "{:#?}", daemon.lines());
    assert_ne!(site.haproxy_pid(), pid);
    let alone = || site.haproxy_pids() == [site.haproxy_pid()];
    assert!(reached(secs(5), alone), "one process, no more: {:?}", site.haproxy_pids());
    assert_eq!(site.containers().len(), 2);
}

#[test]
fn a_restarted_daemon_goes_on_with_the_haproxy_that_runs() {
    let site = Site::new("again");
    let config = site.configure(r#""min_replicas": 2, "max_replicas": 2"#);
    let mut daemon = Daemon::start(&config);
    site.wait_serving(2, secs(20), &daemon);
    let load = everyone(&site);
    let (pid, containers) = (site.haproxy_pid(), site.containers());
    daemon.signal("TERM");
    assert!(daemon.wait_exit(secs(10)).success());
    daemon.wait(&["kind=daemon.stopping"], secs(1));
    let daemon = Daemon::start(&config);
    daemon.wait(&["reason=DesiredWithinRange"], secs(10));
    load.wait_for(secs(10), |c| 300 < c.sent());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    assert_eq!((site.haproxy_pid(), site.containers()), (pid, containers));
    assert_eq!(daemon.count(&["kind=haproxy.reloaded"]), 0, "{:#?}", daemon.lines());
}

#[test]
fn a_frozen_haproxy_neither_hangs_the_daemon_nor_stops_a_replica() {
    let site = Site::new("frozen");
    let mut daemon = Daemon::start(&site.configure(r#""min_replicas": 2, "max_replicas": 2"#));
    site.wait_serving(2, secs(20), &daemon);
    signal(site.haproxy_pid(), "STOP");
    // Many looks, so that its backlog of connections is full; then something to do on Docker.
    site.configure(ONE);
    daemon.signal("HUP");
    daemon.wait(&["kind=replica.draining"], secs(20));
    let more = daemon.lines().len();
    daemon.wait_from(more, &["debug service="], secs(20));
    daemon.signal("TERM");
    assert!(daemon.wait_exit(secs(25)).success());
    assert_eq!(site.containers().len(), 2, "HAProxy may still serve it when it wakes");
}
