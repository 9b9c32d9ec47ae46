//! Containers that only look like replicas: what their labels say costs nothing.

use std::fs;
use std::path::Path;

use crate::compose::Project;
use crate::daemon::{Daemon, reached, secs};
use crate::testbed::{IMAGE, Testbed};

/// Both of our labels, with a number that no name of ours could be read back from.
#[test]
fn a_stranger_with_a_huge_number_starts_no_flood() {
    let testbed = Testbed::new("flood");
    let service = format!("io.plimsoll.service={}", testbed.service);
    let number = "io.plimsoll.replica=1000000000";
    let name = format!("{}-1000000000", testbed.service);
    let mut run = vec!["run", "-d", "--name", &name, "--label", &service, "--label", number];
    run.push(IMAGE);
    let id = testbed.docker(&run).expect("docker run");
    let daemon = Daemon::start(&testbed.configure(TWO));
    testbed.wait_serving(2, secs(40), &daemon);
    // Two replicas, the stranger, and one more if it was ever taken for a replica that goes.
    assert_few(&daemon, &testbed.service, 4, || testbed.containers().len());
    let state = testbed.docker(&["inspect", "--format", "{{.State.Running}}", id.trim()]);
    assert_eq!(state.as_deref().map(str::trim), Some("true"), "the stranger is gone");
}

const TWO: &str = r#""min_replicas": 2, "max_replicas": 2"#;

/// For five evaluations there are never more containers than this.
#[track_caller]
fn assert_few(daemon: &Daemon, service: &str, few: usize, count: impl Fn() -> usize) {
    let look = format!("service={service} desired=");
    let looks = daemon.count(&[&look]);
    let mut most = 0;
    let looked = reached(secs(30), || {
        most = most.max(count());
        looks + 5 <= daemon.count(&[&look])
    });
    assert!(looked, "{:#?}", daemon.lines());
    assert!(most <= few, "{most} containers: {:#?}", daemon.lines());
}

/// An image as it is committed from a container of a project's, whose number is the highest that
/// there may be. It goes with the project.
struct Committed {
    image: String,
    project: Project,
}

impl Committed {
    /// `more` are labels beside project, service and number of compose's and the service of ours.
    fn new(name: &str, more: &[&str]) -> Committed {
        let project = Project::new(name);
        let testbed = &project.testbed;
        let image = format!("{}:1", project.name);
        let mut labels = vec![
            format!("com.docker.compose.project={}", project.name),
            "com.docker.compose.service=web".to_owned(),
            "com.docker.compose.container-number=1000000000".to_owned(),
            format!("io.plimsoll.service={}", testbed.service),
        ];
        labels.extend(more.iter().map(|label| (*label).to_owned()));
        let id = testbed.docker(&["create", IMAGE]).expect("docker create");
        let label = format!("LABEL {}", labels.join(" "));
        let made = testbed.docker(&["commit", "--change", &label, id.trim(), &image]);
        testbed.docker(&["rm", "-v", id.trim()]).expect("docker rm");
        made.expect("docker commit");
        Committed { image, project }
    }

    /// Started by hand under a name that the labels of its image would make it have.
    fn run(&self, name: &str) -> String {
        let args = ["run", "-d", "--name", name, "--network", &self.project.name, &self.image];
        self.project.testbed.docker(&args).expect("docker run").trim().to_owned()
    }

    /// Neither ended, restarted nor renamed.
    fn state(&self, id: &str) -> String {
        let format = "{{.Name}} {{.State.Running}} {{.State.StartedAt}} {{.RestartCount}}";
        self.project.testbed.docker(&["inspect", "--format", format, id]).unwrap_or_default()
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        self.project.testbed.clean_up();
        drop(self.project.testbed.docker(&["rmi", &self.image]));
    }
}

const HASH: [&str; 2] = ["com.docker.compose.config-hash=5a5a", "com.docker.compose.oneoff=False"];
const NUMBER: &str = "io.plimsoll.replica=1000000000";

#[track_caller]
fn assert_untouched(committed: &Committed, config: &Path, name: &str) {
    let testbed = &committed.project.testbed;
    let id = committed.run(name);
    let before = committed.state(&id);
    let daemon = Daemon::start(config);
    testbed.wait_serving(2, secs(40), &daemon);
    // Two replicas, the stranger, and one that is on its way.
    assert_few(&daemon, &testbed.service, 4, || committed.project.containers().len());
    assert_eq!(committed.state(&id), before, "{:#?}", daemon.lines());
    assert!(!testbed.serving().contains(&name.to_owned()), "{:?}", testbed.serving());
}

#[test]
fn a_container_whose_labels_came_with_its_image_is_no_replica_of_ours() {
    for more in [&[][..], &[NUMBER], &[NUMBER, HASH[0], HASH[1]]] {
        let committed = Committed::new("committed", more);
        let testbed = &committed.project.testbed;
        let name = format!("{}-1000000000", testbed.service);
        let config = testbed.configure(TWO);
        assert_untouched(&committed, &config, &name);
    }
}

#[test]
fn a_container_whose_labels_came_with_its_image_is_no_replica_of_composes() {
    for more in [&[][..], &[NUMBER, HASH[0], HASH[1]]] {
        let committed = Committed::new("committed-compose", more);
        let project = &committed.project;
        project.run(1, &[]);
        let config = project.configure(TWO);
        assert_untouched(&committed, &config, &format!("{}-web-1000000000", project.name));
        let names = project.containers();
        for number in [1, 2] {
            let name = format!("{}-web-{number}", project.name);
            assert!(names.contains(&name), "no {name} in {names:?}");
        }
    }
}

/// What compose's labels in the image say must not be taken for what its replicas are.
#[test]
fn a_service_whose_image_was_committed_from_a_container_of_composes_gets_its_replicas() {
    let committed = Committed::new("committed-image", &HASH);
    let testbed = &committed.project.testbed;
    let config = testbed.configure(TWO);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(IMAGE, &committed.image)).unwrap();
    let daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(40), &daemon);
    assert_few(&daemon, &testbed.service, 2, || committed.project.containers().len());
    let names = ["1", "2"].map(|number| format!("{}-{number}", testbed.service));
    assert_eq!(committed.project.containers(), names);
    // The next daemon knows them by what they are, as the first one did.
    daemon.kill();
    fs::remove_dir_all(testbed.dir.join("state")).unwrap();
    let daemon = Daemon::start(&config);
    daemon.wait(&["kind=daemon.started"], secs(10));
    testbed.wait_serving(2, secs(40), &daemon);
    assert_few(&daemon, &testbed.service, 2, || committed.project.containers().len());
    assert_eq!(committed.project.containers(), names);
}
