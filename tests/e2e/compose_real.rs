//! Docker compose itself, of both generations, on a project whose service plimsoll scales: it is
//! never fought, and nothing is lost but what it removes by itself.

use std::process::Command;

use crate::daemon::{Daemon, reached, secs};
use crate::fleet::{Fleet, Ledger, Member, Owner};
use crate::load::Kind;

/// Where `make setup-test` puts that of Debian 13.
pub(crate) const SECOND: &str =
    "/var/cache/plimsoll/compose-2.26/usr/libexec/docker/cli-plugins/docker-compose";
/// Debian 12's package, which is not called `docker compose` either.
pub(crate) const FIRST: &str = "/usr/bin/docker-compose";

struct Project<'a> {
    fleet: &'a Fleet,
    member: &'a Member,
    program: &'static str,
}

/// One command, and how the service is once that has settled.
struct Step {
    args: &'static [&'static str],
    serving: std::ops::RangeInclusive<usize>,
    /// Whether the containers that there were are there still, and no others.
    keeps: bool,
    /// None where compose stops all that could answer.
    failed_max: Option<u64>,
    status: &'static str,
    /// Of what is written in the file, so that a step may change it.
    colour: &'static str,
}

const fn step(
    args: &'static [&'static str],
    serving: std::ops::RangeInclusive<usize>,
    keeps: bool,
    failed_max: Option<u64>,
) -> Step {
    Step { args, serving, keeps, failed_max, status: "", colour: "red" }
}

/// Clients whose requests take 200 ms: a dead server, which is idle, would be the
/// first choice for all of them.
const SLOW: usize = 6;
const QUICK: usize = 2;
/// One request of each client.
const IN_HANDS: u64 = (SLOW + QUICK) as u64;

const STOPPED: &str = "stopped by compose";

fn steps() -> Vec<Step> {
    vec![
        // It takes away the clones, each with what it has in hand: one request of each client.
        step(&["up", "-d"], 1..=3, false, Some(IN_HANDS)),
        step(&["up", "-d", "--scale", "web=3"], 3..=3, false, Some(0)),
        // Compose makes all anew, one after the other or all at once, as its generation does.
        Step { colour: "blue", ..step(&["up", "-d", "--scale", "web=3"], 3..=3, false, None) },
        step(&["restart", "-t", "1"], 3..=3, true, None),
        step(&["pause"], 0..=3, true, None),
        step(&["unpause"], 3..=3, true, None),
        Step { status: STOPPED, ..step(&["stop", "-t", "1"], 0..=0, true, None) },
        step(&["start"], 3..=3, true, None),
        Step { status: STOPPED, ..step(&["kill"], 0..=0, true, None) },
        step(&["start"], 3..=3, true, None),
        step(&["up", "-d", "--force-recreate", "--scale", "web=3"], 3..=3, false, None),
        step(&["rm", "-sf"], 0..=0, false, None),
        step(&["up", "-d"], 1..=3, false, None),
        step(&["down", "-t", "1"], 0..=0, false, None),
    ]
}

/// Compose 1.29 cannot make a container anew on Docker 25 or later, which does not tell the
/// `ContainerConfig` of an image that it asks for.
fn can_recreate(program: &str, fleet: &Fleet) -> bool {
    let version = fleet.testbed.docker(&["version", "--format", "{{.Server.Version}}"]).unwrap();
    let major: u32 = version.split('.').next().unwrap().parse().unwrap();
    program != FIRST || major < 25
}

impl Project<'_> {
    fn write(&self, colour: &str) {
        let (name, value) = self.fleet.label();
        let text = format!(
            "version: '3.3'\nservices:\n  web:\n    image: {image}\n    stop_grace_period: 1s\n    \
             environment: {{ COLOUR: {colour} }}\n    labels: {{ {name}: {value} }}\n",
            image = self.fleet.image,
        );
        self.fleet.testbed.dir.write("compose.yaml", &text);
    }

    #[track_caller]
    fn run(&self, args: &[&str]) {
        let file = self.fleet.testbed.dir.join("compose.yaml");
        let mut command = Command::new(self.program);
        command.arg("-p").arg(&self.member.name).arg("-f").arg(file).args(args);
        let out = command.output().unwrap_or_else(|e| {
            panic!("{}: {e}; run `make setup-test`", self.program);
        });
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn serving(&self) -> usize {
        self.fleet.serving().get(&self.member.name).map_or(0, Vec::len)
    }

    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.fleet.rows().into_iter().map(|row| row.id).collect();
        ids.sort();
        ids
    }

    /// This many evaluations during which no container came or went.
    #[track_caller]
    fn wait_rest(&self, ledger: &Ledger, daemon: &Daemon, what: &[&str]) {
        let look = format!("service={} desired=", self.member.name);
        let changes = || ledger.entries().len();
        let mut seen = changes();
        let mut since = daemon.count(&[&look]);
        let rested = reached(secs(45), || {
            let now = changes();
            let looks = daemon.count(&[&look]);
            if now != seen {
                (seen, since) = (now, looks);
            }
            since + 6 <= looks
        });
        let entries = ledger.entries();
        assert!(rested, "no rest after {what:?}: {entries:#?}\n{:#?}", daemon.lines());
    }
}

fn live_with(program: &'static str, name: &str) {
    let mut fleet = Fleet::new(name);
    fleet.add("shop", Owner::Compose, 1, 1);
    let ledger = fleet.ledger();
    let (fleet, member) = (&fleet, &fleet.members[0]);
    let project = Project { fleet, member, program };
    project.write("red");
    project.run(&["up", "-d"]);
    for row in fleet.rows() {
        fleet.note_volumes(&row.id);
    }
    let keys = r#""min_replicas": 1, "max_replicas": 3,
        "scale_up_threshold": 5000, "scale_down_threshold": 0"#;
    let daemon = Daemon::start(&fleet.configure(|_| keys.to_owned()));
    assert!(reached(secs(60), || project.serving() == 1), "{:#?}", daemon.lines());
    let said = fleet.ask(&["scale", &member.name, "3"]);
    assert!(reached(secs(60), || project.serving() == 3), "{said}{:#?}", daemon.lines());
    let quick = member.load(Kind::KeepAlive, "/", QUICK, 50);
    let slow = member.load(Kind::Slow, "/slow?ms=200", SLOW, 0);
    let counts = || (quick.counts().failed() + slow.counts().failed(), slow.counts());
    let mut complaints = Vec::new();
    let can_recreate = can_recreate(program, fleet);
    for step in steps().into_iter().filter(|step| can_recreate || step.keeps) {
        let ids = project.ids();
        let failed = counts().0;
        let line = daemon.lines().len();
        project.write(step.colour);
        project.run(step.args);
        let is_so = || step.serving.contains(&project.serving());
        let mut complain = |what: String| complaints.push(format!("{:?}: {what}", step.args));
        if !reached(secs(40), is_so) {
            complain(format!("{} serve, not {:?}", project.serving(), step.serving));
        }
        project.wait_rest(&ledger, &daemon, step.args);
        if !is_so() {
            complain(format!("{} serve later, not {:?}", project.serving(), step.serving));
        }
        if step.keeps && ids != project.ids() {
            complain("containers came or went".to_owned());
        }
        let failed = counts().0 - failed;
        println!("{name} {:?}: {failed} requests failed", step.args);
        if step.failed_max.is_some_and(|max| max < failed) {
            complain(format!("{failed} requests failed, of the slow: {}", counts().1));
        }
        // A stop is not taken for the last word at once: it may be half of a restart.
        let status = || fleet.ask(&["status", &member.name]);
        if !reached(secs(20), || status().contains(step.status)) {
            complain(format!("status does not say {:?}: {}", step.status, status()));
        }
        let lines = daemon.lines();
        let errors = lines[line..].iter().filter(|l| l.contains(" error ") || l.contains(" warn "));
        let errors: Vec<_> = errors.collect();
        // One for each container at most, and not one for each evaluation.
        if 6 < errors.len() {
            complain(format!("{} warnings: {errors:#?}", errors.len()));
        }
    }
    complaints.extend(fleet.volumes_lost().into_iter().map(|v| format!("volume {v} lost")));
    project.run(&["down", "-v"]);
    println!("{name}: {} complaints\n{}", complaints.len(), complaints.join("\n"));
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn docker_compose_of_the_second_generation_is_never_fought() {
    live_with(SECOND, "compose2");
}

#[test]
fn docker_compose_of_the_first_generation_is_never_fought() {
    live_with(FIRST, "compose1");
}
