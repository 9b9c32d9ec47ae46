//! A service that is called otherwise from now on: its clients do not notice.

use crate::daemon::{Daemon, secs};
use crate::testbed::{Testbed, everyone};

/// Containers of a service that left the config go with the test.
pub(crate) struct Left<'a>(pub(crate) &'a Testbed, pub(crate) String);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.remove_containers(&self.1);
    }
}

fn a_rename_costs_no_request(remove_orphans: bool) {
    let keys = r#""min_replicas": 2, "max_replicas": 2,
               "environment": { "START_DELAY_MS": "3000" }"#;
    let mut testbed = Testbed::new("rename");
    let configure = |testbed: &Testbed| {
        let config = testbed.configure(keys);
        let text = std::fs::read_to_string(&config).unwrap();
        let key = format!(r#""autoscaler": {{ "remove_orphans": {remove_orphans},"#);
        std::fs::write(&config, text.replacen(r#""autoscaler": {"#, &key, 1)).unwrap();
        config
    };
    let daemon = Daemon::start(&configure(&testbed));
    testbed.wait_serving(2, secs(60), &daemon);
    let load = everyone(&testbed);
    let old = testbed.service.clone();
    testbed.service = format!("{old}-new");
    let _left = Left(&testbed, old.clone());
    configure(&testbed);
    daemon.signal("HUP");
    let name = format!("service={old} ");
    let words = ["kind=service.orphaned", &name, "keep serving"];
    daemon.wait(&words, secs(10));
    testbed.wait_serving(2, secs(60), &daemon);
    assert!(testbed.serving_for(&old).is_empty(), "the old ones are out of HAProxy");
    load.wait_for(secs(10), |c| 200 < c.sent());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

#[test]
fn a_service_of_another_name_has_the_port_when_it_can_serve() {
    a_rename_costs_no_request(false);
}

#[test]
fn replicas_that_are_to_go_serve_until_those_of_the_new_name_can() {
    a_rename_costs_no_request(true);
}
