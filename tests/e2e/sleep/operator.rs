//! What an operator sees of a service that sleeps, and orders; and what a browser sees.

use std::sync::PoisonError;

use crate::daemon::{delay, reached, secs};
use crate::sleep::kinds::{Ask, Waiting, get, timed_get};
use crate::sleep::{Dormitory, SLEEPY};
use crate::testbed::QUIET;

#[test]
fn an_operator_keeps_a_service_off_and_wakes_it() {
    let _quiet = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    let dormitory = Dormitory::new("sleep-operator");
    let testbed = &dormitory.testbed;
    let service = testbed.service.clone();
    let daemon = dormitory.start(SLEEPY);
    let shown = testbed.order(&["status"]);
    assert!(shown.contains("asleep"), "{shown}");
    let status = testbed.status(&service);
    assert!(status.to_string().contains("asleep"), "{status}");

    // Held at 0, it is off.
    testbed.order(&["scale", &service, "0"]);
    let is_refused = || {
        let (answer, took) = timed_get(testbed.address(), "/", "");
        answer.is_ok_and(|answer| answer.status == 503) && took < secs(1)
    };
    assert!(reached(secs(5), is_refused), "{:#?}", daemon.lines());
    assert!(is_refused(), "{:#?}", daemon.lines());
    assert!(testbed.containers().is_empty(), "{:#?}", daemon.lines());

    // Held at 1, it is awake without a request, and stays so.
    testbed.order(&["scale", &service, "1"]);
    testbed.wait_serving(1, secs(10), &daemon);
    daemon.wait(&["kind=service.woken", &format!("service={service} ")], secs(5));
    assert_eq!(Ask::Get.run(testbed.address()), Ok(()));
    delay(secs(4));
    assert_eq!(testbed.serving().len(), 1, "{:#?}", daemon.lines());

    // An answer under way is ended when an operator switches it off.
    let slow = std::thread::spawn({
        let to = testbed.address();
        move || get(to, "/slow?ms=4000", "").map(|answer| answer.status)
    });
    let busy = || testbed.row(&service, "BACKEND").is_some_and(|row| row[4] == "1");
    assert!(reached(secs(5), busy), "{:#?}", daemon.lines());
    testbed.order(&["scale", &service, "0"]);
    assert_eq!(slow.join().unwrap(), Ok(200), "{:#?}", daemon.lines());
    let is_gone = || testbed.containers().is_empty();
    assert!(reached(secs(10), is_gone), "{:#?}", daemon.lines());

    // Released, it sleeps, and a request wakes it.
    testbed.order(&["scale", &service, "auto"]);
    dormitory.wait_all_asleep(&daemon);
    assert_eq!(Ask::Get.run(testbed.address()), Ok(()), "{:#?}", daemon.lines());
    dormitory.wait_all_asleep(&daemon);
    daemon.wait(&["kind=service.asleep ", &format!("service={service} ")], secs(5));
}

#[test]
fn a_browser_gets_a_page_that_reloads_and_others_wait() {
    let _quiet = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    let dormitory = Dormitory::new("sleep-page");
    let testbed = &dormitory.testbed;
    let daemon = dormitory.start(&format!(
        r#"{SLEEPY}, "wake_page": "1s", "environment": {{ "START_DELAY_MS": "4000" }}"#
    ));
    let to = testbed.address();
    let html = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    // The first is held by the daemon, another waits in HAProxy's queue.
    let others = Waiting::start([Ask::Get, Ask::Post(10_000), Ask::Get].map(|ask| (ask, to)));
    testbed.wait_waiting(&testbed.service, (1, 2), &daemon);
    let (page, took) = timed_get(to, "/", html);
    let page = page.unwrap();
    assert!(secs(1) / 2 < took && took < secs(3), "{took:?}: {page:?}");
    assert!(page.head.contains("\r\ncontent-type: text/html"), "{page:?}");
    assert!(page.head.contains("\r\ncache-control: no-store"), "{page:?}");
    let text = page.text().to_lowercase();
    assert!(text.contains("refresh") || page.head.contains("\r\nrefresh: "), "{page:?}");
    let failures = others.failures();
    assert!(failures.is_empty(), "{failures:#?}\n{:#?}", daemon.lines());
    // Awake, it serves browsers as anybody else.
    let served = get(to, "/", html).unwrap();
    assert!(served.text().starts_with("hello from "), "{served:?}");
    // A browser alone, which the daemon itself holds.
    dormitory.wait_all_asleep(&daemon);
    let (page, took) = timed_get(to, "/", html);
    let page = page.unwrap();
    assert!(secs(1) / 2 < took && took < secs(3), "{took:?}: {page:?}");
    let served = || get(to, "/", html).is_ok_and(|a| a.text().starts_with("hello from "));
    assert!(reached(secs(15), served), "the reload finds it awake: {:#?}", daemon.lines());
}
