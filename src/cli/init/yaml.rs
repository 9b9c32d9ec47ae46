//! The part of YAML that compose files are written in: maps and lists in blocks or on a line,
//! texts with and without quotes, anchors. What it does not understand it says, line by line, and
//! reads on.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::cli::init::flow::{flow, plain, quoted};

/// Deeper than any file that people write.
pub(crate) const DEPTH_MAX: usize = 40;

pub(crate) struct Read {
    /// Every scalar is a text, but for the empty one.
    pub(crate) value: Value,
    /// The numbers of lines, and what is odd there.
    pub(crate) unread: Vec<(usize, String)>,
}

struct Line<'t> {
    number: usize,
    indent: usize,
    text: &'t str,
}

struct Reader<'t> {
    lines: Vec<Line<'t>>,
    at: usize,
    depth: usize,
    anchors: BTreeMap<String, Value>,
    unread: Vec<(usize, String)>,
}

pub(crate) fn read(text: &str) -> Read {
    let mut unread = Vec::new();
    let mut lines = Vec::new();
    for (i, whole) in text.lines().enumerate() {
        let content = whole.trim_start_matches(' ');
        let (number, indent) = (i + 1, whole.len() - content.len());
        if content.starts_with("---") || content.starts_with('%') {
            continue;
        }
        if content.starts_with('\t') {
            unread.push((number, "a tab cannot indent".to_owned()));
            continue;
        }
        lines.push(Line { number, indent, text: content.trim_end() });
    }
    let (at, depth, anchors) = (0, 0, BTreeMap::new());
    let mut reader = Reader { lines, at, depth, anchors, unread };
    let value = reader.block(0);
    reader.skip_blank();
    if let Some(line) = reader.lines.get(reader.at) {
        reader.unread.push((line.number, format!("nothing is read from here on: {}", line.text)));
    }
    Read { value, unread: reader.unread }
}

fn is_blank(text: &str) -> bool {
    text.is_empty() || text.starts_with('#')
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

impl<'t> Reader<'t> {
    fn skip_blank(&mut self) {
        while self.lines.get(self.at).is_some_and(|line| is_blank(line.text)) {
            self.at += 1;
        }
    }

    /// Indent and text of the next line that says something.
    fn peek(&mut self) -> Option<(usize, &'t str)> {
        self.skip_blank();
        self.lines.get(self.at).map(|line| (line.indent, line.text))
    }

    fn odd(&mut self, what: impl Into<String>) {
        let number = self.lines.get(self.at).map_or(0, |line| line.number);
        self.unread.push((number, what.into()));
    }

    /// What stands at this indent or deeper.
    fn block(&mut self, least: usize) -> Value {
        let Some((indent, text)) = self.peek().filter(|(indent, _)| least <= *indent) else {
            return Value::Null;
        };
        if self.depth == DEPTH_MAX {
            self.odd("too deep");
            self.skip_deeper(least.saturating_sub(1));
            return Value::Null;
        }
        self.depth += 1;
        let value = if is_item(text) {
            self.list(indent)
        } else if split_key(text).is_some() {
            self.map(indent)
        } else {
            self.at += 1;
            let text = self.continued(text, indent.saturating_sub(1));
            self.scalar(&text)
        };
        self.depth -= 1;
        value
    }

    fn skip_deeper(&mut self, than: usize) {
        while self.peek().is_some_and(|(indent, _)| than < indent) {
            self.at += 1;
        }
    }

    fn map(&mut self, indent: usize) -> Value {
        let mut map = Map::new();
        while let Some((here, text)) = self.peek() {
            if here != indent || is_item(text) {
                if here < indent || (here == indent && is_item(text)) {
                    break;
                }
                self.odd(format!("is indented as nothing else: {text}"));
                self.at += 1;
                continue;
            }
            let Some((key, rest)) = split_key(text) else {
                self.odd(format!("is no `key: value`: {text}"));
                self.at += 1;
                continue;
            };
            let value = self.value(rest, indent);
            match (key.as_str(), value) {
                ("<<", Value::Object(merged)) => merge(&mut map, merged),
                ("<<", Value::Array(all)) => {
                    for merged in all {
                        if let Value::Object(merged) = merged {
                            merge(&mut map, merged);
                        }
                    }
                }
                (_, value) => drop(map.insert(key, value)),
            }
        }
        Value::Object(map)
    }

    fn list(&mut self, indent: usize) -> Value {
        let mut all = Vec::new();
        while let Some((here, text)) = self.peek() {
            if here != indent || !is_item(text) {
                if here <= indent {
                    break;
                }
                self.odd(format!("is indented as nothing else: {text}"));
                self.at += 1;
                continue;
            }
            let rest = text[1..].trim_start();
            let is_map = !rest.starts_with(['"', '\'', '[', '{', '&', '*', '!'])
                && split_key(rest).is_some();
            if is_map || is_item(rest) {
                // The rest of the line is the first of what is indented as it is.
                let line = &mut self.lines[self.at];
                (line.indent, line.text) = (indent + text.len() - rest.len(), rest);
                all.push(self.block(indent + 1));
            } else {
                all.push(self.value(rest, indent));
            }
        }
        Value::Array(all)
    }

    /// What stands after a key or a dash, on its line and on deeper ones.
    fn value(&mut self, rest: &str, indent: usize) -> Value {
        let mut rest = uncommented(rest);
        let mut anchor = None;
        if let Some(named) = rest.strip_prefix('&') {
            let (name, after) = named.split_once(' ').unwrap_or((named, ""));
            (anchor, rest) = (Some(name.to_owned()), after.trim_start());
        }
        if rest.starts_with('!') {
            self.odd(format!("tags are not understood: {rest}"));
            rest = rest.split_once(' ').map_or("", |(_, after)| after.trim_start());
        }
        let is_literal = rest.starts_with('|') || rest.starts_with('>');
        let number = self.at;
        self.at += 1;
        let value = if rest.is_empty() {
            match self.peek() {
                Some((here, _)) if indent < here => self.block(indent + 1),
                // A list may stand as far left as the key that it belongs to.
                Some((here, text))
                    if here == indent && is_item(text) && !self.is_in_list(number) =>
                {
                    self.list(indent)
                }
                _ => Value::Null,
            }
        } else if is_literal {
            self.literal(rest.starts_with('|'), indent)
        } else {
            let text = self.continued(rest, indent);
            self.scalar(&text)
        };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, value.clone());
        }
        value
    }

    fn is_in_list(&self, at: usize) -> bool {
        self.lines.get(at).is_some_and(|line| is_item(line.text))
    }

    /// Lines that belong to a text or to brackets which began on the line before.
    fn continued(&mut self, first: &str, indent: usize) -> String {
        let mut text = first.to_owned();
        let is_open = first.starts_with(['[', '{', '"', '\'']);
        while let Some((_, more)) = self.peek().filter(|(here, _)| indent < *here) {
            if !is_open && split_key(more).is_some() {
                self.odd(format!("is indented as nothing else: {more}"));
            } else {
                text = format!("{text} {}", uncommented(more));
            }
            self.at += 1;
        }
        // Brackets may be closed as far left as they were opened.
        if text.starts_with(['[', '{'])
            && let Some((_, more)) = self.peek().filter(|(_, more)| more.starts_with([']', '}']))
        {
            text = format!("{text} {}", uncommented(more));
            self.at += 1;
        }
        text
    }

    fn literal(&mut self, keeps_lines: bool, indent: usize) -> Value {
        let mut lines: Vec<&str> = Vec::new();
        while let Some(line) = self.lines.get(self.at) {
            if !line.text.is_empty() && line.indent <= indent {
                break;
            }
            lines.push(line.text);
            self.at += 1;
        }
        let text = lines.join(if keeps_lines { "\n" } else { " " });
        Value::String(text.trim_end().to_owned())
    }

    fn scalar(&mut self, text: &str) -> Value {
        let mut rest = text.trim();
        if let Some(name) = rest.strip_prefix('*') {
            let known = self.anchors.get(name.trim()).cloned();
            return known.unwrap_or_else(|| {
                self.unread.push((self.number_before(), format!("no anchor {name}")));
                Value::Null
            });
        }
        let whole = rest;
        let value = flow(&mut rest, 0);
        match value {
            Some(value) if rest.trim().is_empty() => value,
            _ if whole.starts_with(['[', '{', '"', '\'']) => {
                let number = self.number_before();
                self.unread.push((number, format!("is not understood: {whole}")));
                Value::Null
            }
            _ => plain(whole),
        }
    }

    fn number_before(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.lines.get(at)).map_or(0, |line| line.number)
    }
}

/// What is there already wins.
fn merge(map: &mut Map<String, Value>, merged: Map<String, Value>) {
    for (key, value) in merged {
        map.entry(key).or_insert(value);
    }
}

/// `key: rest`, `key:` or `"key": rest`.
fn split_key(text: &str) -> Option<(String, &str)> {
    if text.starts_with(['"', '\'']) {
        let mut rest = text;
        let key = quoted(&mut rest)?;
        let after = rest.trim_start().strip_prefix(':')?;
        return (after.is_empty() || after.starts_with(' ')).then(|| (key, after.trim_start()));
    }
    if text.starts_with(['[', '{', '#']) {
        return None;
    }
    if let Some((key, rest)) = text.split_once(": ") {
        return Some((key.trim_end().to_owned(), rest.trim_start()));
    }
    let bare = uncommented(text);
    bare.strip_suffix(':').map(|key| (key.trim_end().to_owned(), ""))
}

/// Without ` # …` at its end, unless that is within quotes.
fn uncommented(text: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open && before != '\\' => quote = None,
            Some(_) => (),
            None if c == '#' && before == ' ' => return text[..at].trim_end(),
            // Doubled, it stands for itself.
            None if c == '\'' && before == c => quote = Some(c),
            None if (c == '"' || c == '\'') && " [{,:=".contains(before) => quote = Some(c),
            None => (),
        }
        before = c;
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::init::yaml::read;

    #[test]
    fn what_compose_files_are_written_in_is_read() {
        for (text, want) in [
            ("", json!(null)),
            (
                "a: 1\nb:\n  c: x # why\n  d: 'it''s # no'\n",
                json!({"a": "1", "b": {"c": "x", "d": "it's # no"}}),
            ),
            ("a:\n- x\n- \"y\\n\"\nb: ~\n", json!({"a": ["x", "y\n"], "b": null})),
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
                "x: &a\n  k: v\n  l: w\ny:\n  <<: *a\n  l: z\n",
                json!({"x": {"k": "v", "l": "w"}, "y": {"l": "z", "k": "v"}}),
            ),
            (
                "c: |\n  one\n   two\n\n  # kept\nd: >-\n  a\n  b\n",
                json!({"c": "one\ntwo\n\n# kept", "d": "a b"}),
            ),
            ("c: a\n  b\nd: 1\n", json!({"c": "a b", "d": "1"})),
            ("e:\n  - A=b # c\n  - C=\"d # e\"\n", json!({"e": ["A=b", "C=\"d # e\""]})),
            ("- - a\n  - b\n- c\n", json!([["a", "b"], "c"])),
            ("---\na: http://x:1/#y\n", json!({"a": "http://x:1/#y"})),
            ("a:\n\n  b: 1\n# c\n  d: 2\n", json!({"a": {"b": "1", "d": "2"}})),
        ] {
            let read = read(text);
            assert_eq!((&read.value, read.unread.len()), (&want, 0), "{text}: {:?}", read.unread);
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_line() {
        for (text, line) in [
            ("a: 1\n\tb: 2\n", 2),
            ("a: !secret x\n", 1),
            ("a: *none\n", 1),
            ("a: [1\nb: 2\n", 1),
            ("a: 1\nnothing\nb: 2\n", 2),
            ("a:\n    b: 1\n  c: 2\n", 3),
            ("a: \"open\n", 1),
        ] {
            let read = read(text);
            assert_eq!(
                read.unread.first().map(|(at, _)| *at),
                Some(line),
                "{text}: {:?}",
                read.unread
            );
        }
    }

    #[test]
    fn no_text_hangs_or_kills_it() {
        let deep: String = (0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        for text in
            [&deep, &"- ".repeat(500), &"[".repeat(500), &"a: {".repeat(300), "a: &a *a", "? x"]
        {
            read(text);
        }
    }
}
