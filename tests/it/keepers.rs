//! HAProxy that others run, with its certificate and its statistics.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::daemon::{Daemon, PLIMSOLL, reached, secs};
use crate::fake_http;
use crate::stage::{Stage, end};

const SOON: Duration = Duration::from_secs(30);
const HAPROXY: &str = "/usr/sbin/haproxy";

/// Stands for systemd's client: it has HAProxy run as a master with workers, as the unit of its
/// packages does, and fails while the file `broken` is there.
fn put_systemctl(stage: &Stage) {
    let dir = stage.dir.path().display();
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{dir}/asked\n\
         [ -e {dir}/broken ] && echo 'Job for web.service failed.' >&2 && exit 1\n\
         case $1 in\n\
         reload) kill -USR2 \"$(cat {dir}/master)\" ;;\n\
         reload-or-restart) {HAPROXY} -W -D -f {dir}/haproxy.cfg -p {dir}/master </dev/null ;;\n\
         esac\n"
    );
    let path = stage.dir.write("systemctl", &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn start_with_path(stage: &Stage) -> Daemon {
    let mut program = Command::new(PLIMSOLL);
    let path = format!("{}:{}", stage.dir.path().display(), std::env::var("PATH").unwrap());
    program.env("PATH", path);
    Daemon::start_by(program, &stage.write(), &[])
}

#[test]
fn a_unit_of_systemd_is_reloaded_by_systemctl() {
    let mut stage = Stage::new("unit");
    put_systemctl(&stage);
    stage.set("/load_balancer/mode", json!("systemd"));
    stage.set("/load_balancer/unit", json!("web.service"));
    let asked = |stage: &Stage| fs::read_to_string(stage.dir.join("asked")).unwrap_or_default();
    let daemon = start_with_path(&stage);
    stage.wait_served();
    assert_eq!(asked(&stage), "reload-or-restart web.service\n");
    stage.wait_quiet();

    stage.set("/services/web/health_check/interval", json!("2s"));
    stage.write();
    let before = daemon.lines().len();
    daemon.signal("HUP");
    daemon.wait_from(before, &["kind=haproxy.reloaded"], SOON);
    assert!(stage.serves());
    assert_eq!(asked(&stage), "reload-or-restart web.service\nreload web.service\n");

    let good = fs::read(stage.dir.join("haproxy.cfg")).unwrap();
    stage.dir.write("broken", "");
    stage.set("/services/web/health_check/interval", json!("3s"));
    stage.write();
    daemon.signal("HUP");
    let words = ["kind=haproxy.reload_failed", "`systemctl reload web.service` fails", "Job for"];
    let failed = daemon.wait(&words, SOON);
    daemon.wait_from(failed, &["kind=haproxy.rolled_back"], secs(5));
    assert!(stage.serves());
    assert_eq!(fs::read(stage.dir.join("haproxy.cfg")).unwrap(), good, "the file is put back");
    fs::remove_file(stage.dir.join("broken")).unwrap();
    daemon.wait_from(failed, &["kind=haproxy.reloaded"], SOON);
    assert!(stage.serves());
    end(daemon, "TERM", secs(5));
}

#[test]
fn without_a_haproxy_nothing_of_it_is_touched_and_replicas_run() {
    let mut stage = Stage::new("nohaproxy");
    stage.set("/load_balancer/mode", json!("none"));
    let daemon = stage.start();
    daemon.wait(&["kind=replica.started"], SOON);
    stage.wait_looks(3);
    assert!(!stage.dir.join("haproxy.cfg").exists());
    assert_eq!(stage.haproxies().0, [0; 0]);
    assert_eq!(daemon.count(&["kind=haproxy."]), 0, "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}

/// Makes a certificate that is valid for a day, with its key in the same file.
fn certify(stage: &Stage, name: &str) {
    let (key, pem) = (stage.dir.join("key.pem"), stage.dir.join("new.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj"])
        .arg(format!("/CN={name}"))
        .args(["-keyout".as_ref(), key.as_os_str(), "-out".as_ref(), pem.as_os_str()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let both = fs::read_to_string(&pem).unwrap() + &fs::read_to_string(&key).unwrap();
    fs::write(&pem, both).unwrap();
    fs::rename(pem, stage.dir.join("site.pem")).unwrap();
}

/// Whom the certificate names that a client is shown.
fn shown_name(stage: &Stage) -> String {
    let shell = "openssl s_client -connect \"$0\" </dev/null 2>&1 | openssl x509 -noout -subject";
    let out = Command::new("sh").args(["-c", shell, &stage.front]).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

#[test]
fn https_is_served_and_a_renewed_certificate_is_taken() {
    let mut stage = Stage::new("https");
    certify(&stage, "one.example");
    stage.set("/load_balancer/https_enabled", json!(true));
    stage.set("/load_balancer/cert_path", json!(stage.dir.join("site.pem")));
    let statistics = crate::stage::free_address();
    let port: u16 = statistics.rsplit_once(':').unwrap().1.parse().unwrap();
    stage.set("/load_balancer/stats_port", json!(port));
    let daemon = stage.start();
    let shows = |name: &str| reached(SOON, || shown_name(&stage).contains(name));
    assert!(shows("one.example"), "{:#?}", daemon.lines());
    assert_eq!(fake_http::get(&format!("127.0.0.1:{port}")), Some(200), "statistics");
    // Half written at first: what was good serves on.
    let failed = daemon.lines().len();
    fs::write(stage.dir.join("site.pem"), "-----BEGIN").unwrap();
    daemon.wait_from(failed, &["kind=haproxy.reload_failed", "site.pem"], SOON);
    assert!(shown_name(&stage).contains("one.example"));
    certify(&stage, "two.example");
    assert!(shows("two.example"), "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}
