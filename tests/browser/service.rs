//! The page of one service.

use serde_json::{Value, json};

use crate::made_up;
use crate::tab::{DESK, Tab};

#[test]
fn a_service_has_all_that_is_known_of_it() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#web", DESK);
    for (part, words) in [
        (".title", "web"),
        (".head", "at least 2, at most 8"),
        (".head", "Last change 4 → 3"),
        (".problems", "no replica of 3 is ready"),
        (".figures", "12.4/s"),
        (".figures", "Response time"),
        ("table.replicas", "172.18.0.5:8000"),
        ("table.replicas", "health check: HTTP 404 from /health"),
        ("table.replicas", "down since"),
        ("table.replicas", "5 restarts"),
        ("table.replicas", "18.4 %"),
        ("table.replicas", "ValueError: DATABASE_URL is empty"),
        ("table.drains", "in 25 s at the latest"),
        (".explain", "It stays at 3: NoneReady"),
        ("table.rules", "at most 1 fewer in 60s"),
        ("table.metrics", "no replica gives a sample"),
        (".schedule", "2–4 weekend"),
        (".course figcaption", "0 ready of 3 desired"),
        ("table.events", "replica.exited"),
    ] {
        tab.shows(part, words);
    }
    assert_eq!(tab.eval("document.title"), "(3) ! web – Plimsoll");
    // Only its own problems, and only its own events were asked for.
    assert_eq!(tab.count(".problems li"), 2);
    assert!(site.reads("/events").last().unwrap().contains("&service=web"));
    assert_eq!(tab.count(".week li"), 8);
}

#[test]
fn a_link_leads_to_a_service_and_back_to_the_same_place() {
    let site = made_up::forty();
    let tab = Tab::open(&site, "", DESK);
    tab.eval("document.querySelectorAll('a.name')[30].scrollIntoView({ block: 'center' })");
    let far = "scrollY > 500 && view.top === scrollY";
    tab.wait(far);
    let before = tab.eval("scrollY");
    tab.click("tr[data-key='service worker-31'] a.name");
    tab.shows(".title", "worker-31");
    tab.wait("scrollY === 0 && location.hash === '#worker-31'");
    assert_eq!(tab.eval("document.activeElement.className"), "title");
    // What the daemon does not give is left out.
    assert_eq!(tab.count("table.replicas"), 0);
    tab.shows(".explain", "no such path");
    tab.eval("history.back()");
    tab.wait("document.querySelector('table.services')");
    assert_eq!(tab.eval("scrollY"), before);
    assert_eq!(tab.eval("document.activeElement.innerText"), "worker-31");
    tab.eval("history.forward()");
    tab.shows(".title", "worker-31");
    tab.click("a.back");
    tab.wait("document.querySelector('table.services')");
}

#[test]
fn an_unknown_name_is_said() {
    let site = made_up::one();
    let tab = Tab::open(&site, "#n%C3%B6", DESK);
    tab.shows(".unknown", "The config has no service nö.");
    tab.eval("location.hash = '#%'");
    tab.shows(".unknown", "The config has no service %.");
    tab.click("a.back");
    tab.wait("document.querySelector('table.services')");
}

#[test]
fn events_are_filtered_by_kind() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#web", DESK);
    tab.eval(
        "(() => { const kinds = document.querySelector('[data-view=kind]'); kinds.value = 'scale';
            kinds.dispatchEvent(new Event('input', { bubbles: true })); })()",
    );
    tab.wait("asking && view.kind === 'scale'");
    tab.refresh();
    let last = site.reads("/events").pop().unwrap();
    assert!(last.ends_with("&service=web&kind=scale.*"), "{last}");
    site.set("/events", json!([]));
    tab.refresh();
    tab.shows(".events .none", "No event of this kind.");
    // Another page begins with all kinds.
    tab.eval("location.hash = ''");
    tab.wait("document.querySelector('table.services') && view.kind === ''");
    assert_eq!(tab.eval("document.querySelector('[data-view=kind]').value"), "");
}

#[test]
fn history_is_shown_for_an_hour_a_day_and_a_week() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#api", DESK);
    assert_eq!(tab.text("[data-range][aria-pressed=true]"), "Hour");
    for range in ["day", "week"] {
        tab.click(&format!("[data-range={range}]"));
        tab.wait(&format!("seen.course && view.range === '{range}'"));
        let asked = site.reads("/history?").pop().unwrap();
        assert_eq!(asked, format!("/history?service=api&range={range}"));
        tab.wait("document.querySelector('.chart svg')");
        assert_eq!(tab.count(&format!("[data-range={range}][aria-pressed=true]")), 1);
    }
    // A daemon that keeps no such history.
    site.set_status("/history", 404, json!({ "error": "no such path" }));
    tab.eval("kept.clear()");
    tab.click("[data-range=day]");
    tab.shows(".course", "No history yet.");
    tab.click("[data-range=hour]");
    tab.wait("document.querySelector('.chart svg')");
}

/// A forecast of one metric, with these in place of the figures that it has else.
fn forecast(mode: &str, metrics: &[Value]) -> Value {
    let metric = |more: &Value| {
        let mut metric = json!({
            "name": "cpu", "unit": "%", "target": 70.0, "expected": 310.5, "upper": 420.25,
            "replicas": 6, "weeks": 3, "correction": 1.1, "peak_in_s": 300, "error_ratio": 0.125,
            "why_none": null,
        });
        metric.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        metric
    };
    let metrics: Vec<Value> = metrics.iter().map(metric).collect();
    json!({ "mode": mode, "horizon_s": 600, "replicas": 6, "by_load": 3, "metrics": metrics })
}

#[test]
fn a_forecast_has_a_line_for_each_metric_and_says_why_there_is_none() {
    let site = made_up::four();
    let set = |forecast: Value| {
        site.change("/status", |status| status["services"][0]["forecast"] = forecast);
    };
    let panel = "section.forecast";
    let none = json!({
        "name": "http http://a/load /queued", "unit": "", "upper": null, "replicas": null,
        "expected": null, "weeks": null, "error_ratio": null,
        "why_none": "needs two weeks of history; has 5 d <b>",
    });
    let one = json!({
        "name": "haproxy sessions", "unit": "", "upper": 7.0, "replicas": 1, "weeks": 1,
        "error_ratio": null,
    });
    set(forecast("on", &[json!({}), one, none]));
    let tab = Tab::open(&site, "#api", DESK);
    for words in [
        "It raises the number ahead of the load.",
        "cpu: up to 420 % in all within 10 min, for 6 replicas; from 3 weeks; off by 13 % in the \
         last day.",
        "haproxy sessions: up to 7 in all within 10 min, for 1 replica; from 1 week.",
        "http http://a/load /queued: no forecast: needs two weeks of history; has 5 d <b>.",
    ] {
        tab.shows(panel, words);
    }
    assert_eq!(tab.count(&format!("{panel} p[data-key]")), 3);
    set(forecast("shadow", &[json!({ "error_ratio": 0.0 })]));
    tab.refresh();
    tab.shows(panel, "It is shown only: no replica is started by it.");
    tab.shows(panel, "off by 0 % in the last day.");
    assert_eq!(tab.count(&format!("{panel} p[data-key]")), 1);
    set(Value::Null);
    tab.refresh();
    tab.wait(&format!("!document.querySelector('{panel}')"));
}

#[test]
fn the_history_has_a_line_of_what_was_forecast_with_its_gaps() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#api", DESK);
    tab.wait("document.querySelector('.chart svg')");
    assert_eq!(tab.count("path.forecast"), 0, "nothing was forecast");
    let now = 1_795_835_520;
    let point = |minute: i64| {
        let at = now - 86_400 + minute * 60;
        match minute {
            // Before the forecast was on, while the daemon did not know the load, and once more.
            0..400 => json!([at, 0.5, 2, 2]),
            400..600 => json!([at, 0.6, 2, 2, 0.9]),
            600..700 => json!([at, null, 2, 2]),
            _ => json!([at, 0.7, 3, 3, 1.2]),
        }
    };
    let day: Vec<Value> = (0..1440).step_by(2).map(point).collect();
    site.set("/history", json!({ "api": day }));
    tab.click("[data-range=day]");
    tab.wait("seen.course && view.range === 'day' && document.querySelector('.chart .forecast')");
    let line = tab.eval("document.querySelector('.chart path.forecast').getAttribute('d')");
    assert_eq!(line.as_str().unwrap().matches('M').count(), 2, "{line}");
    assert!(!line.as_str().unwrap().contains("NaN"), "{line}");
    tab.shows(".course figcaption", "load 70 % of target, forecast 120 %, 3 ready of 3 desired");
    // A day of one row is no line, and an empty one is said.
    for rows in [json!([]), json!([[now, 0.5, 2, 2, 0.9]])] {
        site.set("/history", json!({ "api": rows }));
        tab.eval("kept.clear()");
        tab.refresh();
        tab.shows(".course", "No history yet.");
    }
}

#[test]
fn the_chart_says_what_was_at_the_pointer() {
    let site = made_up::four();
    let tab = Tab::open(&site, "#api", DESK);
    tab.shows("figcaption", "Now: load ");
    tab.point(".plot");
    tab.wait(
        "/^\\d\\d:\\d\\d:\\d\\d: load \\d+ % of target, \\d ready of \\d desired$/
        .test(document.querySelector('figcaption').innerText)",
    );
    tab.point(".title");
    tab.shows("figcaption", "Now: load ");
}

#[test]
fn fields_that_an_older_daemon_does_not_give_are_left_out() {
    let site = made_up::four();
    for path in ["/services/web/stats", "/status"] {
        site.change(path, |answer| {
            for replica in answer["replicas"].as_array_mut().into_iter().flatten() {
                for key in ["started", "restarts", "log", "drain", "check", "haproxy"] {
                    replica.as_object_mut().unwrap().remove(key);
                }
            }
            if let Some(all) = answer["services"].as_array_mut() {
                all.iter_mut().for_each(|s| drop(s.as_object_mut().unwrap().remove("haproxy")));
            }
        });
    }
    site.set_status("/services/web/schedule", 404, json!({ "error": "no such path" }));
    let tab = Tab::open(&site, "#web", DESK);
    tab.shows("table.replicas", "web-1");
    for part in [".figures", ".schedule", "table.drains", "details"] {
        assert_eq!(tab.count(part), 0, "{part}");
    }
}
