//! `contrib/haproxy/base.cfg`, before what the daemon writes, in a real HAProxy.

use std::fs;

use crate::fake_http;
use crate::harness::Harness;

#[test]
fn the_example_of_a_base_config_serves_the_services() {
    let mut harness = Harness::new("base-config");
    let example = fs::read_to_string("contrib/haproxy/base.cfg").unwrap();
    let base = example.replace("bind :80\n", &format!("bind {}\n", harness.front));
    assert_ne!(base, example, "it binds port 80");
    let base = harness.dir.write("base.cfg", &base);
    harness.set("/load_balancer/base_config", base.to_str().unwrap().into());
    harness.config["services"]["web"].as_object_mut().unwrap().remove("listen");
    let daemon = harness.start();
    harness.wait_served();
    assert_eq!(fake_http::get(&harness.front), Some(200));
    assert_eq!(daemon.count(&["haproxy.reload_failed"]), 0, "{:#?}", daemon.lines());
}
