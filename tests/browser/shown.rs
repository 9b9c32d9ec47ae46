//! The overview: problems, services, header and search, with one, four and forty services.

use serde_json::json;

use crate::made_up;
use crate::tab::{DESK, PHONE, Screen, Tab};

/// Names of the shown services, from above.
fn names(tab: &Tab) -> Vec<String> {
    let names =
        tab.eval("[...document.querySelectorAll('table.services a.name')].map((a) => a.innerText)");
    names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn trouble_is_first_and_what_is_down_is_red() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK);
    assert_eq!(names(&tab), ["web", "shop", "api", "reports"]);
    assert_eq!(tab.text("table.services tr.bad .reason"), "NoneReady");
    tab.shows("table.services tr.bad", "no replica of 3 is ready: health check: HTTP 404");
    let red = tab.eval("getComputedStyle(document.querySelector('tr.bad .reason')).color");
    assert_eq!(red, "rgb(179, 38, 30)");
    tab.shows(".summary", "No replica is ready: web.");
    assert_eq!(
        tab.text(".counts").replace('\n', " "),
        "4 services 8 of 12 replicas ready 3 problems"
    );
    assert_eq!(tab.eval("document.title"), "(3) ! Plimsoll");
    // Without a token nothing can be changed from here.
    assert_eq!(tab.count("[data-order]"), 0);
}

#[test]
fn a_service_without_a_ready_replica_is_red_whatever_the_reason() {
    let site = made_up::four();
    site.change("/status", |status| {
        status["services"][3]["reason"] = json!("MetricsMissing");
        status["problems"] = json!([]);
    });
    let tab = Tab::open(&site, "", DESK);
    assert_eq!(names(&tab)[0], "web");
    tab.shows("table.services tr.bad", "NoneReady");
    assert_eq!(tab.count(".problems"), 0);
}

#[test]
fn each_problem_has_its_service_its_time_and_what_to_do() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK);
    assert_eq!(tab.count(".problems li"), 3);
    let first = tab.text(".problems li");
    for words in [
        "CRITICAL",
        "web",
        "service.none_ready",
        "12 min ago",
        "no replica of 3 is ready: health check: HTTP 404 from /health",
        "To do: set health_check.path of web to a path that answers 200",
    ] {
        assert!(first.contains(words), "no {words} in {first}");
    }
    let time = "document.querySelector('.problems time')";
    assert_eq!(tab.eval(&format!("{time}.title")), "2026-11-28T03:00:00Z");
    let own = "new Date('2026-11-28T03:00:00Z')";
    let shown = format!("{time}.innerText.includes(clock({own}, true))");
    assert_eq!(tab.eval(&shown), true);
    let link = "document.querySelector('.problems a').getAttribute('href')";
    assert_eq!(tab.eval(link), "#web");
    site.change("/status", |status| status["problems"] = json!([]));
    tab.refresh();
    assert_eq!(tab.count(".problems"), 0);
}

#[test]
fn search_and_only_trouble_leave_what_was_asked_for() {
    let site = made_up::forty();
    let tab = Tab::open(&site, "", DESK);
    assert_eq!(names(&tab).len(), 40);
    tab.key("/");
    tab.call("Input.insertText", json!({ "text": "Worker-1" }));
    tab.wait("document.querySelectorAll('table.services tbody tr').length === 10");
    tab.refresh();
    assert_eq!(names(&tab).len(), 10);
    tab.write("input[type=search]", "nobody");
    tab.shows(".services .none", "No service has nobody in its name.");
    tab.write("input[type=search]", "w");
    tab.click("input[type=checkbox]");
    tab.wait("document.querySelectorAll('table.services tbody tr').length === 1");
    assert_eq!(names(&tab), ["web"]);
    // What was chosen is still chosen after a visit to a service.
    tab.click("a.name");
    tab.wait("document.querySelector('.title')");
    tab.eval("history.back()");
    tab.wait("document.querySelector('table.services')");
    assert_eq!(names(&tab), ["web"]);
    assert_eq!(tab.eval("document.querySelector('input[type=search]').value"), "w");
    assert_eq!(tab.eval("document.querySelector('input[type=checkbox]').checked"), true);
}

#[test]
fn one_four_and_forty_services_fit_on_desk_and_phone_in_light_and_dark() {
    for site in [made_up::one(), made_up::four(), made_up::forty()] {
        for place in ["", "#api", "#web"] {
            let tab = Tab::open(&site, place, DESK);
            for screen in [DESK, DESK.dark(), PHONE, PHONE.dark()] {
                tab.resize(screen);
                tab.fits();
            }
        }
    }
}

#[test]
fn the_state_has_room_at_every_width() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK).with_token();
    for width in [320, 390, 768, 1024, 1030, 1200, 1220, 1280, 1920] {
        tab.resize(Screen { width, ..DESK });
        tab.fits();
        let room = tab.eval("document.querySelector('td.why').clientWidth").as_u64().unwrap();
        assert!(180 <= room, "{room} px at {width}");
    }
}

#[test]
fn forty_services_take_one_low_row_each() {
    let site = made_up::forty();
    let check = |tab: &Tab| {
        let heights = tab.eval(
            "[...document.querySelectorAll('table.services tbody tr')].slice(4)
                .map((row) => row.offsetHeight)",
        );
        let highest = heights.as_array().unwrap().iter().filter_map(|h| h.as_u64()).max();
        assert!(highest.unwrap() <= 60, "{heights}");
    };
    let tab = Tab::open(&site, "", DESK);
    check(&tab);
    let tab = tab.with_token();
    check(&tab);
    tab.fits();
}

#[test]
fn a_daemon_that_is_gone_is_said_in_words_and_is_seen_again() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK).with_token();
    site.lose(true);
    tab.refresh();
    tab.shows(".notices", "The daemon does not answer. The data shown is from ");
    tab.shows(".summary", "No answer from the daemon.");
    assert!(!tab.text("body").contains("fetch"), "{}", tab.text("body"));
    assert_eq!(tab.count("[data-order]:not([aria-disabled=true])"), 0);
    // What is shown stays readable.
    assert_eq!(names(&tab).len(), 4);
    site.lose(false);
    tab.shows(".summary", "No replica is ready: web.");
    assert_eq!(tab.count("body.lost"), 0);
    assert_ne!(tab.count("[data-order]:not([aria-disabled=true])"), 0);
}

#[test]
fn an_answer_that_is_not_understood_does_not_end_the_page() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK).with_token();
    site.change("/status", |status| status["services"][0]["metrics"][0] = json!(null));
    tab.click("[data-order=more][data-place='web row']");
    tab.wait("seen.lost || document.querySelector('.summary').innerText.includes('cannot')");
    site.change("/status", |status| status["services"][0]["metrics"] = json!([]));
    tab.shows(".summary", "No replica is ready: web.");
    tab.wait("orders.busy === null");
    site.change("/status", |status| status["problems"][0] = json!(null));
    tab.shows(".summary", "This page cannot show what the daemon says: ");
    site.change("/status", |status| status["problems"] = json!([]));
    tab.shows(".summary", "No replica is ready: web.");
}

#[test]
fn a_daemon_that_wants_its_token_or_has_just_started_says_so() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK);
    site.set_status("/status", 401, json!({ "error": "a token is needed" }));
    tab.refresh();
    tab.shows(".notices", "The daemon shows nothing without its token: enter it at the top.");
    site.set_status("/status", 503, json!({ "error": "the first tick is not over yet" }));
    tab.refresh();
    tab.shows(".notices", "The daemon cannot answer: the first tick is not over yet.");
}

#[test]
fn certificates_and_routes_are_shown_where_there_are_some() {
    let site = made_up::four();
    let tab = Tab::open(&site, "", DESK);
    tab.shows("[data-key=certificates]", "shop.example, *.shop.example");
    tab.shows("[data-key=certificates]", "53 days left");
    tab.shows("[data-key='service shop']", "shop.example/ +1");
    let none = json!([{ "file": "/a.pem", "names": null, "not_after": null, "days_left": null,
                        "rejected": "/a.pem: it has no private key" }]);
    site.change("/status", |status| status["certificates"] = none.clone());
    tab.refresh();
    tab.shows("[data-key=certificates]", "not served");
    site.change("/status", |status| drop(status.as_object_mut().unwrap().remove("certificates")));
    tab.refresh();
    assert_eq!(tab.count("[data-key=certificates]"), 0);
}

#[test]
fn a_busy_host_and_a_replica_given_up_are_said() {
    let site = made_up::four();
    let processor = json!({ "idle_percent": 2.5, "pressure_percent": null, "busy": false,
        "reserve_percent": 5.0, "cores": 2 });
    site.change("/status", |status| {
        status["processor"] = processor.clone();
        let preemption =
            json!({ "victim": "api", "beneficiary": "shop", "step": "used", "for_s": 40 });
        for service in status["services"].as_array_mut().unwrap() {
            if ["api", "shop"].contains(&service["name"].as_str().unwrap()) {
                service["preemptions"] = json!([preemption]);
            }
        }
        status["services"][2]["priority"] = json!(80);
    });
    let tab = Tab::open(&site, "", DESK);
    assert_eq!(tab.count("[role=alert]"), 0);
    tab.shows("table.services", "Gave a replica up for shop");
    tab.shows("table.services", "Got a replica of api");
    site.change("/status", |status| status["processor"]["busy"] = json!(true));
    tab.refresh();
    tab.shows("[role=alert]", "The host's processors are busy (2.5 % idle): load starts no more");
    let tab = Tab::open(&site, "#shop", DESK);
    tab.shows(".head", "priority 80");
}
