//! HAProxy in modes `systemd` and `container`, its certificate and its statistics.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::certificate::{self_signed, shown_subject};
use crate::daemon::{Daemon, PLIMSOLL, reached, secs};
use crate::fake_http;
use crate::harness::{Harness, end};

const SOON: Duration = Duration::from_secs(30);
const HAPROXY: &str = "/usr/sbin/haproxy";

/// Stands for systemd's client: it has HAProxy run as a master with workers, as the unit of its
/// packages does, and fails while the file `broken` is there.
fn put_systemctl(harness: &Harness) {
    let dir = harness.dir.path().display();
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{dir}/asked\n\
         [ -e {dir}/broken ] && echo 'Job for web.service failed.' >&2 && exit 1\n\
         case $1 in\n\
         reload) kill -USR2 \"$(cat {dir}/master)\" ;;\n\
         reload-or-restart) {HAPROXY} -W -D -f {dir}/haproxy.cfg -p {dir}/master </dev/null ;;\n\
         esac\n"
    );
    let path = harness.dir.write("systemctl", &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn start_with_path(harness: &Harness) -> Daemon {
    let mut program = Command::new(PLIMSOLL);
    let path = format!("{}:{}", harness.dir.path().display(), std::env::var("PATH").unwrap());
    program.env("PATH", path);
    Daemon::start_by(program, &harness.write(), &[])
}

#[test]
fn a_unit_of_systemd_is_reloaded_by_systemctl() {
    let mut harness = Harness::new("unit");
    put_systemctl(&harness);
    harness.set("/load_balancer/mode", json!("systemd"));
    harness.set("/load_balancer/unit", json!("web.service"));
    let asked =
        |harness: &Harness| fs::read_to_string(harness.dir.join("asked")).unwrap_or_default();
    let daemon = start_with_path(&harness);
    harness.wait_served();
    assert_eq!(asked(&harness), "reload-or-restart web.service\n");
    harness.wait_quiet();

    harness.set("/services/web/health_check/interval", json!("2s"));
    harness.write();
    let before = daemon.lines().len();
    daemon.signal("HUP");
    daemon.wait_from(before, &["kind=haproxy.reloaded"], SOON);
    assert!(harness.serves());
    assert_eq!(asked(&harness), "reload-or-restart web.service\nreload web.service\n");

    let good = fs::read(harness.dir.join("haproxy.cfg")).unwrap();
    harness.dir.write("broken", "");
    harness.set("/services/web/health_check/interval", json!("3s"));
    harness.write();
    daemon.signal("HUP");
    let words = ["kind=haproxy.reload_failed", "`systemctl reload web.service` fails", "Job for"];
    let failed = daemon.wait(&words, SOON);
    daemon.wait_from(failed, &["kind=haproxy.rolled_back"], secs(5));
    assert!(harness.serves());
    assert_eq!(fs::read(harness.dir.join("haproxy.cfg")).unwrap(), good, "the file is put back");
    fs::remove_file(harness.dir.join("broken")).unwrap();
    daemon.wait_from(failed, &["kind=haproxy.reloaded"], SOON);
    assert!(harness.serves());
    end(daemon, "TERM", secs(5));
}

#[test]
fn without_a_haproxy_nothing_of_it_is_touched_and_replicas_run() {
    let mut harness = Harness::new("nohaproxy");
    harness.set("/load_balancer/mode", json!("none"));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.started"], SOON);
    harness.wait_evaluations(3);
    assert!(!harness.dir.join("haproxy.cfg").exists());
    assert_eq!(harness.haproxies().0, [0; 0]);
    assert_eq!(daemon.count(&["kind=haproxy."]), 0, "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}

/// At once, as an ACME client does.
fn certify(harness: &Harness, name: &str) {
    let (chain, key) = self_signed(&[name]);
    let pem = harness.dir.write("new.pem", &(chain + &key));
    fs::rename(pem, harness.dir.join("site.pem")).unwrap();
}

fn shown_name(harness: &Harness) -> String {
    shown_subject(&harness.front, &[])
}

#[test]
fn https_is_served_and_a_renewed_certificate_is_taken() {
    let mut harness = Harness::new("https");
    certify(&harness, "one.example");
    harness.set("/load_balancer/https_enabled", json!(true));
    harness.set("/load_balancer/cert_path", json!(harness.dir.join("site.pem")));
    let statistics = crate::harness::free_address();
    let port: u16 = statistics.rsplit_once(':').unwrap().1.parse().unwrap();
    harness.set("/load_balancer/stats_port", json!(port));
    let daemon = harness.start();
    let shows = |name: &str| reached(SOON, || shown_name(&harness).contains(name));
    assert!(shows("one.example"), "{:#?}", daemon.lines());
    assert_eq!(fake_http::get(&format!("127.0.0.1:{port}")), Some(200), "statistics");
    // Half written at first: what was good serves on.
    let failed = daemon.lines().len();
    fs::write(harness.dir.join("site.pem"), "-----BEGIN").unwrap();
    daemon.wait_from(failed, &["kind=haproxy.reload_failed", "site.pem"], SOON);
    assert!(shown_name(&harness).contains("one.example"));
    certify(&harness, "two.example");
    assert!(shows("two.example"), "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}
