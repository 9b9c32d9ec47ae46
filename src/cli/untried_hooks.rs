//! What `check` says of hooks: it cannot try them, as they run in replicas.

use crate::model::config::Config;
use crate::model::hooks::Hooks;
use crate::model::label_set::LabelSet;

pub(crate) fn of_config(config: &Config) -> String {
    let with = config.services.values().filter(|service| service.hooks != Hooks::default());
    line(&with.map(|service| service.name.as_str()).collect::<Vec<_>>())
}

pub(crate) fn of_labels<'a>(sets: impl Iterator<Item = &'a LabelSet>) -> String {
    line(&sets.filter(|set| has_hooks(set)).map(|set| set.service.as_str()).collect::<Vec<_>>())
}

fn has_hooks(set: &LabelSet) -> bool {
    let in_config = set.labels.get("config").is_some_and(|text| text.contains("\"hooks\""));
    in_config || set.labels.keys().any(|key| key == "hooks" || key.starts_with("hooks."))
}

/// A line more where services have hooks, else nothing.
fn line(services: &[&str]) -> String {
    if services.is_empty() {
        return String::new();
    }
    format!(
        "\nhooks of {} are not tried here: after_ready runs when a replica first passes its health \
         check, before_stop before it is stopped",
        services.join(", ")
    )
}
