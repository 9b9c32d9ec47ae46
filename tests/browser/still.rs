//! The page stays still: ten refreshes change nothing that has not changed.

use serde_json::json;

use crate::made_up;
use crate::tab::{DESK, PHONE, Tab};

const REFRESHES: usize = 10;
/// Everything that is changed in the document from here on.
const WATCH: &str = "window.changes = []; new MutationObserver((all) => all.forEach((one) =>
    changes.push([one.type, one.target.nodeName, one.target.textContent.slice(0, 80)])))
    .observe(document, { subtree: true, childList: true, characterData: true, attributes: true })";

fn refresh_often(tab: &Tab) {
    (0..REFRESHES).for_each(|_| tab.refresh());
}

#[test]
fn what_has_not_changed_is_left_alone() {
    for (place, screen) in [("", DESK), ("#web", DESK), ("#web", PHONE)] {
        let site = made_up::four();
        let tab = Tab::open(&site, place, screen).with_token();
        // A busy machine may take longer than the page waits, which it would show.
        tab.eval("void (AbortSignal.timeout = () => new AbortController().signal)");
        // The details of a service come with its own answers.
        tab.refresh();
        tab.eval(WATCH);
        refresh_often(&tab);
        assert_eq!(tab.eval("changes"), json!([]));
    }
}

#[test]
fn a_selection_outlives_refreshes_that_bring_news() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK);
    let select = "(() => { const range = document.createRange();
        range.setStart(document.querySelector('.problems .message').firstChild, 3);
        const other = document.querySelectorAll('table.services .sentence')[0].firstChild;
        range.setEnd(other, 9); getSelection().addRange(range);
        return getSelection().toString(); })()";
    let selected = tab.eval(select);
    assert!(selected.as_str().unwrap().len() > 100, "{selected}");
    let text =
        |tab: &Tab| tab.eval("document.querySelector('.problems .message').textContent.slice(3)");
    let start = text(&tab);
    for second in 1..=REFRESHES {
        site.change("/status", |status| {
            status["at"] = json!(format!("2026-11-28T03:13:{second:02}Z"));
            status["uptime_s"] = json!(98_040 + second);
            // A row below the selection, and its order.
            status["services"][0]["metrics"][0]["value"] = json!(40.0 + second as f64);
        });
        site.change("/events", |events| {
            let mut new = events[0].clone();
            new["at"] = json!(format!("2026-11-28T03:13:{second:02}Z"));
            events.as_array_mut().unwrap().insert(0, new);
        });
        tab.refresh();
    }
    tab.shows("table.services", "50 % of 70 %");
    let now = tab.eval("getSelection().toString()");
    let now = now.as_str().unwrap();
    assert!(now.starts_with(start.as_str().unwrap()), "{now}");
    assert!(now.ends_with("no replic"), "{now}");
}

#[test]
fn focus_and_what_was_typed_outlive_refreshes_and_moved_rows() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK).with_token();
    let button = "[data-order=more][data-place='api row']";
    tab.eval(&format!("document.querySelector({}).focus()", json!(button)));
    site.change("/status", |status| {
        // Its row moves to the top.
        status["services"][0]["ready"] = json!(0);
        status["services"][3]["ready"] = json!(3);
        status["services"][3]["reason"] = json!("DesiredWithinRange");
        status["problems"] = json!([]);
    });
    refresh_often(&tab);
    tab.wait("document.querySelector('table.services a.name').innerText === 'api'");
    assert_eq!(tab.eval(&format!("document.activeElement.matches({})", json!(button))), true);

    let tab = Tab::open(&site, "#web", DESK).with_token();
    tab.write("input[name=reason]", "a sale");
    tab.write("input[name=replicas]", "7");
    tab.eval("document.querySelector('details').open = false");
    refresh_often(&tab);
    assert_eq!(tab.eval("document.activeElement.name"), "replicas");
    assert_eq!(tab.eval("document.querySelector('input[name=reason]').value"), "a sale");
    assert_eq!(tab.eval("document.querySelector('input[name=replicas]').value"), "7");
    assert_eq!(tab.eval("document.querySelector('details').open"), false);
}

#[test]
fn nothing_scrolls_by_itself() {
    let site = made_up::forty();
    let tab = Tab::open(&site, "", DESK).with_token();
    tab.eval("scrollTo(0, 700)");
    tab.refresh();
    let button = "[data-order=more][data-place='worker-20 row']";
    tab.eval(&format!("document.querySelector({}).scrollIntoView()", json!(button)));
    let before = tab.eval("scrollY");
    tab.click(button);
    tab.shows("[data-answer='worker-20 row']", "done: ");
    refresh_often(&tab);
    assert_eq!(tab.eval("scrollY"), before);
}
