//! Five faults, one after the other. For each, `plimsoll status` alone names the cause and what to
//! do, so does the page at its next refresh, and both are silent once it is over.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::daemon::{Daemon, plimsoll, polled, secs, signal};
use crate::tab::{DESK, Tab};
use crate::testbed::{Testbed, free_port};

struct Night {
    testbed: Testbed,
    daemon: Daemon,
    page: Tab,
}

impl Night {
    /// Of one command.
    fn output(&self, args: &[&str]) -> Output {
        let socket = self.testbed.dir.join("api.sock").display().to_string();
        plimsoll(&[args, &["--socket", &socket]].concat())
    }

    /// Until `status` has all the words, and the page has them at its next refresh. A picture of it
    /// has the fault's name.
    #[track_caller]
    fn wait(&self, fault: &str, words: &[&str]) {
        let mut seen = String::new();
        let has_all = polled(secs(40), secs(1) / 4, || {
            let out = self.output(&["status"]);
            seen = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
            // Lines are wrapped where the terminal ends.
            let flat = flat(&seen);
            if !words.iter().all(|word| flat.contains(word)) {
                return false;
            }
            self.page.refresh();
            let page = self.problems();
            seen += &format!("\nthe page:\n{page}");
            has_words(&page, words)
        });
        assert!(has_all, "{words:?} in:\n{seen}\n{:#?}", self.daemon.lines());
        self.page.keep_picture(fault);
    }

    /// As the page shows them; there is no such part without any.
    fn problems(&self) -> String {
        let shown = "document.querySelector('[data-key=problems]')?.innerText || ''";
        self.page.eval(shown).as_str().unwrap().to_owned()
    }

    /// Has the daemon read this config.
    #[track_caller]
    fn configure(&self, text: &str) {
        let before = self.daemon.lines().len();
        self.testbed.dir.write("config.json", text);
        self.daemon.signal("HUP");
        self.daemon.wait_from(before, &["kind=config."], secs(10));
    }

    /// Until no problem of this kind stands.
    #[track_caller]
    fn wait_over(&self, kind: &str) {
        let is_over = polled(secs(40), secs(1) / 4, || {
            let out = self.output(&["status", "--json"]);
            let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            let problems = said["problems"].as_array().unwrap();
            problems.iter().all(|problem| problem["kind"] != kind)
        });
        assert!(is_over, "{kind} stands: {:#?}", self.daemon.lines());
        self.page.refresh();
        let page = self.problems();
        assert!(!page.contains(kind), "{page}");
    }
}

/// In the page's own words.
fn has_words(page: &str, words: &[&str]) -> bool {
    let page = flat(page).to_lowercase();
    let in_page = |word: &&str| page.contains(&word.replace("fix: ", "to do: ").to_lowercase());
    words.iter().all(in_page)
}

/// On one line.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn begin() -> (Night, String) {
    let testbed = Testbed::new("night");
    let good = fs::read_to_string(testbed.configure(
        r#""min_replicas": 1, "max_replicas": 3, "scale_up_threshold": 90,
           "scale_down_threshold": 5, "cooldown_period": 1"#,
    ));
    let listen = format!("127.0.0.1:{}", free_port());
    let good = good.unwrap().replace("\"listen\": null", &format!("\"listen\": \"{listen}\""));
    let missing = good.replace("\"path\": \"/health\"", "\"path\": \"/missing\"");
    assert_ne!(missing, good);
    let config = testbed.dir.write("config.json", &missing);
    let daemon = Daemon::start(&config);
    let page = Tab::open(format!("http://{listen}"), "", DESK);
    (Night { testbed, daemon, page }, good)
}

fn haproxy_pid(folder: &Path) -> u32 {
    let text = fs::read_to_string(folder.join("haproxy.pid")).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn for_each_of_five_faults_status_and_the_page_name_the_cause_and_the_fix() {
    let (night, good) = begin();
    let name = night.testbed.service.clone();

    // A path that the app does not have: the service never served.
    let not_found = [
        "critical",
        "its only replica is not ready",
        "/missing answered 404",
        &format!("fix: set health_check.path of {name}"),
    ];
    night.wait("health-check", &not_found);
    for args in [["status", &name], ["explain", &name], ["healthcheck", "--verbose"]] {
        let out = night.output(&args);
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(said.contains("answered 404") && said.contains("fix: "), "{args:?}: {said}");
    }
    night.configure(&good);
    night.wait_over("service.none_ready");
    night.testbed.wait_serving(1, secs(30), &night.daemon);

    // New replicas end at once; the old one serves.
    let crash =
        good.replace("\"min_replicas\"", r#""environment": { "PORT": "web" }, "min_replicas""#);
    night.configure(&crash);
    night.wait(
        "crash-loop",
        &["warning", "in a row: ", "exit code 1", "invalid digit", "the app ends by itself"],
    );
    night.configure(&good);
    night.wait_over("health.crash_loop");

    let pid = haproxy_pid(night.testbed.dir.path());
    signal(pid, "KILL");
    night.wait("haproxy", &["HAProxy died once within the last hour", "fix: see its log"]);
    night.testbed.wait_serving(1, secs(30), &night.daemon);

    // Nothing listens there.
    let metric = good.replace(
        "\"min_replicas\"",
        r#""metrics": [{ "source": "http", "url": "http://127.0.0.1:1/load", "pointer": "/n",
           "target": 5 }], "min_replicas""#,
    );
    night.configure(&metric);
    night.wait(
        "metric",
        &["http://127.0.0.1:1/load", "refused", "fix: correct the metric's source"],
    );
    night.configure(&good);
    night.wait_over("metric.failed");

    night.configure("{ \"services\": ");
    night.wait(
        "config",
        &["config.json", "fix: correct the config (`plimsoll check` shows each error)"],
    );
    night.configure(&good);
    night.wait_over("config.rejected");
}
