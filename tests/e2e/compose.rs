//! Services that docker compose started. Its own commands are played by `docker run` and
//! `docker rm`, with the labels that compose gives its containers.

use std::fs;
use std::path::PathBuf;

use crate::daemon::{Daemon, reached, secs};
use crate::testbed::{IMAGE, Testbed, everyone};

/// A project of one service `web`, with a network of its own. Gone when it is dropped.
pub(crate) struct Project {
    pub(crate) testbed: Testbed,
    pub(crate) name: String,
}

impl Project {
    pub(crate) fn new(name: &str) -> Project {
        let testbed = Testbed::new(name);
        let name = testbed.service.clone();
        assert!(testbed.docker(&["network", "create", &name]).is_some());
        Project { testbed, name }
    }

    /// As `docker compose up` makes it.
    pub(crate) fn run(&self, number: u32, more: &[&str]) {
        self.run_image(number, more, &[IMAGE]);
    }

    fn run_image(&self, number: u32, more: &[&str], image_and_command: &[&str]) {
        let container = format!("{}-web-{number}", self.name);
        let labels = [
            ("project", self.name.clone()),
            ("service", "web".to_owned()),
            ("container-number", number.to_string()),
            ("config-hash", "5a5a".to_owned()),
            ("oneoff", "False".to_owned()),
        ];
        let labels = labels.map(|(key, value)| format!("com.docker.compose.{key}={value}"));
        let mut args = vec!["run", "-d", "--name", &container, "--network", &self.name];
        args.extend(["--network-alias", "web", "--env", "COLOUR=blue"]);
        args.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
        args.extend(more);
        args.extend(image_and_command);
        assert!(self.testbed.docker(&args).is_some(), "{container} does not start");
    }

    fn remove(&self, number: u32) {
        let container = format!("{}-web-{number}", self.name);
        assert!(self.testbed.docker(&["rm", "-f", "-v", &container]).is_some());
    }

    pub(crate) fn configure(&self, keys: &str) -> PathBuf {
        let path = self.testbed.configure(keys);
        let text = fs::read_to_string(&path).unwrap();
        let compose = format!(r#""compose": {{ "project": "{}", "service": "web" }}"#, self.name);
        fs::write(&path, text.replace(&format!(r#""image": "{IMAGE}""#), &compose)).unwrap();
        path
    }

    pub(crate) fn containers(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let out = self.testbed.docker(&["ps", "-a", "--filter", &label, "--format", "{{.Names}}"]);
        let mut names: Vec<String> = out.unwrap().lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    fn named(&self, numbers: &[u32]) -> Vec<String> {
        numbers.iter().map(|n| format!("{}-web-{n}", self.name)).collect()
    }

    fn inspect(&self, number: u32, format: &str) -> String {
        let container = format!("{}-web-{number}", self.name);
        self.testbed.docker(&["inspect", "--format", format, &container]).unwrap().trim().to_owned()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let ids = self.testbed.docker(&["ps", "-aq", "--filter", &label]).unwrap_or_default();
        for id in ids.lines() {
            drop(self.testbed.docker(&["rm", "-f", "-v", id]));
        }
        drop(self.testbed.docker(&["network", "rm", &self.name]));
    }
}

#[test]
fn a_service_of_compose_gets_replicas_like_its_own_and_loses_them_again() {
    let project = Project::new("compose");
    project.run(1, &[]);
    let keys = |n: u32| {
        format!(
            r#""min_replicas": {n}, "max_replicas": {n}, "drain_timeout": 20,
               "cooldown_period": {{ "up": 3, "down": 1 }}"#
        )
    };
    let daemon = Daemon::start(&project.configure(&keys(2)));
    project.testbed.wait_serving(2, secs(60), &daemon);
    assert_eq!(project.containers(), project.named(&[1, 2]));
    for format in [
        "{{.Config.Image}} {{json .Config.Env}} {{.HostConfig.NetworkMode}}",
        r#"{{index .Config.Labels "com.docker.compose.config-hash"}}"#,
        r#"{{index .Config.Labels "com.docker.compose.project"}}"#,
    ] {
        assert_eq!(project.inspect(1, format), project.inspect(2, format), "{format}");
    }
    let aliases =
        format!("{{{{json (index .NetworkSettings.Networks \"{}\").Aliases}}}}", project.name);
    assert!(project.inspect(2, &aliases).contains(r#""web""#), "{}", project.inspect(2, &aliases));
    let load = everyone(&project.testbed);
    project.configure(&keys(1));
    daemon.signal("HUP");
    project.testbed.wait_serving(1, secs(60), &daemon);
    assert!(reached(secs(30), || project.containers() == project.named(&[1])));
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "requests were lost:\n{counts}");
    assert!(20 <= counts.sent(), "hardly any traffic:\n{counts}");
}

#[test]
fn what_compose_removes_is_answered_after_a_cooldown() {
    let project = Project::new("compose-up");
    project.run(1, &[]);
    let daemon = Daemon::start(&project.configure(
        r#""min_replicas": 2, "max_replicas": 2, "cooldown_period": { "up": 4, "down": 1 }"#,
    ));
    project.testbed.wait_serving(2, secs(60), &daemon);
    project.remove(2);
    daemon.wait(&["docker compose set it to 1"], secs(30));
    assert!(reached(secs(60), || project.containers() == project.named(&[1, 3])));
    project.testbed.wait_serving(2, secs(60), &daemon);
}

#[test]
fn a_container_that_cannot_have_a_second_one_is_reported_and_left_alone() {
    let project = Project::new("compose-port");
    let port = format!("127.0.0.1:{}:8080", crate::testbed::free_port());
    project.run(1, &["--publish", &port]);
    let daemon = Daemon::start(&project.configure(r#""min_replicas": 2, "max_replicas": 2"#));
    daemon.wait(
        &["kind=replica.failed", "publishes the fixed host port", "remove `ports`"],
        secs(30),
    );
    assert_eq!(project.containers(), project.named(&[1]));
    assert_eq!(project.inspect(1, "{{.State.Running}}"), "true");
}

#[test]
fn the_last_container_stays_where_the_others_go_during_its_hook() {
    let project = Project::new("compose-last");
    let bed = &project.testbed;
    let app = crate::hooks::app_of(bed);
    let out = bed.dir.join("out");
    fs::create_dir(&out).unwrap();
    let mounts = [format!("{app}:/bin/app:ro"), format!("{}:/out", out.display())];
    let mounts = mounts.each_ref().map(String::as_str);
    for number in [1, 2] {
        let more = ["-v", mounts[0], "-v", mounts[1]];
        project.run_image(number, &more, &[crate::hooks::SHELL_IMAGE, "/bin/app"]);
    }
    let keys = |n: u32| {
        format!(
            r#""min_replicas": {n}, "max_replicas": {n}, "cooldown_period": 1, "hooks": {{
               "before_stop": ["sh", "-c", "echo begun > /out/begun; sleep 4"] }}"#
        )
    };
    let daemon = Daemon::start(&project.configure(&keys(2)));
    bed.wait_serving(2, secs(60), &daemon);
    project.configure(&keys(1));
    daemon.signal("HUP");
    assert!(reached(secs(60), || out.join("begun").exists()), "{:#?}", daemon.lines());
    let served = |n: u32| [format!("{}-{n}", bed.service)];
    assert_eq!(bed.serving(), served(1));
    let id = project.inspect(2, "{{.Id}} true");
    project.remove(1);
    let is_back = || bed.serving() == served(2) && project.containers() == project.named(&[2]);
    assert!(reached(secs(60), is_back), "{:?} {:#?}", project.containers(), daemon.lines());
    assert_eq!(project.inspect(2, "{{.Id}} {{.State.Running}}"), id);
}
