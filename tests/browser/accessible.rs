//! axe-core finds nothing, in every state of the page.

use std::fs;

use serde_json::{Value, json};

use crate::made_up;
use crate::tab::{DESK, PHONE, Screen, Tab};

/// `contrib/setup.sh test` fetches it.
const AXE: &str = "/var/cache/plimsoll/axe-core/axe.min.js";

#[track_caller]
fn check(tab: &Tab, what: &str) {
    if tab.eval("typeof axe") == "undefined" {
        let axe = fs::read_to_string(AXE);
        let axe = axe.unwrap_or_else(|e| panic!("{AXE}: {e}; contrib/setup.sh test gets it"));
        tab.eval(&format!("{axe}; 0"));
    }
    let found = tab.eval(
        "axe.run(document, { resultTypes: ['violations'] })
            .then((all) => all.violations.map((one) => [one.id, one.help,
                ...one.nodes.map((node) => node.html + ' ' + node.failureSummary)]))",
    );
    assert_eq!(found, json!([]), "{what}: {:#}", found.get(0).unwrap_or(&Value::Null));
}

fn each_screen(check: impl Fn(Screen)) {
    for screen in [DESK, DESK.dark(), PHONE, PHONE.dark()] {
        check(screen);
    }
}

#[test]
fn the_overview_is_clean() {
    let site = made_up::four();
    each_screen(|screen| {
        let tab = Tab::open(&site, "", screen);
        check(&tab, "without a token");
        let tab = tab.with_token();
        check(&tab, "with a token");
    });
}

#[test]
fn the_page_of_a_service_is_clean() {
    let site = made_up::four();
    each_screen(|screen| {
        let tab = Tab::open(&site, "#web", screen).with_token();
        tab.click("[data-ask]");
        tab.shows(".confirm", "Replace every replica");
        check(&tab, "with a question");
    });
}

#[test]
fn answers_a_lost_daemon_and_an_unknown_service_are_clean() {
    let site = made_up::four();
    each_screen(|screen| {
        let tab = Tab::open(&site, "#shop", screen).with_token();
        tab.click("[data-order=more]");
        tab.shows("[data-answer='shop step']", "done");
        check(&tab, "with an answer");
        site.lose(true);
        tab.refresh();
        check(&tab, "without the daemon");
        site.lose(false);
        tab.eval("location.hash = '#nobody'");
        tab.shows(".unknown", "nobody");
        tab.shows(".summary", "No replica");
        check(&tab, "of nobody");
    });
}
