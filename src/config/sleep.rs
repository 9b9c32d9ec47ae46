//! `sleep_after`, `wake_timeout` and `wake_page`: when a service has no replica, and how a request
//! waits for one.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::cursor::{Node, Section};
use crate::model::config::ProxyMode;
use crate::model::schedule::Timetable;
use crate::model::service::Platform;
use crate::model::sleep::SleepPolicy;
use crate::model::traffic_policy::{Protocol, TrafficPolicy};
use crate::model::units;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Of `wake_timeout`, and so of `wake_page`.
const WAIT: RangeInclusive<Duration> = SECOND..=Duration::from_secs(600);

const KEYS: [&str; 3] = ["sleep_after", "wake_timeout", "wake_page"];

/// Reads the three keys. HAProxy has sent a request that is held, and so it waits for the answer no
/// longer than `timeouts.server`.
pub(crate) fn sleep(section: &Section, policy: &TrafficPolicy) -> SleepPolicy {
    let usual = SleepPolicy::default();
    let after = section.get("sleep_after").and_then(|n| n.duration(SECOND..=DAY));
    let wait = |key| -> Option<(Node, Option<Duration>)> {
        let node: Node = section.get(key)?;
        let span = node.duration(WAIT);
        Some((node, span))
    };
    let server = policy.timeouts.server(policy.protocol);
    let timeout = wait("wake_timeout");
    let page = wait("wake_page");
    if let Some((node, Some(timeout))) = &timeout
        && server < *timeout
    {
        node.wrong::<()>(format!(
            "at most timeouts.server ({}): a request that waits longer gets 504 (or set \
             timeouts.server to {} or more)",
            units::show(server),
            units::show(*timeout)
        ));
    }
    let wake_timeout = match &timeout {
        Some((_, span)) => *span,
        None => Some(usual.wake_timeout.min(server)),
    };
    if let (Some((node, Some(page))), Some(timeout)) = (&page, wake_timeout)
        && timeout < *page
    {
        node.wrong::<()>(format!("at most wake_timeout ({})", units::show(timeout)));
    }
    if let Some((node, _)) = &page
        && policy.protocol == Protocol::Tcp
    {
        node.error("cannot be used with protocol tcp: a page is an answer of HTTP");
    }
    SleepPolicy {
        after: after.unwrap_or(usual.after),
        wake_timeout: wake_timeout.unwrap_or(usual.wake_timeout),
        page: page.and_then(|(_, span)| span),
    }
}

/// Warns where the service never sleeps, or where nothing wakes it.
pub(crate) fn beside(
    section: &Section,
    timetable: Option<&Timetable>,
    runs: Option<&Platform>,
    mode: &ProxyMode,
) {
    let is_swarm = matches!(runs, Some(Platform::Swarm(_)));
    let why = if is_swarm {
        "has no effect with engine swarm: the service always has a replica"
    } else if section.has("compose") {
        "has no effect with `compose`: one container always stays as the template"
    } else if *mode == ProxyMode::None {
        "has no effect with load_balancer.mode none: no request wakes the service"
    } else if timetable.is_some_and(|timetable| 0 < timetable.least()) {
        "has no effect: the service never sleeps; set min_replicas to 0"
    } else {
        return;
    };
    for key in KEYS {
        section.unused(key, why);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::parse;
    use crate::model::sleep::SleepPolicy;

    /// The messages, and the policy of the service if it is good.
    fn read(top: &str, keys: &str) -> (Vec<String>, Option<SleepPolicy>) {
        let text = format!(
            r#"{{ {top} "services": {{"web": {{
                "image": "a", "port": 80, "max_replicas": 1, {keys} }} }} }}"#
        );
        let loaded = parse("c", &text);
        let said = loaded.problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
        let config = loaded.config.as_ref();
        (said, config.and_then(|config| config.services.values().next()).map(|web| web.sleep))
    }

    const CPU: &str = r#""scale_up_threshold": 75, "scale_down_threshold": 25"#;

    #[track_caller]
    fn check(keys: &str, want: (u64, u64, Option<u64>)) {
        let (said, policy) = read("", &format!(r#"{CPU}, "min_replicas": 0, {keys}"#));
        let (after, wake_timeout, page) = want;
        let ms = Duration::from_millis;
        let want =
            SleepPolicy { after: ms(after), wake_timeout: ms(wake_timeout), page: page.map(ms) };
        assert_eq!((said, policy), (Vec::new(), Some(want)), "{keys}");
    }

    #[track_caller]
    fn check_bad(keys: &str, want: &str) {
        let (said, policy) = read("", &format!(r#"{CPU}, "min_replicas": 0, {keys}"#));
        let want = format!("services.web.{want}");
        assert!(policy.is_none() && matches!(&said[..], [one] if *one == want), "{keys}: {said:?}");
    }

    #[test]
    fn each_key_has_its_range() {
        let day = 24 * 3_600_000;
        for (keys, want) in [
            (r#""stop_timeout": 10"#, (300_000, 60_000, None)),
            (r#""sleep_after": 1"#, (1000, 60_000, None)),
            (r#""sleep_after": "24h""#, (day, 60_000, None)),
            (r#""wake_timeout": "1s", "wake_page": "1s""#, (300_000, 1000, Some(1000))),
            (r#""wake_page": "60s""#, (300_000, 60_000, Some(60_000))),
            (r#""wake_timeout": "5m""#, (300_000, 300_000, None)),
            (r#""wake_timeout": "10m", "timeouts": {"server": "10m"}"#, (300_000, 600_000, None)),
            (r#""wake_timeout": 30, "timeouts": {"server": 30}"#, (300_000, 30_000, None)),
            // The default is no longer than what HAProxy waits for an answer.
            (r#""timeouts": {"server": "59s"}"#, (300_000, 59_000, None)),
            (r#""timeouts": {"server": "61s"}"#, (300_000, 60_000, None)),
            (r#""timeouts": {"server": "500ms"}"#, (300_000, 500, None)),
            (r#""wake_timeout": "10m", "protocol": "tcp", "listen": 1"#, (300_000, 600_000, None)),
        ] {
            check(keys, want);
        }
        for (keys, want) in [
            (r#""sleep_after": "999ms""#, "sleep_after: must be a duration from 1s to 24h"),
            (r#""sleep_after": 86401"#, "sleep_after: must be a duration from 1s to 24h"),
            (r#""wake_timeout": "999ms""#, "wake_timeout: must be a duration from 1s to 10m"),
            (r#""wake_timeout": 601"#, "wake_timeout: must be a duration from 1s to 10m"),
            (r#""wake_page": 0"#, "wake_page: must be a duration from 1s to 10m"),
        ] {
            let (_, got) = keys.split_once(": ").unwrap();
            check_bad(keys, &format!("{want}, got {got}"));
        }
    }

    #[test]
    fn no_wait_is_longer_than_what_is_around_it() {
        let over = |server: &str, timeout: &str, got: &str| {
            format!(
                "wake_timeout: must be at most timeouts.server ({server}): a request that waits \
                 longer gets 504 (or set timeouts.server to {timeout} or more), got {got}"
            )
        };
        check_bad(r#""wake_timeout": 301"#, &over("5m", "301s", "301"));
        check_bad(r#""wake_timeout": 31, "timeouts": {"server": 30}"#, &over("30s", "31s", "31"));
        let at_most = |timeout: &str, page: &str| {
            format!("wake_page: must be at most wake_timeout ({timeout}), got {page}")
        };
        check_bad(r#""wake_page": 61"#, &at_most("1m", "61"));
        check_bad(r#""wake_timeout": 2, "wake_page": 3"#, &at_most("2s", "3"));
        let short = r#""timeouts": {"server": "500ms"}, "wake_page": 1"#;
        check_bad(short, &at_most("500ms", "1"));
        check_bad(
            r#""wake_page": 1, "protocol": "tcp", "listen": 1"#,
            "wake_page: cannot be used with protocol tcp: a page is an answer of HTTP",
        );
    }

    #[test]
    fn a_key_without_effect_is_warned_of() {
        let always = "has no effect: the service never sleeps; set min_replicas to 0";
        let window = r#""start": "09:00", "end": "10:00", "max_replicas": 1"#;
        let with = |min: u32| format!(r#""schedules": [{{{window}, "min_replicas": {min}}}]"#);
        let outside = |count: u32| {
            format!(
                r#""business_hours_only": true, "business_hours": {{}}, "outside_hours": {count}"#
            )
        };
        let none = r#""load_balancer": {"mode": "none"},"#;
        let of_none = "has no effect with load_balancer.mode none: no request wakes the service";
        let idle = format!(r#"{CPU}, "min_replicas": 0"#);
        for (top, keys, want) in [
            ("", r#""min_replicas": 1"#.to_owned(), Some(always)),
            ("", idle.clone(), None),
            ("", with(1), Some(always)),
            ("", with(0), None),
            ("", outside(1), Some(always)),
            ("", outside(0), Some(always)),
            (none, with(0), Some(of_none)),
        ] {
            for key in super::KEYS {
                let (said, policy) = read(top, &format!(r#"{keys}, "{key}": 5"#));
                let want: Vec<_> =
                    want.iter().map(|want| format!("services.web.{key}: {want}")).collect();
                assert!(said == want && policy.is_some(), "{keys}: {said:?}");
            }
        }
    }

    #[test]
    fn load_alone_starts_a_first_replica_only_behind_haproxy() {
        let metrics = |source: &str| format!(r#""min_replicas": 0, "metrics": [{source}]"#);
        let cpu = r#"{"source": "cpu", "target": 70}"#;
        let http = r#"{"source": "http", "url": "http://127.0.0.1:9000/", "target": 1}"#;
        let queue = r#"{"source": "haproxy", "field": "queue", "target": 1}"#;
        let swarm = r#""engine": "swarm", "swarm_service": "web", "port": 80"#;
        for (mode, keys, is_warned) in [
            ("process", metrics(cpu), false),
            ("systemd", metrics(queue), false),
            ("none", metrics(cpu), true),
            ("none", metrics(http), false),
            ("none", metrics(&format!("{cpu}, {http}")), false),
            ("none", format!(r#"{CPU}, "min_replicas": 0"#), true),
            ("none", format!(r#"{CPU}, "min_replicas": 1"#), false),
            ("process", format!("{}, {swarm}", metrics(queue)), true),
            ("process", format!("{}, {swarm}", metrics(http)), false),
        ] {
            // Wherever the section stands.
            let lb = format!(r#""load_balancer": {{"mode": "{mode}"}}"#);
            let image = if keys.contains("swarm") { "" } else { r#""image": "a", "port": 80,"# };
            let services =
                format!(r#""services": {{"web": {{ {image} "max_replicas": 2, {keys} }} }}"#);
            for text in [format!("{{{lb}, {services}}}"), format!("{{{services}, {lb}}}")] {
                let loaded = parse("c", &text);
                let said: Vec<_> = loaded.problems.iter().map(|p| p.message.as_str()).collect();
                let no_load = "with 0 replicas there is no load to measure";
                assert_eq!(said.len(), usize::from(is_warned), "{text}: {said:?}");
                assert!(said.iter().all(|said| said.starts_with(no_load)), "{said:?}");
                assert!(loaded.config.is_some(), "{text}");
            }
        }
    }
}
