//! Drafts as labels to paste into the compose file. The whole is a compose file too, which
//! `docker compose -f compose.yaml -f FILE up -d` reads beside the first.

use std::path::Path;

use serde_json::Value;

use crate::cli::init::draft::{Draft, Key, one_line};
use crate::model::label_set::LABEL_PREFIX;

/// Keys that labels have a default for, or that are docker compose's.
const LEFT_OUT: [&str; 3] = ["compose", "scale_up_threshold", "scale_down_threshold"];

pub(crate) fn write(file: &Path, drafts: Vec<Draft>) -> String {
    let mut out = format!(
        "# Written by `plimsoll init`: labels for {}.\n\
         # Check each guess, paste them there, then run `docker compose up -d`.\n\
         # `plimsoll check --compose FILE` finds mistakes in them.\n\
         services:\n",
        one_line(&file.display().to_string())
    );
    for draft in drafts {
        out += &service(&draft);
    }
    out
}

fn service(draft: &Draft) -> String {
    let name = Value::from(draft.origin.as_str());
    if let Some(why) = &draft.unfit {
        return format!("  # {name} is left out: {}\n", one_line(why));
    }
    let mut out = String::new();
    for remark in &draft.remarks {
        out += &format!("  # {}\n", one_line(remark));
    }
    out += &format!("  {name}:\n    labels:\n");
    let mut lines = Vec::new();
    for Key { name, value, remark, .. } in &draft.keys {
        if !LEFT_OUT.contains(name) {
            flatten(name, value, &mut |label, text| {
                // Compose replaces variables in labels.
                let text = Value::from(text.replace('$', "$$"));
                let remark = remark.as_ref().map(|remark| format!("  # {}", one_line(remark)));
                lines.push(format!(
                    "      {LABEL_PREFIX}{label}: {text}{}\n",
                    remark.unwrap_or_default()
                ));
            });
        }
    }
    out + &lines.concat()
}

/// Each scalar with its path.
fn flatten(path: &str, value: &Value, add: &mut dyn FnMut(&str, String)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{path}.{key}"), value, add);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                flatten(&format!("{path}.{i}"), value, add);
            }
        }
        Value::String(text) => add(path, text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) => add(path, value.to_string()),
    }
}
