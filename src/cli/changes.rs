//! What changed between two answers of the daemon, for `status --watch`.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::cli::table::word;

/// Lines that are shown.
const CHANGES_MAX: usize = 10;

/// What is compared of a service, with the name that people know.
const FIELDS: [(&str, &str); 6] = [
    ("ready", "ready"),
    ("desired", "desired"),
    ("min", "min"),
    ("max", "max"),
    ("window", "schedule"),
    ("reason", "reason"),
];

/// The last changes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    before: Option<Value>,
    lines: VecDeque<String>,
}

impl Changes {
    /// `all` is the answer of `/status`, `service` that of `/services/NAME/stats` for one of them.
    pub(crate) fn note(&mut self, all: &Value, service: Option<&Value>) {
        let mut now = all.clone();
        if let Some(service) = service {
            now["services"] = Value::from(vec![service.clone()]);
            let name = &service["name"];
            if let Some(problems) = now["problems"].as_array_mut() {
                problems.retain(|problem| problem["service"] == *name);
            }
        }
        if let Some(before) = &self.before {
            let at = word(&all["at"]);
            let lines = between(before, &now).into_iter().map(|line| format!("{at}  {line}"));
            self.lines.extend(lines);
            self.lines.drain(..self.lines.len().saturating_sub(CHANGES_MAX));
        }
        self.before = Some(now);
    }

    /// Empty, or a line for each, the last one first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().rev().cloned().collect()
    }
}

fn between(before: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let (old, new) = (by_name(&before["services"]), by_name(&now["services"]));
    for (name, service) in &new {
        match old.get(name) {
            Some(old) => lines.extend(of_service(name, old, service)),
            None => lines.push(format!("{name} is new in the config")),
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    lines.extend(gone.map(|name| format!("{name} left the config")));
    let (old, new) = (problems(before), problems(now));
    let is_new = |key: &&String| !old.contains_key(*key);
    lines.extend(new.keys().filter(is_new).map(|key| format!("problem: {key}: {}", new[key])));
    let is_over = |key: &&String| !new.contains_key(*key);
    lines.extend(old.keys().filter(is_over).map(|key| format!("over: {key}")));
    lines
}

fn of_service(name: &str, old: &Value, new: &Value) -> Vec<String> {
    let field = |(key, shown): (&str, &str)| {
        let (old, new) = (&old[key], &new[key]);
        (old != new).then(|| format!("{name}: {shown} {} -> {}", word(old), word(new)))
    };
    let mut lines: Vec<String> = FIELDS.into_iter().filter_map(field).collect();
    let (old, new) = (by_name(&old["replicas"]), by_name(&new["replicas"]));
    for (replica, seen) in &new {
        let state = word(&seen["state"]);
        match old.get(replica).map(|old| word(&old["state"])) {
            Some(old) if old == state => (),
            Some(old) => lines.push(format!("{replica}: {old} -> {state}")),
            None => lines.push(format!("{replica}: new, {state}")),
        }
    }
    let gone = old.keys().filter(|replica| !new.contains_key(*replica));
    lines.extend(gone.map(|replica| format!("{replica}: gone")));
    lines
}

fn by_name(list: &Value) -> BTreeMap<String, &Value> {
    list.as_array().into_iter().flatten().map(|item| (word(&item["name"]), item)).collect()
}

/// By what they concern; with the message.
fn problems(all: &Value) -> BTreeMap<String, String> {
    let problem = |problem: &Value| {
        let about =
            [&problem["service"], &problem["replica"]].into_iter().filter_map(Value::as_str);
        let key: Vec<&str> = about.chain(problem["kind"].as_str()).collect();
        (key.join(" "), word(&problem["message"]))
    };
    all["problems"].as_array().into_iter().flatten().map(problem).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::cli::changes::{CHANGES_MAX, Changes};

    fn status(second: u32, ready: u32, state: &str) -> Value {
        json!({
            "at": format!("2026-11-28T10:00:{second:02}Z"),
            "services": [{
                "name": "web", "ready": ready, "desired": 3, "min": 1, "max": 8, "window": null,
                "reason": "DesiredWithinRange", "uptime": second,
                "replicas": [{ "name": "web-1", "state": state, "cpu_percent": second }],
            }],
            "problems": [],
        })
    }

    #[test]
    fn what_changed_is_said_with_its_time_the_last_first() {
        let mut changes = Changes::default();
        changes.note(&status(0, 2, "starting"), None);
        changes.note(&status(2, 2, "starting"), None);
        assert!(changes.lines().is_empty(), "load and times are no changes: {changes:?}");
        let mut new = status(4, 3, "ready");
        new["services"][0]["window"] = json!("night");
        let problem = json!({
            "kind": "metric.failed", "service": "web", "replica": null, "message": "refused",
        });
        new["problems"] = json!([problem]);
        changes.note(&new, None);
        let mut later = status(6, 3, "ready");
        later["services"][0]["name"] = json!("shop");
        later["services"][0]["replicas"] = json!([]);
        changes.note(&later, None);
        let want = [
            "2026-11-28T10:00:06Z  over: web metric.failed",
            "2026-11-28T10:00:06Z  web left the config",
            "2026-11-28T10:00:06Z  shop is new in the config",
            "2026-11-28T10:00:04Z  problem: web metric.failed: refused",
            "2026-11-28T10:00:04Z  web-1: starting -> ready",
            "2026-11-28T10:00:04Z  web: schedule - -> night",
            "2026-11-28T10:00:04Z  web: ready 2 -> 3",
        ];
        assert_eq!(changes.lines(), want);
    }

    #[test]
    fn of_one_service_its_own_changes_are_said_and_only_the_last_are_kept() {
        let mut changes = Changes::default();
        let own = |all: &Value| all["services"][0].clone();
        for second in 0..40 {
            let mut all = status(second, second % 7, "ready");
            all["problems"] =
                json!([{ "kind": "x", "service": format!("other-{second}"), "message": "" }]);
            changes.note(&all, Some(&own(&all)));
        }
        let lines = changes.lines();
        assert_eq!(lines.len(), CHANGES_MAX, "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("web: ready ")), "{lines:?}");
    }
}
