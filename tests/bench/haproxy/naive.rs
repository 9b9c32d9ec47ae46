//! The way that suggests itself: stop the container, write the file without it, reload with `-sf`;
//! start it, write the file with it, reload. The file is the one that plimsoll rendered.

use std::fs;
use std::process::Command;

use crate::daemon::{reached, secs};
use crate::fleet::{Lane, Remains};
use crate::testbed::HAPROXY;

/// A replica goes and comes back, service by service. Gives how many events there were.
pub(crate) fn run(remains: &Remains, events: u32) -> u32 {
    // What servers were like when plimsoll reloaded last is of no use to whoever does not save it.
    drop(fs::remove_file(remains.testbed.dir.join("haproxy.cfg.state")));
    let pairs = events.div_ceil(2);
    for lane in remains.lanes.iter().cycle().take(pairs as usize) {
        out_and_in(remains, lane);
    }
    2 * pairs
}

fn out_and_in(remains: &Remains, lane: &Lane) {
    let (testbed, path) = (&remains.testbed, remains.testbed.dir.join("haproxy.cfg"));
    let name = testbed.serving_for(&lane.service).pop().expect("a replica serves");
    let before = fs::read_to_string(&path).unwrap();
    let start = format!("    server {name} ");
    let line = before.lines().find(|l| l.starts_with(&start)).expect("it is in the file");

    testbed.docker(&["stop", "--time", "1", &name]).expect("docker stops it");
    fs::write(&path, before.replace(&format!("{line}\n"), "")).unwrap();
    reload(remains);

    testbed.docker(&["start", &name]).expect("docker starts it");
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = testbed.docker(&["inspect", "--format", address, &name]).unwrap();
    let new = format!("{start}{}:8080", address.trim());
    fs::write(&path, before.replace(line, &new)).unwrap();
    reload(remains);
    let up = || testbed.serving_for(&lane.service).contains(&name);
    assert!(reached(secs(30), up), "{name} does not come back");
}

fn reload(remains: &Remains) {
    let testbed = &remains.testbed;
    let old: Vec<String> = testbed.haproxy_pids().iter().map(u32::to_string).collect();
    let mut command = Command::new(HAPROXY);
    command.arg("-D").arg("-f").arg(testbed.dir.join("haproxy.cfg"));
    command.arg("-p").arg(testbed.dir.join("haproxy.pid")).arg("-sf").args(old);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
