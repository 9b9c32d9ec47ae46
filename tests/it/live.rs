//! `plimsoll check --live`: what only the host can tell, before anything is started.

use serde_json::{Value, json};

use crate::daemon::plimsoll;
use crate::fake_docker::{Fault, Route};
use crate::harness::Harness;

/// Messages of the problems, those that are errors before the warnings.
fn problems(harness: &Harness) -> (Vec<String>, Vec<String>) {
    let config = harness.write();
    let out = plimsoll(&["check", "--live", "--json", "--config", config.to_str().unwrap()]);
    let document: Value = serde_json::from_slice(&out.stdout).unwrap();
    let all = document["problems"].as_array().unwrap();
    let of = |severity: &str| {
        let of = all.iter().filter(|p| p["severity"] == severity);
        of.map(|p| p["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(document["good"], of("error").is_empty(), "{document:#}");
    (of("error"), of("warning"))
}

#[test]
fn a_docker_that_can_be_read_and_not_changed_is_found() {
    let html = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html><body>\
                <h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>";
    let proxy = || Fault::Raw(html.to_owned(), 0);
    let text = || Fault::Raw("HTTP/1.1 403 Forbidden\r\n\r\nForbidden".to_owned(), 0);
    let plugin = || Fault::Refuse(403, "authorization denied by plugin x");
    for (route, fault, words) in [
        (Route::Create, proxy(), "refuses POST /containers/create (403): no replica is created"),
        (Route::Start, proxy(), "refuses POST /containers/ID/start (403)"),
        (Route::Remove, text(), "refuses DELETE /containers/ID (403)"),
        (Route::Create, plugin(), "refuses POST /containers/create (403): no replica is created"),
    ] {
        let harness = Harness::new("read-only");
        assert_eq!(problems(&harness).0, [""; 0]);
        harness.docker.fault(route, fault);
        let (errors, _) = problems(&harness);
        let [only] = &errors[..] else { panic!("{errors:?}") };
        assert!(only.contains(words) && only.contains("docker.socket"), "no {words} in {only}");
        let config = harness.write();
        let out = plimsoll(&["doctor", "--json", "--config", config.to_str().unwrap()]);
        let document: Value = serde_json::from_slice(&out.stdout).unwrap();
        let findings = document["findings"].as_array().unwrap();
        let finding = findings.iter().find(|f| f["check"] == "docker.calls").unwrap();
        assert_eq!(finding["verdict"], "fails", "{finding}");
        assert!(finding["message"].as_str().unwrap().contains(words), "{finding}");
        assert!(finding["remedy"].is_string(), "{finding}");
        assert_eq!(harness.docker.containers().len(), 0, "a look made a container");
    }
}

#[test]
fn what_a_proxy_says_in_html_reaches_nobody() {
    let html = "HTTP/1.1 403 Forbidden\r\n\r\n<html><body><h1>403 Forbidden</h1></body></html>";
    let harness = Harness::new("html");
    harness.docker.fault(Route::Create, Fault::Raw(html.to_owned(), 0));
    let daemon = harness.start();
    let words =
        ["kind=replica.failed", "post /containers/create: 403", "a proxy in front of Docker"];
    daemon.wait(&words, crate::daemon::secs(20));
    assert_eq!(daemon.count(&["<html>"]), 0);
}

#[test]
fn what_containers_are_to_be_made_with_is_looked_for() {
    let mut harness = Harness::new("made-with");
    let there = harness.dir.join("there");
    std::fs::create_dir(&there).unwrap();
    let missing = harness.dir.join("missing");
    let port = harness.config["services"]["web"]["port"].as_u64().unwrap();
    let there = there.to_str().unwrap();
    let missing = missing.to_str().unwrap();
    let bind = |source: &str| json!([format!("{source}:/data")]);
    for (key, value, exposed, error, warning) in [
        ("volumes", bind(there), vec![], None, None),
        (
            "volumes",
            bind(missing),
            vec![],
            None,
            Some("missing does not exist; Docker would create it"),
        ),
        ("volumes", bind("named"), vec![], None, None),
        ("networks", json!(["bridge"]), vec![], None, None),
        ("networks", json!(["none-such"]), vec![], Some("docker network create none-such"), None),
        ("labels", json!({}), vec![format!("{port}/tcp")], None, None),
        ("labels", json!({}), vec!["1/udp".to_owned()], None, None),
        ("labels", json!({}), vec!["1/tcp".to_owned()], None, Some("exposes 1, not")),
    ] {
        let config = harness.config.clone();
        harness.set(&format!("/services/web/{key}"), value.clone());
        harness.docker.expose(&exposed.iter().map(String::as_str).collect::<Vec<_>>());
        let (errors, warnings) = problems(&harness);
        for (all, words) in [(errors, error), (warnings, warning)] {
            let is_right = match words {
                None => all.is_empty(),
                Some(words) => all.len() == 1 && all[0].contains(words),
            };
            assert!(is_right, "{key} {value} {exposed:?}: {words:?} of {all:?}");
        }
        harness.config = config;
    }
}
