//! What a press sends, and what the page says then.

use serde_json::{Value, json};

use crate::made_up;
use crate::site::Site;
use crate::tab::{DESK, PHONE, Tab};

fn button(order: &str, place: &str) -> String {
    format!("[data-order={order}][data-place='{place}']")
}

fn answer(place: &str) -> String {
    format!("[data-answer='{place}']")
}

/// Presses it, and expects this order alone, with its answer beside the button.
#[track_caller]
fn check_press(site: &Site, tab: &Tab, order: &str, place: &str, path: &str, body: &Value) {
    let before = site.orders().len();
    tab.click(&button(order, place));
    tab.shows(&answer(place), &format!("done: {path}"));
    tab.wait("orders.busy === null");
    assert_eq!(site.orders()[before..], [(path.to_owned(), body.clone())]);
    let beside = tab.eval(&format!(
        "(() => {{ const said = document.querySelector({}); const all = [...said.parentNode
            .querySelectorAll('button')].map((one) => one.getBoundingClientRect().bottom);
            return said.getBoundingClientRect().top - Math.max(...all); }})()",
        json!(answer(place))
    ));
    assert!(beside.as_f64().unwrap() < 20.0, "the answer is {beside} px below its button");
    // Another press is another order.
    tab.wait(&format!("{DOUBLE} < performance.now() - orders.pressedAt"));
}

const DOUBLE: &str = "DOUBLE_CLICK_MS";

#[test]
fn each_button_of_a_row_sends_its_order() {
    let site = made_up::four();
    site.change("/status", |status| status["services"][0]["pause"] = json!({ "left_s": null }));
    for screen in [DESK, PHONE] {
        let tab = Tab::open(&site, "", screen).with_token();
        let row = [
            ("fewer", "shop row", "/services/shop/scale/down", json!({})),
            ("more", "shop row", "/services/shop/scale/up", json!({})),
            ("auto", "shop row", "/services/shop/scale", json!({ "auto": true })),
            ("pause", "shop row", "/services/shop/pause", json!({})),
            ("resume", "api row", "/services/api/resume", json!({})),
            ("pause", "all", "/pause", json!({ "for": "2h" })),
            ("resume", "all", "/resume", json!({})),
        ];
        tab.write("form[data-form=all] input[name=for]", "2h");
        for (order, place, path, body) in row {
            check_press(&site, &tab, order, place, path, &body);
        }
        tab.fits();
    }
}

#[test]
fn each_button_of_a_service_sends_its_order() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#shop", DESK).with_token();
    tab.write("input[name=replicas]", "4");
    tab.write("form[data-form=scale] input[name=for]", "30m");
    tab.write("input[name=reason]", "night sale");
    let full = json!({ "replicas": 4, "for": "30m", "reason": "night sale" });
    check_press(&site, &tab, "scale", "shop scale", "/services/shop/scale", &full);
    tab.write("form[data-form=scale] input[name=for]", "");
    tab.write("input[name=reason]", "");
    let bare = json!({ "replicas": 4 });
    check_press(&site, &tab, "scale", "shop scale", "/services/shop/scale", &bare);
    for (order, path) in [("fewer", "scale/down"), ("more", "scale/up")] {
        let path = format!("/services/shop/{path}");
        check_press(&site, &tab, order, "shop step", &path, &json!({}));
    }
    let auto = json!({ "auto": true });
    check_press(&site, &tab, "auto", "shop step", "/services/shop/scale", &auto);
    check_press(&site, &tab, "pause", "shop pause", "/services/shop/pause", &json!({}));
    tab.write("form[data-form=pause] input[name=for]", "10m");
    let timed = json!({ "for": "10m" });
    check_press(&site, &tab, "pause", "shop pause", "/services/shop/pause", &timed);
    site.change("/status", |status| status["services"][2]["pause"] = json!({ "left_s": 600 }));
    tab.refresh();
    tab.shows(".head", "Paused for 10 min more");
    check_press(&site, &tab, "resume", "shop pause", "/services/shop/resume", &json!({}));
}

#[test]
fn a_step_says_for_how_long_it_holds() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#shop", DESK).with_token();
    tab.shows(".actions", "−1 and +1 hold until the cooldown ends");
    let hint = format!("document.querySelector({}).title", json!(button("more", "shop step")));
    assert!(tab.eval(&hint).as_str().unwrap().contains("until the cooldown ends"));
}

#[test]
fn enter_in_a_field_gives_its_order_once() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#shop", DESK).with_token();
    tab.write("input[name=replicas]", "5");
    tab.key("Enter");
    tab.shows(&answer("shop scale"), "done");
    tab.wait(&format!("orders.busy === null && {DOUBLE} < performance.now() - orders.pressedAt"));
    tab.write("form[data-form=pause] input[name=for]", "1h");
    tab.key("Enter");
    tab.shows(&answer("shop pause"), "done");
    let sent = [
        ("/services/shop/scale".to_owned(), json!({ "replicas": 5 })),
        ("/services/shop/pause".to_owned(), json!({ "for": "1h" })),
    ];
    assert_eq!(site.orders(), sent);
    // Not a number of replicas: nothing is sent.
    tab.write("input[name=replicas]", "");
    tab.key("Enter");
    tab.refresh();
    assert_eq!(site.orders().len(), 2);
}

#[test]
fn a_restart_is_confirmed_in_the_page() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#web", DESK).with_token();
    tab.click("[data-ask]");
    tab.shows(".confirm", "Replace every replica of web");
    tab.click("[data-cancel]");
    tab.wait("!document.querySelector('.confirm')");
    tab.wait("document.activeElement.matches('[data-ask]')");
    tab.click("[data-ask]");
    tab.wait("document.querySelector('.confirm')");
    tab.key("Escape");
    tab.wait("!document.querySelector('.confirm')");
    // A double click asks, and no more.
    tab.double_click("[data-ask]");
    tab.shows(".confirm", "Replace every replica of web");
    assert_eq!(site.orders(), []);
    tab.click(&button("restart", "web restart"));
    tab.shows(&answer("web restart"), "done: /services/web/restart");
    assert_eq!(site.orders(), [("/services/web/restart".to_owned(), json!({}))]);
    assert_eq!(tab.count(".confirm"), 0);
    tab.wait("document.activeElement.matches('[data-ask]')");
}

#[test]
fn a_double_click_is_one_order() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK).with_token();
    tab.double_click(&button("fewer", "shop row"));
    tab.shows(&answer("shop row"), "done: /services/shop/scale/down");
    tab.wait("orders.busy === null");
    tab.refresh();
    assert_eq!(site.orders().len(), 1);
    // Neither is it two where the first click makes another button of it.
    site.on_order(|_, answers| {
        let status = &mut answers.get_mut("/status").unwrap().1;
        status["services"][2]["pause"] = json!({ "left_s": null });
    });
    tab.wait(&format!("{DOUBLE} < performance.now() - orders.pressedAt"));
    tab.click(&button("pause", "shop row"));
    let resume = json!(button("resume", "shop row"));
    tab.wait(&format!("document.querySelector({resume})"));
    tab.wait("orders.busy === null");
    tab.second_click(&button("resume", "shop row"));
    // The button keeps the focus, whatever is on it now.
    assert_eq!(tab.eval(&format!("document.activeElement.matches({resume})")), true);
    tab.refresh();
    assert_eq!(site.orders().len(), 2);
}

#[test]
fn buttons_are_off_while_an_order_is_under_way() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK).with_token();
    site.hold(true);
    tab.click(&button("more", "shop row"));
    tab.shows(&answer("shop row"), "Sending …");
    assert_eq!(tab.count("[data-order]:not([aria-disabled=true])"), 0);
    tab.click(&button("more", "shop row"));
    tab.click(&button("pause", "api row"));
    // Refreshes go on meanwhile.
    site.change("/status", |status| status["services"][0]["desired"] = json!(4));
    tab.refresh();
    tab.shows("tr[data-key='service api']", "3 / 4");
    assert_eq!(site.orders().len(), 1);
    site.hold(false);
    tab.shows(&answer("shop row"), "done: ");
    tab.wait("document.querySelectorAll('[data-order]:not([aria-disabled=true])').length");
    assert_eq!(site.orders().len(), 1);
}

#[test]
fn the_row_shows_the_new_state_at_once_and_the_focus_stays() {
    let site = made_up::four();
    site.on_order(|path, answers| {
        assert_eq!(path, "/services/api/scale/up");
        answers.get_mut("/status").unwrap().1["services"][0]["desired"] = json!(4);
    });
    let tab = Tab::open(&site, "", DESK).with_token();
    // The next look at the daemon would be far away.
    tab.eval("window.setTimeout = () => 0");
    tab.refresh();
    tab.click(&button("more", "api row"));
    tab.shows("tr[data-key='service api']", "3 / 4");
    tab.wait("orders.busy === null");
    let own = json!(button("more", "api row"));
    assert_eq!(tab.eval(&format!("document.activeElement.matches({own})")), true);
    // At the maximum there is no more.
    assert_eq!(tab.count(&format!("{}[aria-disabled=true]", button("more", "api row"))), 1);
}

#[test]
fn a_refusal_is_in_the_words_of_the_daemon() {
    let site = made_up::four();
    let no = json!({ "error": "web: at least 2, by the schedule", "detail": "see max_replicas" });
    site.set_status("/services/web/scale/down", 409, no);
    let tab = Tab::open(&site, "", DESK).with_token();
    tab.click(&button("fewer", "web row"));
    tab.shows(&answer("web row"), "web: at least 2, by the schedule: see max_replicas");
    assert_eq!(tab.count(&format!("{}.bad", answer("web row"))), 1);
}

#[test]
fn an_order_to_a_daemon_that_is_lost_meanwhile_is_said_in_a_sentence() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK).with_token();
    site.hold(true);
    tab.click(&button("more", "web row"));
    tab.shows(&answer("web row"), "Sending …");
    site.lose(true);
    site.hold(false);
    tab.shows(
        &answer("web row"),
        "No answer from the daemon: whether it has the order is not known.",
    );
    tab.shows(".notices", "The daemon does not answer.");
    assert!(!tab.text("body").contains("fetch"), "{}", tab.text("body"));
    // What is off sends nothing.
    let sent = site.orders().len();
    tab.click(&button("more", "web row"));
    site.lose(false);
    tab.refresh();
    assert_eq!(site.orders().len(), sent);
}
