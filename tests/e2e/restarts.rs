//! Docker's own restart policy: the replica stays, and each death is reported.

use crate::daemon::{Daemon, reached, secs};
use crate::load::{Kind, Load};
use crate::testbed::{Testbed, clients};

#[test]
fn a_replica_that_docker_starts_again_and_again_stays_and_is_reported() {
    let testbed = Testbed::new("policy");
    let config = testbed.configure(r#""min_replicas": 2, "max_replicas": 2, "restart": "always""#);
    let daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(20), &daemon);
    let before = testbed.containers();
    let (victim, name, _) = before[0].clone();
    let client = Load::start(testbed.address(), clients(2, Kind::KeepAlive, "/", 5));
    for death in 1..=5 {
        testbed.crash(&victim);
        let words = ["kind=replica.exited", &format!("replica={name}"), "it is started again"];
        assert!(reached(secs(20), || daemon.count(&words) == death), "{:#?}", daemon.lines());
        testbed.wait_serving(2, secs(30), &daemon);
    }
    daemon.wait(&["kind=health.crash_loop", "5 times within 10 minutes"], secs(5));
    assert_eq!(daemon.count(&["kind=health.replaced"]), 0, "{:#?}", daemon.lines());
    let ids =
        |all: &[(String, String, String)]| all.iter().map(|c| c.0.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&testbed.containers()), ids(&before));
    // What was in the hands of the killed one: a request of each client.
    let outcome = client.stop();
    assert!(outcome.failed() <= 10, "{} of {}", outcome.failed(), outcome.sent());
}
