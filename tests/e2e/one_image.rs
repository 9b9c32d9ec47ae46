//! The image of plimsoll and HAProxy with its compose file, by docker compose of both generations.
//! A Debian to build it from is made of this host's own programs.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use crate::compose_real::{FIRST, SECOND};
use crate::daemon::{PLIMSOLL, polled, secs};
use crate::load::Load;
use crate::testbed::{HAPROXY, IMAGE, Testbed, everyone};

/// What the Dockerfile runs, and what it takes.
const PROGRAMS: &[&str] = &[
    "/bin/chmod",
    "/bin/chown",
    "/bin/cp",
    "/bin/grep",
    "/bin/mkdir",
    "/bin/sh",
    "/usr/bin/setpriv",
    "/usr/bin/sleep",
    "/usr/bin/sort",
    "/usr/bin/stat",
    "/usr/bin/tr",
    "/usr/bin/xargs",
    HAPROXY,
];

/// Where the image has plimsoll. Ours is not static, so it is one of the programs too.
const PLACED: &str = "usr/local/bin/plimsoll";

const OK: &str = "HTTP/1.1 200 OK";

fn status_line(mut stream: TcpStream) -> io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

fn run(program: &str, args: &[&str]) -> Output {
    let out = Command::new(program).args(args).output();
    out.unwrap_or_else(|e| panic!("{program}: {e}; run `make setup-test`"))
}

#[track_caller]
fn done(program: &str, args: &[&str]) -> String {
    let out = run(program, args);
    let [said, complaint] = [out.stdout, out.stderr].map(|b| String::from_utf8(b).unwrap());
    assert!(out.status.success(), "{program} {args:?}: {said}{complaint}");
    said
}

/// A project of the compose file. Its images go with it.
struct Project {
    testbed: Testbed,
    compose: &'static str,
    file: &'static str,
}

const BESIDE: &str = "contrib/docker/one/compose.yaml";
/// plimsoll without Docker's socket.
const BEHIND_A_FILTER: &str = "contrib/docker/proxy/compose.yaml";

impl Project {
    fn new(name: &str, compose: &'static str, file: &'static str) -> Project {
        let project = Project { testbed: Testbed::new(name), compose, file };
        project.build();
        project.configure();
        project
    }

    fn at(&self, name: &str) -> String {
        self.testbed.dir.join(name).display().to_string()
    }

    fn build(&self) {
        let (root, context) = (self.at("root"), self.at("context"));
        for folder in [&format!("{root}/usr/local/bin"), &format!("{context}/contrib/docker/one")] {
            fs::create_dir_all(folder).unwrap();
        }
        done("strip", &["-o", &format!("{root}/{PLACED}"), PLIMSOLL]);
        done("cp", &[&format!("{root}/{PLACED}"), &context]);
        let entry = "contrib/docker/one/entry.sh";
        done("cp", &[entry, &format!("{context}/{entry}")]);
        let needs = done("ldd", &[PROGRAMS, &[PLIMSOLL]].concat());
        // Also of an HAProxy that has its libraries beside it.
        let is_file = |w: &&str| w.starts_with('/') && !w.ends_with(':');
        let mut files: Vec<_> = needs.split_whitespace().filter(is_file).collect();
        files.extend(PROGRAMS);
        files.sort_unstable();
        files.dedup();
        done("cp", &[&["-L", "--parents", "-t", &root][..], &files].concat());
        let archive = self.at("base.tar");
        done("tar", &["-C", &root, "-cf", &archive, "."]);
        let (base, image) = (self.tag("base"), self.tag("one"));
        done("docker", &["import", &archive, &base]);
        let base = format!("BASE={base}");
        let more = format!("MORE=/{PLACED}");
        let file = "contrib/docker/one/Dockerfile";
        let args = ["build", "-t", &image, "--build-arg", &base, "--build-arg", &more, "-f", file];
        done("docker", &[&args[..], &[&context]].concat());
        fs::remove_file(archive).unwrap();
    }

    fn tag(&self, of: &str) -> String {
        format!("{}-{of}:1", self.testbed.service)
    }

    /// The one beside the compose file, for quick looks.
    fn configure(&self) {
        let text = fs::read_to_string("contrib/docker/one/etc/config.json").unwrap();
        let name = format!("\"project\": \"{}\"", self.testbed.service);
        let text = text.replace("\"project\": \"shop\"", &name);
        let quick = "\"cooldown_period\": 1, \"health_check\": { \"interval\": 1, ";
        let text = text.replace("\"health_check\": { ", quick);
        assert!(text.contains(&name) && text.contains(quick), "{text}");
        let quick = "{ \"autoscaler\": { \"check_interval\": 1 },";
        fs::create_dir(self.at("etc")).unwrap();
        fs::write(self.at("etc/config.json"), text.replacen("\n{", &format!("\n{quick}"), 1))
            .unwrap();
    }

    #[track_caller]
    fn compose(&self, args: &[&str]) -> String {
        let mut command = Command::new(self.compose);
        command.args(["-p", &self.testbed.service, "-f", self.file]);
        command.args(args).env("APP_IMAGE", IMAGE).env("PLIMSOLL_IMAGE", self.tag("one"));
        command.env("LISTEN", self.testbed.address().to_string()).env("CONFIG", self.at("etc"));
        let out = command.output().unwrap_or_else(|e| {
            panic!("{}: {e}; run `make setup-test`", self.compose);
        });
        let [said, complaint] = [out.stdout, out.stderr].map(|b| String::from_utf8(b).unwrap());
        assert!(out.status.success(), "{args:?}: {said}{complaint}");
        said
    }

    /// The container of plimsoll and HAProxy, once it runs.
    fn up(&self) -> String {
        self.compose(&["up", "-d"]);
        self.compose(&["ps", "-q", "plimsoll"]).trim().to_owned()
    }

    /// Until HAProxy serves, as a started container's own does not at once.
    #[track_caller]
    fn wait_serving(&self, container: &str) {
        let answers = || self.begin("/").and_then(status_line).is_ok_and(|line| line == OK);
        assert!(polled(secs(40), secs(1) / 4, answers), "{}", Project::log(container));
    }

    fn begin(&self, path: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.testbed.address())?;
        stream.set_read_timeout(Some(secs(20)))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    /// Until so many replicas are ready, and so many are desired.
    #[track_caller]
    fn wait_ready(container: &str, count: &str) {
        let mut said = String::new();
        let is_so = polled(secs(40), secs(1) / 4, || {
            let out = run("docker", &["exec", container, "plimsoll", "status"]);
            said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
            let row = said.lines().find(|line| line.starts_with("web "));
            let words: Vec<_> = row.unwrap_or_default().split_whitespace().take(3).collect();
            words == ["web", count, count]
        });
        assert!(is_so, "{said}\n{}", Project::log(container));
    }

    fn log(container: &str) -> String {
        String::from_utf8(run("docker", &["logs", container]).stderr).unwrap()
    }

    /// No request failed, and the processes are as they should be.
    #[track_caller]
    fn stop_whole(load: Load, container: &str) {
        let counts = load.stop();
        assert_eq!(counts.failed(), 0, "{counts}\n{}", Project::log(container));
        Project::check_processes(container);
    }

    /// Neither plimsoll nor HAProxy is root's, and no ended process stays.
    #[track_caller]
    fn check_processes(container: &str) {
        let rows = done("docker", &["top", container, "-eo", "pid,uid,stat,comm"]);
        let of = |name: &str| rows.lines().filter(|row| row.ends_with(name)).collect::<Vec<_>>();
        for name in ["plimsoll", "haproxy"] {
            let rows = of(name);
            let is_users = |row: &&str| row.split_whitespace().nth(1) == Some("10001");
            assert!(!rows.is_empty() && rows.iter().all(is_users), "{name}: {rows:?}");
        }
        assert!(!rows.contains("defunct"), "{rows}");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let label = format!("label=com.docker.compose.project={}", self.testbed.service);
        let ids = self.testbed.docker(&["ps", "-aq", "--filter", &label]).unwrap_or_default();
        for id in ids.lines() {
            drop(self.testbed.docker(&["rm", "-f", "-v", id]));
        }
        let name = &self.testbed.service;
        for volume in ["state", "docker-filter"] {
            drop(self.testbed.docker(&["volume", "rm", &format!("{name}_{volume}")]));
        }
        drop(self.testbed.docker(&["network", "rm", &format!("{name}_default")]));
        drop(self.testbed.docker(&["rmi", &self.tag("one"), &self.tag("base")]));
    }
}

fn live_with(compose: &'static str, name: &str, file: &'static str) {
    let project = Project::new(name, compose, file);
    let container = project.up();
    let wait_ready = |count| Project::wait_ready(&container, count);
    project.wait_serving(&container);
    wait_ready("1");
    let scale = |n| project.compose(&["exec", "-T", "plimsoll", "plimsoll", "scale", "web", n]);
    let load = everyone(&project.testbed);
    scale("3");
    wait_ready("3");
    load.wait_for(secs(10), |c| 100 < c.sent());
    scale("1");
    wait_ready("1");
    Project::stop_whole(load, &container);
    done("docker", &["exec", &container, "entry.sh", "doctor"]);

    let slow = project.begin("/slow?ms=2000").unwrap();
    done("docker", &["stop", &container]);
    assert_eq!(status_line(slow).unwrap(), OK, "of the stopped container");
    let ended = ["inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", &container];
    assert_eq!(done("docker", &ended).trim(), "0 false");
    assert_eq!(project.up(), container);
    project.wait_serving(&container);
    wait_ready("1");

    // A daemon that dies takes nothing with it.
    let load = everyone(&project.testbed);
    let rows = done("docker", &["top", &container, "-eo", "pid,comm"]);
    let daemon = rows.lines().find(|row| row.ends_with("plimsoll")).unwrap();
    done("kill", &["-KILL", daemon.split_whitespace().next().unwrap()]);
    let again = "it is started again";
    let log = || Project::log(&container);
    assert!(polled(secs(20), secs(1) / 4, || log().contains(again)), "{}", log());
    wait_ready("1");
    Project::stop_whole(load, &container);
    let health = ["inspect", "--format", "{{.State.Health.Status}}", &container];
    let is_healthy = || done("docker", &health).trim() == "healthy";
    assert!(polled(secs(40), secs(1), is_healthy), "{}", done("docker", &health));
}

#[test]
fn one_container_scales_the_app_beside_it_with_the_first_compose() {
    live_with(FIRST, "one-first", BESIDE);
}

#[test]
fn one_container_scales_the_app_beside_it_with_the_second_compose() {
    live_with(SECOND, "one-second", BESIDE);
}

#[test]
fn a_filter_of_calls_in_another_container_is_enough_with_the_first_compose() {
    live_with(FIRST, "filter-first", BEHIND_A_FILTER);
}

#[test]
fn a_filter_of_calls_in_another_container_is_enough_with_the_second_compose() {
    live_with(SECOND, "filter-second", BEHIND_A_FILTER);
}

#[test]
fn without_the_right_to_dockers_socket_it_says_how_to_give_it() {
    let project = Project::new("one-socket", SECOND, BESIDE);
    let image = project.tag("one");
    let socket = "/var/run/docker.sock:/var/run/docker.sock";
    for (args, words) in [
        (&["--user", "12345:12345", "-v", socket][..], "--group-add "),
        (&[], "is no socket; mount it: -v /var/run/docker.sock"),
    ] {
        let out = run("docker", &[&["run", "--rm"], args, &[&image]].concat());
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(1) && said.contains(words), "{out:?}");
    }
}
