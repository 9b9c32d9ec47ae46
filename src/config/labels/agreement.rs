//! Services that are made up, written into labels and into the file: both are read alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::config::container::MAKE;
use crate::config::labels::resolve;
use crate::config::labels::tests::{file, problems, set};
use crate::config::parse;
use crate::config::properties::spelling::{Style, write};
use crate::config::properties::{Random, valid};
use crate::model::config::Config;
use crate::model::health::HealthKind;
use crate::model::label_set::LabelSet;
use crate::model::service::Service;

const CONFIGS: u64 = 1500;

/// What labels cannot say.
fn is_others(key: &str) -> bool {
    ["image", "image_updates", "compose", "engine", "swarm_service"].contains(&key)
        || MAKE.contains(&key)
}

/// Writes a value into labels. Gives what cannot be, for `plimsoll.config`.
fn flatten(
    path: &str,
    value: &Value,
    random: &mut Random,
    out: &mut BTreeMap<String, String>,
) -> Option<Value> {
    let is_plain = |text: &str| !text.contains(',') && text.trim() == text && !text.is_empty();
    let scalar = |value: &Value| match value {
        // A file has `$${` for what a label has as it is.
        Value::String(text) => Some(text.replace("$${", "${")),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Value::Object(map) if map.is_empty() => Some(value.clone()),
        Value::Object(map) => {
            let mut rest = Map::new();
            for (key, value) in map {
                let left = match key.contains('.') {
                    true => Some(value.clone()),
                    false => flatten(&format!("{path}.{key}"), value, random, out),
                };
                rest.extend(left.map(|left| (key.clone(), left)));
            }
            (!rest.is_empty()).then_some(Value::Object(rest))
        }
        Value::Array(list) => {
            let texts: Option<Vec<String>> = list.iter().map(scalar).collect();
            if let Some(texts) = texts.filter(|texts| texts.iter().all(|text| is_plain(text)))
                && (list.is_empty() || random.one_in(2))
            {
                out.insert(path.to_owned(), texts.join(", "));
                return None;
            }
            let mut below = BTreeMap::new();
            for (i, value) in list.iter().enumerate() {
                if flatten(&format!("{path}.{i}"), value, random, &mut below).is_some() {
                    return Some(Value::Array(list.clone()));
                }
            }
            out.extend(below);
            None
        }
        other => {
            out.extend(scalar(other).map(|text| (path.to_owned(), text)));
            None
        }
    }
}

/// As labels have it if they do not say otherwise.
fn with_defaults(service: &mut Map<String, Value>) {
    let scales = ["metrics", "scale_up_threshold", "scale_down_threshold"];
    if !scales.iter().any(|key| service.contains_key(*key)) {
        service.insert("metrics".to_owned(), json!([{ "source": "cpu", "target": 70 }]));
    }
    let check = service.get("health_check").cloned().unwrap_or_else(|| json!({}));
    let names = ["type", "path", "expect_status", "headers"];
    if service.contains_key("routes") && !names.iter().any(|key| check.get(*key).is_some()) {
        let mut check = check;
        check["type"] = json!("http");
        service.insert("health_check".to_owned(), check);
    }
}

/// Labels have no order: what is named is sorted by name.
fn sorted(config: &Config) -> Vec<Service> {
    let one = |service: &Arc<Service>| {
        let mut service = Service::clone(service);
        service.policy.request_headers.sort_by(|a, b| a.0.cmp(&b.0));
        service.policy.response_headers.sort_by(|a, b| a.0.cmp(&b.0));
        if let HealthKind::Http(check) = &mut service.health.kind {
            check.headers.sort_by(|a, b| a.0.cmp(&b.0));
        }
        if let Some(auth) = &mut service.policy.basic_auth {
            auth.users.sort_by(|a, b| a.0.cmp(&b.0));
        }
        service
    };
    config.services.values().map(one).collect()
}

/// Every key of a service that labels may set, at least so often.
const TIMES: usize = 20;

#[test]
fn each_key_means_the_same_in_a_label_and_in_the_file() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut by_label: BTreeSet<String> = BTreeSet::new();
    for seed in 0..CONFIGS {
        let mut random = Random::new(seed);
        let spec = valid::config(&mut random);
        let (text, _) = write(&spec, Style::Compact, &mut random);
        let mut whole: Value = serde_json::from_str(&text).unwrap();
        let services = whole["services"].take();
        for (name, service) in services.as_object().unwrap() {
            let mut service = service.as_object().unwrap().clone();
            service.retain(|key, _| !is_others(key));
            if service.get("min_replicas") == Some(&json!(0)) {
                service.remove("min_replicas");
            }
            let mut in_file = service.clone();
            with_defaults(&mut in_file);
            let origin = json!({ "project": "p", "service": "s" });
            in_file.insert("compose".to_owned(), origin);
            whole["services"] = json!({ name: in_file });
            let loaded = parse("config.json", &whole.to_string());
            // What needs Swarm or other replicas is no service of docker compose.
            let Some(want) = loaded.config else { continue };
            let mut labels: BTreeMap<String, String> = [("name".to_owned(), name.clone())].into();
            let mut config = Map::new();
            for (key, value) in &service {
                *seen.entry(key.clone()).or_default() += 1;
                let before = labels.len();
                let rest = match random.one_in(5) {
                    true => Some(value.clone()),
                    false => flatten(key, value, &mut random, &mut labels),
                };
                if before < labels.len() {
                    by_label.insert(key.clone());
                }
                config.extend(rest.map(|rest| (key.clone(), rest)));
            }
            if !config.is_empty() {
                let text = Value::Object(config).to_string().replace("$${", "${");
                labels.insert("config".to_owned(), format!("// all of it\n{text}"));
            }
            whole["services"] = json!({});
            let base = file(&whole.to_string());
            let set = LabelSet { labels, ..set("p/s", &[]) };
            let resolution = resolve(&base, std::slice::from_ref(&set), &[]);
            let found = problems(&resolution);
            assert_eq!(found, [""; 0], "seed {seed}: {set:?}");
            let [got, want] = [&resolution.config, &want].map(sorted);
            assert_eq!(got, want, "seed {seed}: {set:?}");
        }
    }
    let schema: Value =
        serde_json::from_str(include_str!("../../../contrib/config.schema.json")).unwrap();
    let keys = schema["$defs"]["service"]["properties"].as_object().unwrap();
    for key in keys.keys() {
        if is_others(key) {
            continue;
        }
        let times = seen.get(key).copied().unwrap_or(0);
        assert!(TIMES <= times && by_label.contains(key), "{key}: {times}");
    }
}
