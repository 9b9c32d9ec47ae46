//! Containers that only look like replicas: what their labels say costs nothing.

use crate::daemon::{Daemon, reached, secs};
use crate::site::{IMAGE, Site};

/// Both of our labels, with a number that no name of ours could be read back from.
#[test]
fn a_stranger_with_a_huge_number_starts_no_flood() {
    let site = Site::new("flood");
    let service = format!("io.plimsoll.service={}", site.service);
    let number = "io.plimsoll.replica=1000000000";
    let name = format!("{}-1000000000", site.service);
    let mut run = vec!["run", "-d", "--name", &name, "--label", &service, "--label", number];
    run.push(IMAGE);
    let id = site.docker(&run).expect("docker run");
    let daemon = Daemon::start(&site.configure(r#""min_replicas": 2, "max_replicas": 2"#));
    site.wait_serving(2, secs(40), &daemon);
    let look = format!("service={} wanted=", site.service);
    let looks = daemon.count(&[&look]);
    let mut most = 0;
    let looked = reached(secs(30), || {
        most = most.max(site.containers().len());
        looks + 5 <= daemon.count(&[&look])
    });
    assert!(looked, "{:#?}", daemon.lines());
    // Two replicas, the stranger, and one more if it was ever taken for a replica that goes.
    assert!(most <= 4, "{most} containers: {:#?}", daemon.lines());
    let state = site.docker(&["inspect", "--format", "{{.State.Running}}", id.trim()]);
    assert_eq!(state.as_deref().map(str::trim), Some("true"), "the stranger is gone");
}
