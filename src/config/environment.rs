//! `environment`: the variables of a container that the config holds itself.

use std::collections::BTreeMap;

use jsonc_parser::ast::Value;

use crate::config::cursor::Node;
use crate::model::secret::Secret;

/// A map, or a list of `NAME=value`.
pub(super) fn environment(node: Option<Node>) -> BTreeMap<String, Secret> {
    let Some(node) = node else { return BTreeMap::new() };
    if let Value::Array(_) = node.value {
        return environment_list(&node);
    }
    let Value::Object(_) = node.value else {
        node.wrong::<()>(r#"an object, { ... }, or a list of "NAME=value""#);
        return BTreeMap::new();
    };
    let Some(section) = node.section() else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (key, node) in section.entries() {
        if !is_variable(key) {
            node.bad_name("the name of a variable must not be empty or contain `=`");
            continue;
        }
        out.extend(variable(&node).map(|value| (key.to_owned(), value)));
    }
    out
}

fn environment_list(node: &Node) -> BTreeMap<String, Secret> {
    let mut out = BTreeMap::new();
    for node in node.list().unwrap_or_default() {
        let parts = node.string.as_deref().and_then(|text| text.split_once('='));
        let Some((name, value)) =
            parts.filter(|(name, value)| is_variable(name) && !value.contains('\0'))
        else {
            // The value may be a secret, so the message does not show it.
            node.complain(r#"must be a text like "NAME=value""#);
            continue;
        };
        if out.insert(name.to_owned(), Secret::new(value.to_owned())).is_some() {
            node.error(format!("{name} is defined twice; remove one of the two"));
        }
    }
    out
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Unlike other texts, a variable may be empty.
fn variable(node: &Node) -> Option<Secret> {
    match node.value {
        Value::BooleanLit(lit) => Some(Secret::new(lit.value.to_string())),
        Value::NumberLit(lit) => Some(Secret::new(lit.value.to_owned())),
        Value::StringLit(_) | Value::Object(_) => {
            let value = node.secret()?;
            if value.expose().contains('\0') {
                node.error("must be a text without NUL characters");
                return None;
            }
            Some(value)
        }
        Value::Array(_) | Value::NullKeyword(_) => {
            node.wrong(r#"a text, or {"file": "/path"} to read it from a file"#)
        }
    }
}
