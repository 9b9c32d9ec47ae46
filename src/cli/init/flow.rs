//! YAML's values that stand on one line: texts with and without quotes, and brackets.

use serde_json::{Map, Value};

use crate::cli::init::yaml::DEPTH_MAX;

pub(crate) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        text => Value::String(text.to_owned()),
    }
}

/// A quoted text at the beginning of `rest`, which goes on behind it.
pub(crate) fn quoted(rest: &mut &str) -> Option<String> {
    let open = rest.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && open == '"' {
            match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                '0' => out.push('\0'),
                other => out.push(other),
            }
        } else if c == open {
            if open == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') {
                chars.next();
                out.push('\'');
                continue;
            }
            *rest = &rest[at + 1..];
            return Some(out);
        } else {
            out.push(c);
        }
    }
    None
}

/// One value on a line, as far as it goes.
pub(crate) fn flow(rest: &mut &str, depth: usize) -> Option<Value> {
    *rest = rest.trim_start();
    match rest.chars().next() {
        _ if DEPTH_MAX < depth => None,
        Some('"' | '\'') => quoted(rest).map(Value::String),
        Some('[') => flow_list(rest, depth),
        Some('{') => flow_map(rest, depth),
        _ if depth == 0 => Some(plain(std::mem::take(rest).trim())),
        _ => {
            let end = rest.find([',', ']', '}']).unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            *rest = after;
            Some(plain(text.trim()))
        }
    }
}

fn flow_list(rest: &mut &str, depth: usize) -> Option<Value> {
    *rest = &rest[1..];
    let mut all = Vec::new();
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(']') {
            *rest = after;
            return Some(Value::Array(all));
        }
        all.push(flow(rest, depth + 1)?);
        *rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None if rest.starts_with(']') => (),
            None => return None,
        }
    }
}

fn flow_map(rest: &mut &str, depth: usize) -> Option<Value> {
    *rest = &rest[1..];
    let mut map = Map::new();
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            *rest = after;
            return Some(Value::Object(map));
        }
        let key = match quoted(rest) {
            Some(key) => key,
            None => {
                let end = rest.find([':', ',', '}'])?;
                let (key, after) = rest.split_at(end);
                *rest = after;
                key.trim().to_owned()
            }
        };
        *rest = rest.trim_start();
        let value = match rest.strip_prefix(':') {
            Some(after) => {
                *rest = after;
                flow(rest, depth + 1)?
            }
            None => Value::Null,
        };
        map.insert(key, value);
        *rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None if rest.starts_with('}') => (),
            None => return None,
        }
    }
}
