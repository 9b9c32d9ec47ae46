//! A message about a real container that ends by itself, over TLS.

use std::fs;

use serde_json::{Value, json};

use crate::daemon::{Daemon, secs};
use crate::hook_server::HookServer;
use crate::testbed::Testbed;

#[test]
fn a_container_that_ends_is_reported_with_its_last_log_line() {
    let testbed = Testbed::new("hook");
    let server = HookServer::tls(testbed.dir.path());
    let bounds = r#""min_replicas": 1, "max_replicas": 1"#;
    // The app refuses to start with it.
    let file = testbed.configure(&format!(r#"{bounds}, "environment": {{ "PORT": "web" }}"#));
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    config["notifications"] = json!([{
        "url": format!("https://{}/services/T0/key", server.host), "format": "slack",
        "ca_file": testbed.dir.join("ca.pem"), "events": ["replica.*"], "min_level": "warn",
        "every": "6s",
    }]);
    fs::write(&file, config.to_string()).unwrap();
    let daemon = Daemon::start(&file);
    let text = || {
        let request = server.requests.recv_timeout(secs(60)).unwrap();
        request.json()["text"].as_str().unwrap().to_owned()
    };
    let first = text();
    let start = format!("{}-1 ended: exit code 1; its last log line: ", testbed.service);
    assert!(first.starts_with(&start) && first.contains("invalid digit"), "{first}");
    let second = text();
    assert!(second.contains(" ended: exit code 1") && second.contains("invalid digit"), "{second}");
    println!("{first}\n{second}");
    let lines = daemon.lines();
    assert!(!lines.iter().any(|line| line.contains("/services/T0")), "{lines:#?}");
}
