//! YAML text to a JSON value, from the events of a parser: anchors, aliases and `<<` are resolved.
//! Depth and growth are bounded, so that no file costs more than a few times its own size.

use std::collections::BTreeMap;
use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

/// Lists and maps inside each other, after aliases are resolved.
const DEPTH_MAX: usize = 40;
/// Bytes that all copies for anchors and aliases may add up to. Without this limit a few lines of
/// aliases to aliases ("billion laughs") fill the memory.
const COPIED_BYTES_MAX: usize = 4 << 20;
/// MetricEvent for each value beside the length of its text.
const VALUE_BYTES: usize = 64;

#[derive(Debug)]
pub(crate) struct Document {
    /// Every scalar is a string, except null.
    pub(crate) value: Value,
    /// What was ignored, each with its line.
    pub(crate) ignored: Vec<(usize, String)>,
    /// Line and column of what stands below `services`, by its keys. What an alias brings has none.
    pub(crate) places: BTreeMap<Vec<String>, (usize, usize)>,
}

/// Keys to a place: a service, a key of it, and an entry of that.
const PLACE_DEPTH_MAX: usize = 4;

/// Why a text is not read, and where. Line and column count from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    line: usize,
    column: usize,
    message: String,
}

impl SyntaxError {
    fn new(at: &Marker, message: impl Into<String>) -> SyntaxError {
        SyntaxError { line: at.line(), column: at.col() + 1, message: message.into() }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// The first document of `text`.
pub(crate) fn read(text: &str) -> Result<Document, SyntaxError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|err| SyntaxError::new(err.marker(), err.info()))?;
        let at = span.start;
        match event {
            Event::DocumentStart(_) if builder.is_complete => {
                let message = "only the first document of the file is read".to_owned();
                builder.ignored.push((at.line(), message));
                break;
            }
            Event::DocumentEnd => builder.is_complete = true,
            Event::SequenceStart(anchor, tag) => {
                builder.note_tag(&at, tag.as_deref());
                builder.open(&at, anchor, Items::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                builder.note_tag(&at, tag.as_deref());
                let items = Items::Map { map: Map::new(), key: None, merged: Vec::new() };
                builder.open(&at, anchor, items)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(&at)?,
            Event::Scalar(text, style, anchor, tag) => {
                builder.note_tag(&at, tag.as_deref());
                let is_null = style == ScalarStyle::Plain && is_null(&text);
                let text = text.into_owned();
                let value = if is_null { Value::Null } else { Value::String(text) };
                builder.add(&at, anchor, YamlNode { value, height: 0 })?;
            }
            Event::Alias(anchor) => {
                let node = builder.copy_of(&at, anchor)?;
                builder.add(&at, NO_ANCHOR, node)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => (),
        }
    }
    let Builder { root: value, ignored, places, .. } = builder;
    Ok(Document { value, ignored, places })
}

/// By YAML's core schema.
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The parser counts anchors from 1.
const NO_ANCHOR: usize = 0;

#[derive(Clone)]
struct YamlNode {
    value: Value,
    /// Of lists and maps inside each other, this one included.
    height: usize,
}

enum Items {
    List(Vec<Value>),
    /// `key` waits for its value.
    Map {
        map: Map<String, Value>,
        key: Option<String>,
        merged: Vec<Value>,
    },
}

/// A list or map whose end has not come.
struct Open {
    anchor: usize,
    height: usize,
    items: Items,
}

#[derive(Default)]
struct Builder {
    root: Value,
    is_complete: bool,
    /// Outermost first.
    open: Vec<Open>,
    anchors: BTreeMap<usize, YamlNode>,
    copied_bytes: usize,
    ignored: Vec<(usize, String)>,
    places: BTreeMap<Vec<String>, (usize, usize)>,
}

impl Builder {
    fn open(&mut self, at: &Marker, anchor: usize, items: Items) -> Result<(), SyntaxError> {
        self.open.push(Open { anchor, height: 1, items });
        self.check_depth(at, self.open.len())
    }

    fn close(&mut self, at: &Marker) -> Result<(), SyntaxError> {
        let Some(Open { anchor, height, items }) = self.open.pop() else { return Ok(()) };
        let value = match items {
            Items::List(list) => Value::Array(list),
            Items::Map { mut map, merged, .. } => {
                merged.into_iter().for_each(|merged| merge(&mut map, merged));
                Value::Object(map)
            }
        };
        self.add(at, anchor, YamlNode { value, height })
    }

    /// A whole value, to the innermost list or map.
    fn add(&mut self, at: &Marker, anchor: usize, node: YamlNode) -> Result<(), SyntaxError> {
        self.check_depth(at, self.open.len() + node.height)?;
        if anchor != NO_ANCHOR {
            self.count_copy(at, bytes(&node.value))?;
            self.anchors.insert(anchor, node.clone());
        }
        let YamlNode { value, height } = node;
        self.note_place(at, &value);
        let Some(parent) = self.open.last_mut() else {
            self.root = value;
            return Ok(());
        };
        parent.height = parent.height.max(height + 1);
        match &mut parent.items {
            Items::List(list) => list.push(value),
            Items::Map { map, key, merged } => match key.take() {
                None => {
                    let text = key_text(at, value)?;
                    if map.contains_key(&text) {
                        return Err(SyntaxError::new(at, format!("key `{text}` appears twice")));
                    }
                    *key = Some(text);
                }
                Some(key) if key == "<<" => merged.push(value),
                Some(key) => drop(map.insert(key, value)),
            },
        }
        Ok(())
    }

    /// Of a key, or of an entry of a list.
    fn note_place(&mut self, at: &Marker, value: &Value) {
        let Some((last, above)) = self.open.split_last() else { return };
        if PLACE_DEPTH_MAX < self.open.len() {
            return;
        }
        let part = |open: &Open| match &open.items {
            Items::List(list) => Some(list.len().to_string()),
            Items::Map { key, .. } => key.clone(),
        };
        let own = match (&last.items, value) {
            (Items::List(list), _) => list.len().to_string(),
            (Items::Map { key: None, .. }, Value::String(key)) => key.clone(),
            (Items::Map { .. }, _) => return,
        };
        let path: Vec<String> = above.iter().filter_map(part).chain([own]).collect();
        if path.first().is_some_and(|first| first == "services") {
            self.places.insert(path, (at.line(), at.col() + 1));
        }
    }

    fn copy_of(&mut self, at: &Marker, anchor: usize) -> Result<YamlNode, SyntaxError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(SyntaxError::new(at, "the alias stands inside its own anchor"));
        };
        let size = bytes(&node.value);
        let node = node.clone();
        self.count_copy(at, size)?;
        Ok(node)
    }

    fn count_copy(&mut self, at: &Marker, size: usize) -> Result<(), SyntaxError> {
        self.copied_bytes += size;
        if COPIED_BYTES_MAX < self.copied_bytes {
            return Err(SyntaxError::new(at, "aliases make the file too large"));
        }
        Ok(())
    }

    fn check_depth(&self, at: &Marker, depth: usize) -> Result<(), SyntaxError> {
        if DEPTH_MAX < depth {
            let message = format!("lists and maps are nested more than {DEPTH_MAX} deep");
            return Err(SyntaxError::new(at, message));
        }
        Ok(())
    }

    /// The core schema's tags change nothing here; any other has a meaning that is lost.
    fn note_tag(&mut self, at: &Marker, tag: Option<&Tag>) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            let message = format!("tag {}{} is ignored", tag.handle, tag.suffix);
            self.ignored.push((at.line(), message));
        }
    }
}

fn key_text(at: &Marker, value: Value) -> Result<String, SyntaxError> {
    match value {
        Value::String(key) => Ok(key),
        Value::Null => Ok("null".to_owned()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(SyntaxError::new(at, "a list or map cannot be a key"))
        }
    }
}

/// A map's own keys win, then those of the map that is merged first.
fn merge(map: &mut Map<String, Value>, merged: Value) {
    match merged {
        Value::Object(merged) => {
            for (key, value) in merged {
                map.entry(key).or_insert(value);
            }
        }
        Value::Array(all) => {
            let maps = all.into_iter().filter(Value::is_object);
            maps.for_each(|merged| merge(map, merged));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

fn bytes(value: &Value) -> usize {
    let inside: usize = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(bytes).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + bytes(value)).sum(),
    };
    VALUE_BYTES + inside
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use serde_json::json;

    use crate::cli::yaml::read;

    #[test]
    fn what_compose_files_are_written_in_is_read() {
        for (text, want) in [
            ("", json!(null)),
            (
                "a: 1\nb:\n  c: x # why\n  d: 'it''s # no'\n",
                json!({"a": "1", "b": {"c": "x", "d": "it's # no"}}),
            ),
            ("a:\n- x\n- \"y\\n\"\nb: ~\n", json!({"a": ["x", "y\n"], "b": null})),
            ("a: \"\\u00e9\\x41\"\nb: 'null'\n", json!({"a": "éA", "b": "null"})),
            ("a:\n  - x: 1\n    y: 2\n  - z\n", json!({"a": [{"x": "1", "y": "2"}, "z"]})),
            (
                "p:\n  - \"80:8080\"\n  - 127.0.0.1:1:2/tcp\n",
                json!({"p": ["80:8080", "127.0.0.1:1:2/tcp"]}),
            ),
            (
                "t: [\"CMD\", 'curl', -f, http://a:1/x]\n",
                json!({"t": ["CMD", "curl", "-f", "http://a:1/x"]}),
            ),
            ("t: [\n  a,\n  b\n]\nu: 1\n", json!({"t": ["a", "b"], "u": "1"})),
            ("m: {a: 1, \"b\": [x], c: }\n", json!({"m": {"a": "1", "b": ["x"], "c": null}})),
            (
                "c: |\n  one\n   two\n\n  # kept\nd: >-\n  a\n  b\n",
                json!({"c": "one\n two\n\n# kept\n", "d": "a b"}),
            ),
            ("c: a\n  b\nd: 1\n", json!({"c": "a b", "d": "1"})),
            ("e:\n  - A=b # c\n  - C=\"d # e\"\n", json!({"e": ["A=b", "C=\"d"]})),
            ("- - a\n  - b\n- c\n", json!([["a", "b"], "c"])),
            ("---\na: http://x:1/#y\n", json!({"a": "http://x:1/#y"})),
            ("a:\n\n  b: 1\n# c\n  d: 2\n", json!({"a": {"b": "1", "d": "2"}})),
            ("? x\n", json!({"x": null})),
            ("a: !!str 1\n", json!({"a": "1"})),
        ] {
            let document = read(text).unwrap();
            assert_eq!((&document.value, document.ignored.len()), (&want, 0), "{text}");
        }
    }

    #[test]
    fn anchors_are_copied_and_merged_below_a_maps_own_keys() {
        for (text, want) in [
            ("a: &x [1]\nb: *x\n", json!({"a": ["1"], "b": ["1"]})),
            ("a: &x 1\nb: &x 2\nc: *x\n", json!({"a": "1", "b": "2", "c": "2"})),
            (
                "x: &a\n  k: v\n  l: w\ny:\n  <<: *a\n  l: z\n",
                json!({"x": {"k": "v", "l": "w"}, "y": {"l": "z", "k": "v"}}),
            ),
            ("x: &a {k: v}\ny: {k: u, <<: *a}\n", json!({"x": {"k": "v"}, "y": {"k": "u"}})),
            (
                "a: &a {k: 1}\nb: &b {k: 2, l: 2}\nc: {<<: [*a, *b]}\n",
                json!({"a": {"k": "1"}, "b": {"k": "2", "l": "2"}, "c": {"k": "1", "l": "2"}}),
            ),
        ] {
            assert_eq!(read(text).unwrap().value, want, "{text}");
        }
    }

    #[test]
    fn what_is_ignored_is_named_with_its_line() {
        for (text, want) in [
            ("a: 1\nb: !secret x\n", (2, "tag !secret is ignored")),
            ("a: !reset [1]\n", (1, "tag !reset is ignored")),
            ("a: 1\n---\nb: 2\n", (2, "only the first document of the file is read")),
        ] {
            let document = read(text).unwrap();
            let ignored: Vec<_> =
                document.ignored.iter().map(|(line, why)| (*line, why.as_str())).collect();
            assert_eq!(ignored, [want], "{text}");
            assert!(document.value.is_object(), "{text}");
        }
    }

    #[test]
    fn an_error_has_its_line_and_column() {
        for (text, want) in [
            ("a: 1\n\tb: 2\n", "line 1, column 4: while scanning a plain scalar, found a tab"),
            ("a:\n\tb: 2\n", "line 2, column 2: tabs disallowed"),
            ("a: *none\n", "line 1, column 4: "),
            ("a: &a [*a]\n", "line 1, column 8: the alias stands inside its own anchor"),
            ("a: 1\nnothing\nb: 2\n", "line 3, column 1: "),
            ("a:\n    b: 1\n  c: 2\n", "line 3, column 3: "),
            ("a: \"open\n", "line 1, column 4: "),
            ("a: 1\na: 2\n", "line 2, column 1: key `a` appears twice"),
            ("? [a]\n: 2\n", "line 1, column 5: a list or map cannot be a key"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
    }

    /// Aliases to aliases, each of them ten times: 10 to the power of `levels` strings.
    fn laughs(levels: usize) -> String {
        let ten = |level: usize| format!("*l{level}, ").repeat(10);
        let level = |n: usize| format!("l{n}: &l{n} [{}]\n", ten(n - 1));
        "l0: &l0 lol\n".to_owned() + &(1..=levels).map(level).collect::<String>()
    }

    #[test]
    fn no_text_takes_more_than_a_few_seconds_or_a_few_megabytes() {
        let deep = |levels: usize| -> String {
            (0..levels).map(|i| format!("{}a:\n", " ".repeat(i))).collect()
        };
        // Each is as deep as is allowed, and nests the one before.
        let high = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let stacked = format!("a: &a {}\nb: {}*a{}\n", high(20), "[".repeat(20), "]".repeat(20));
        let rows = [
            (deep(40), ""),
            (deep(200), "nested more than 40 deep"),
            ("- ".repeat(500), "nested more than 40 deep"),
            (high(39), ""),
            (high(41), "nested more than 40 deep"),
            ("[".repeat(1 << 20), "recursion limit exceeded"),
            ("a: {".repeat(300), "nested more than 40 deep"),
            (stacked, "nested more than 40 deep"),
            (laughs(4), ""),
            (laughs(5), "aliases make the file too large"),
            (laughs(20), "aliases make the file too large"),
            ("a: &a *a".to_owned(), "line 1, column 7: "),
            ("a: \"".to_owned() + &"x".repeat(1 << 20), "line 1, column 4: "),
            ("- a\n".repeat(1 << 18), ""),
            ("a".repeat(1 << 20), ""),
            ("&a ".repeat(1 << 18), "line 1, column "),
            ("? ".repeat(1 << 19), "nested more than 40 deep"),
            ("#\n".repeat(1 << 19), ""),
            ("---\n".repeat(1 << 18), ""),
        ];
        let (done, all_done) = mpsc::channel();
        thread::spawn(move || {
            for (text, want) in rows {
                let error = read(&text).err().map_or_else(String::new, |err| err.to_string());
                let start: String = text.chars().take(40).collect();
                assert!(
                    error.contains(want) && error.is_empty() == want.is_empty(),
                    "{start}: {error}"
                );
            }
            done.send(()).unwrap();
        });
        all_done.recv_timeout(Duration::from_secs(30)).expect("every text is read or refused");
    }
}
