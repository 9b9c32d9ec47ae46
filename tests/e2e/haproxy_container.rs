//! HAProxy in a container: the host's own program, with the libraries that it needs and nothing
//! else.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::certificate::{self_signed, shown_subject};
use crate::daemon::{Daemon, reached, secs};
use crate::testbed::{HAPROXY, Testbed, everyone, free_port};

/// Made from what is on this host; it goes with its container.
fn image(testbed: &Testbed) -> String {
    // As ldd does, but with the program's own loader: `make test-matrix` has other suites.
    let out = Command::new(HAPROXY).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    let archive = testbed.dir.join("image.tar");
    let packed = Command::new("tar")
        .args(["--dereference", "-cf"])
        .arg(&archive)
        .arg(HAPROXY)
        .args(libraries.filter(|path| Path::new(path).exists()))
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let name = format!("{}-haproxy", testbed.service);
    testbed.docker(&["import", archive.to_str().unwrap(), &name]).expect("an image is imported");
    fs::remove_file(archive).unwrap();
    name
}

/// Ends with the test.
struct Container<'a> {
    testbed: &'a Testbed,
    name: String,
}

impl Container<'_> {
    fn run<'a>(testbed: &'a Testbed, options: &[&str]) -> Container<'a> {
        let name = format!("{}-haproxy", testbed.service);
        let dir = testbed.dir.path().display();
        let volume = format!("{dir}:{dir}");
        let file = format!("{dir}/haproxy.cfg");
        let started = ["run", "-d", "--name", &name, "--network", "host", "-v", &volume];
        let image = image(testbed);
        let command = [image.as_str(), HAPROXY];
        let all = [&started[..], &command, options, &["-f", &file]].concat();
        testbed.docker(&all).expect("it is started");
        Container { testbed, name }
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        drop(self.testbed.docker(&["rm", "-f", &self.name]));
        // Of the same name.
        drop(self.testbed.docker(&["rmi", &self.name]));
    }
}

fn in_container(testbed: &Testbed, service: &str, more: &str) {
    let config = testbed.configure_with(service, more);
    let text = fs::read_to_string(&config).unwrap();
    let keys = format!(
        r#""load_balancer": {{ "mode": "container", "container": "{}-haproxy","#,
        testbed.service
    );
    fs::write(&config, text.replacen(r#""load_balancer": {"#, &keys, 1)).unwrap();
}

const ONE: &str = r#""min_replicas": 1, "max_replicas": 1"#;
const TWO: &str = r#""min_replicas": 2, "max_replicas": 2"#;

#[test]
fn haproxy_in_a_container_is_reloaded_by_a_signal_and_loses_no_request() {
    let testbed = Testbed::new("haproxy_container");
    in_container(&testbed, ONE, "");
    let daemon = Daemon::start(&testbed.dir.join("config.json"));
    let absent = ["kind=haproxy.reload_failed", "no container"];
    daemon.wait(&absent, secs(30));
    // It needs a file to start with.
    testbed.dir.write("haproxy.cfg", &first_file(&testbed));
    let _haproxy = Container::run(&testbed, &["-W", "-db"]);
    testbed.wait_serving(1, secs(90), &daemon);
    let load = everyone(&testbed);
    // A further port takes a reload, a further server none.
    let other = free_port();
    let before = daemon.lines().len();
    in_container(&testbed, TWO, &testbed.other(other));
    daemon.signal("HUP");
    daemon.wait_from(before, &["kind=haproxy.reloaded"], secs(30));
    testbed.wait_serving(2, secs(30), &daemon);
    load.wait_for(secs(10), |c| 200 < c.sent());
    in_container(&testbed, ONE, "");
    daemon.signal("HUP");
    testbed.wait_serving(1, secs(60), &daemon);
    assert!(reached(secs(60), || testbed.containers().len() == 1), "{:#?}", daemon.lines());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

/// As little as HAProxy takes, with the socket that it is asked at.
fn first_file(testbed: &Testbed) -> String {
    let dir = testbed.dir.path().display();
    format!(
        "global\n    stats socket {dir}/haproxy.sock mode 600 level admin expose-fd listeners\n\
         defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    \
         timeout connect 5s\nfrontend none\n    bind 127.0.0.1:{}\n",
        free_port()
    )
}

#[test]
fn a_container_that_cannot_reload_is_recognised() {
    let testbed = Testbed::new("single");
    in_container(&testbed, ONE, "");
    testbed.dir.write("haproxy.cfg", &first_file(&testbed));
    let _haproxy = Container::run(&testbed, &["-db"]);
    let daemon = Daemon::start(&testbed.dir.join("config.json"));
    daemon.wait(&["kind=haproxy.reload_failed", "without -W", "haproxy -W -db -f"], secs(30));
}

/// Whether HTTPS is served with the certificate of this name, before a minute is over.
fn shows(port: u16, name: &str) -> bool {
    let address = format!("127.0.0.1:{port}");
    reached(secs(60), || shown_subject(&address, &[]).contains(name))
}

/// A service, and frontends with this certificate and the folder of an ACME client. Returns the
/// ports of HTTPS and HTTP.
fn with_frontends(testbed: &Testbed, pem: &Path) -> [u16; 2] {
    let [https, http] = [free_port(), free_port()];
    in_container(testbed, ONE, "");
    let config = testbed.dir.join("config.json");
    let keys = format!(
        r#""acme_webroot": "{}", "frontends": {{
             "https": {{ "listen": "127.0.0.1:{https}", "certificates": ["{}"] }},
             "http": {{ "listen": "127.0.0.1:{http}", "redirect": "https" }} }}, "mode""#,
        testbed.dir.join("webroot").display(),
        pem.display()
    );
    let text = fs::read_to_string(&config).unwrap().replacen(r#""mode""#, &keys, 1);
    fs::write(&config, text).unwrap();
    [https, http]
}

/// While its container is stopped HAProxy cannot say that a key is another certificate's, and with
/// such a file it would not start.
#[test]
fn a_certificate_is_not_taken_unseen_while_the_container_is_stopped() {
    let testbed = Testbed::new("container_certificate");
    let (chain, key) = self_signed(&["one.example"]);
    let pem = testbed.dir.write("site.pem", &(chain + &key));
    let webroot = testbed.dir.join("webroot/.well-known/acme-challenge");
    fs::create_dir_all(&webroot).unwrap();
    fs::write(webroot.join("tok"), "tok.thumbprint").unwrap();
    let [port, plain] = with_frontends(&testbed, &pem);
    let config = testbed.dir.join("config.json");
    testbed.dir.write("haproxy.cfg", &first_file(&testbed));
    let haproxy = Container::run(&testbed, &["-W", "-db"]);
    let daemon = Daemon::start(&config);
    assert!(shows(port, "one.example"), "{:#?}", daemon.lines());
    let url = format!("http://127.0.0.1:{plain}/.well-known/acme-challenge/tok");
    let out = Command::new("curl").args(["-s", "--max-time", "5", &url]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "tok.thumbprint");

    testbed.docker(&["stop", "-t", "1", &haproxy.name]).unwrap();
    let from = daemon.lines().len();
    let (other, _) = self_signed(&["two.example"]);
    fs::write(&pem, other + &key).unwrap();
    // It read the file, and could not ask.
    daemon.wait_from(from, &["kind=haproxy.reload_failed"], secs(30));
    testbed.docker(&["start", &haproxy.name]).unwrap();
    assert!(shows(port, "one.example"), "{:#?}", daemon.lines());
    daemon.wait_from(from, &["kind=certificate.rejected", "that of another"], secs(60));
    let (good, key) = self_signed(&["two.example"]);
    fs::write(&pem, good + &key).unwrap();
    assert!(shows(port, "two.example"), "{:#?}", daemon.lines());
}

/// It needs one to start, so the first one is taken unseen. Nothing keeps a wrong one then.
#[test]
fn a_first_certificate_can_be_corrected_before_the_container_runs() {
    let testbed = Testbed::new("first_certificate");
    let (chain, key) = self_signed(&["one.example"]);
    let (_, other) = self_signed(&["two.example"]);
    let pem = testbed.dir.write("site.pem", &(chain.clone() + &other));
    let [port, _] = with_frontends(&testbed, &pem);
    testbed.dir.write("haproxy.cfg", &first_file(&testbed));
    let haproxy = Container::run(&testbed, &["-W", "-db"]);
    testbed.docker(&["stop", "-t", "1", &haproxy.name]).unwrap();
    let daemon = Daemon::start(&testbed.dir.join("config.json"));
    let copy = || {
        let entries = fs::read_dir(testbed.dir.path()).unwrap().flatten();
        let mut texts = entries.filter(|entry| {
            let name = entry.file_name().into_string().unwrap();
            name.starts_with("haproxy.cfg.") && name.ends_with(".pem")
        });
        texts.next().and_then(|entry| fs::read_to_string(entry.path()).ok()).unwrap_or_default()
    };
    let has = |part: &str| reached(secs(60), || copy().contains(part));
    assert!(has(&other) && copy().contains("not validated"), "{:#?}", daemon.lines());
    fs::write(&pem, chain + &key).unwrap();
    assert!(has(&key), "{:#?}", daemon.lines());
    testbed.docker(&["start", &haproxy.name]).unwrap();
    assert!(shows(port, "one.example"), "{:#?}", daemon.lines());
    let is_proven = || !copy().contains("not validated");
    assert!(reached(secs(60), is_proven), "{:#?}", daemon.lines());
    assert!(shown_subject(&format!("127.0.0.1:{port}"), &[]).contains("one.example"));
}
