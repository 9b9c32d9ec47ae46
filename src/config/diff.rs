//! What a reload of the config changes, by config keys.

use std::collections::BTreeSet;

use crate::model::config::Config;
use crate::model::service::Service;

/// One entry for each difference; empty when there is none.
pub(crate) fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut out = Vec::new();
    let mut note = |differs: bool, key: &str| {
        if differs {
            out.push(format!("autoscaler.{key}"));
        }
    };
    note(old.check_interval != new.check_interval, "check_interval");
    note(old.log_level != new.log_level, "log_level");
    note(old.log_format != new.log_format, "log_format");
    note(old.dry_run != new.dry_run, "dry_run");
    note(old.memory_reserve != new.memory_reserve, "memory_reserve");
    note(old.cpu_reserve != new.cpu_reserve, "cpu_reserve");
    note(old.history != new.history, "history");
    note(old.report != new.report, "report");
    note(old.labels != new.labels, "labels");
    note(old.business_hours != new.business_hours, "business_hours");
    note(old.remove_orphans != new.remove_orphans, "remove_orphans");
    if old.notifications != new.notifications {
        out.push("notifications".to_owned());
    }
    let (door, then) = (&old.front_door, &new.front_door);
    for (differs, key) in [
        (door.frontends != then.frontends, "frontends"),
        (door.trusted_proxies != then.trusted_proxies, "trusted_proxies"),
        (door.acme_webroot != then.acme_webroot, "acme_webroot"),
    ] {
        if differs {
            out.push(format!("load_balancer.{key}"));
        }
    }
    let names: BTreeSet<_> = old.services.keys().chain(new.services.keys()).collect();
    for name in names {
        match (old.services.get(name), new.services.get(name)) {
            (None, _) => out.push(format!("services.{name} is new")),
            (_, None) => out.push(format!("services.{name} is gone")),
            (Some(old), Some(new)) if old == new => (),
            (Some(old), Some(new)) => {
                out.push(format!("services.{name}: {}", keys(old, new).join(", ")));
            }
        }
    }
    out
}

fn keys(old: &Service, new: &Service) -> Vec<&'static str> {
    let from = &old.container;
    let to = &new.container;
    let from_policy = &old.policy;
    let to_policy = &new.policy;
    let when = &old.timetable;
    let then = &new.timetable;
    let differs = [
        ("image", from.origin != to.origin),
        ("command", from.command != to.command),
        // Its values may be secrets, so only the key is named.
        ("environment", from.environment != to.environment),
        ("volumes", from.volumes != to.volumes),
        ("cpus", from.nano_cpus != to.nano_cpus),
        ("memory", from.memory != to.memory),
        ("networks", from.networks != to.networks),
        ("labels", from.labels != to.labels),
        ("user", from.user != to.user),
        ("restart", from.restart != to.restart),
        ("engine", old.runs != new.runs),
        ("port", old.port != new.port),
        ("listen", old.listen != new.listen),
        ("routes", old.routes != new.routes),
        ("min_replicas", when.bounds.min() != then.bounds.min()),
        ("max_replicas", when.bounds.max() != then.bounds.max()),
        ("business_hours", when.hours != then.hours),
        ("schedules", when.schedules != then.schedules),
        ("scale_up_threshold, scale_down_threshold", old.band != new.band),
        ("metrics", old.metrics != new.metrics),
        ("behavior", old.behavior != new.behavior),
        ("cooldown_period", old.cooldown != new.cooldown),
        ("health_check", old.health != new.health),
        ("rollout", old.rollout != new.rollout),
        ("image_updates", old.image_updates != new.image_updates),
        ("protocol", from_policy.protocol != to_policy.protocol),
        ("balance", from_policy.balance != to_policy.balance),
        ("sticky", from_policy.sticky != to_policy.sticky),
        ("timeouts", from_policy.timeouts != to_policy.timeouts),
        ("max_connections", from_policy.max_connections != to_policy.max_connections),
        ("retry", old.retry != new.retry || from_policy.retries != to_policy.retries),
        ("allow", from_policy.allow != to_policy.allow),
        ("basic_auth", from_policy.basic_auth != to_policy.basic_auth),
        ("rate_limit", from_policy.rate_limit != to_policy.rate_limit),
        ("request_headers", from_policy.request_headers != to_policy.request_headers),
        ("response_headers", from_policy.response_headers != to_policy.response_headers),
        ("sleep_after", old.sleep.after != new.sleep.after),
        ("wake_timeout", old.sleep.wake_timeout != new.sleep.wake_timeout),
        ("wake_page", old.sleep.page != new.sleep.page),
        ("forecast", old.forecast != new.forecast),
        ("hooks", old.hooks != new.hooks),
        ("priority", old.priority != new.priority),
        ("drain_timeout", old.drain_timeout != new.drain_timeout),
        ("stop_timeout", old.stop_timeout != new.stop_timeout),
    ];
    let keys = differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key);
    keys.chain(from.options.differences(&to.options)).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::diff::changes;
    use crate::config::parse;
    use crate::model::config::Config;

    const BASE: &str = r#""image": "a", "port": 80, "min_replicas": 2, "max_replicas": 2"#;

    fn config(autoscaler: &str, services: &str) -> Config {
        let text = format!(r#"{{"autoscaler": {{{autoscaler}}}, "services": {{{services}}}}}"#);
        let loaded = parse("c", &text);
        loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems))
    }

    #[track_caller]
    fn check_web(with: &str, want: &str) {
        let old = config("", &format!(r#""web": {{{BASE}}}"#));
        let new = config("", &format!(r#""web": {{{BASE}, {with}}}"#));
        assert_eq!(changes(&old, &new), [format!("services.web: {want}")], "{with}");
        assert_eq!(changes(&new, &new), [""; 0]);
    }

    #[test]
    fn each_key_of_a_service_is_named() {
        let window = r#""start": "09:00", "end": "10:00""#;
        for (with, want) in [
            (r#""command": ["x"]"#.to_owned(), "command"),
            (r#""environment": {"A": "secret"}"#.to_owned(), "environment"),
            (r#""volumes": ["/a:/b"]"#.to_owned(), "volumes"),
            (r#""cpus": 1"#.to_owned(), "cpus"),
            (r#""memory": "64m""#.to_owned(), "memory"),
            (r#""listen": 80"#.to_owned(), "listen"),
            (
                format!(r#""business_hours_only": true, "business_hours": {{{window}}}"#),
                "business_hours",
            ),
            (format!(r#""schedules": [{{{window}, "max_replicas": 3}}]"#), "schedules"),
            (
                r#""scale_up_threshold": 70, "scale_down_threshold": 10"#.to_owned(),
                "scale_up_threshold, scale_down_threshold",
            ),
            (r#""cooldown_period": 1"#.to_owned(), "cooldown_period"),
            (r#""health_check": {"path": "/up"}"#.to_owned(), "health_check"),
            (r#""retry": "safe""#.to_owned(), "retry"),
            (
                r#""sleep_after": 1, "wake_timeout": 2, "wake_page": 1"#.to_owned(),
                "sleep_after, wake_timeout, wake_page",
            ),
            (r#""forecast": {"horizon": "5m"}"#.to_owned(), "forecast"),
            (r#""hooks": {"after_ready": ["x"]}"#.to_owned(), "hooks"),
            (r#""drain_timeout": 1, "stop_timeout": 1"#.to_owned(), "drain_timeout, stop_timeout"),
        ] {
            check_web(&with, want);
        }
    }

    #[test]
    fn services_come_and_go_and_the_daemons_own_keys_are_told() {
        let old = config("", &format!(r#""a": {{{BASE}}}, "b": {{{BASE}}}"#));
        let other = BASE.replace(
            r#""image": "a", "port": 80, "min_replicas": 2"#,
            r#""image": "z", "port": 81"#,
        );
        let other = format!(r#"{other}, "scale_up_threshold": 70, "scale_down_threshold": 10"#);
        let new = config(
            r#""check_interval": 5, "log_level": "debug", "dry_run": true"#,
            &format!(r#""b": {{{other}}}, "c": {{{BASE}}}"#),
        );
        let want = [
            "autoscaler.check_interval",
            "autoscaler.log_level",
            "autoscaler.dry_run",
            "services.a is gone",
            "services.b: image, port, min_replicas, scale_up_threshold, scale_down_threshold",
            "services.c is new",
        ];
        assert_eq!(changes(&old, &new), want);
    }
}
