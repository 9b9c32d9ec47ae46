//! A cursor over the parsed file that collects every problem with its position. An unknown key and
//! a duplicate key are problems too.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;

use crate::config::labels::tree::{LabelTree, index, quotes_hint, truth};
use crate::config::problem::{Problem, plain};
use crate::config::secret;
use crate::model::label_set::LABEL_PREFIX;
use crate::model::secret::Secret;
use crate::model::units;

/// Errors, and warnings, that are listed.
const LISTED_MAX: usize = 1000;

pub(crate) struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    around: &'a secret::Around<'a>,
    /// Where the tree is of labels and not of a text.
    labels: Option<&'a LabelTree<'a>>,
    found: RefCell<Collected>,
}

#[derive(Default)]
struct Collected {
    listed: Vec<FileFinding>,
    /// Offset and message of each, listed or not: a value that is read twice gives one problem.
    seen: BTreeSet<(usize, String)>,
    errors: usize,
    warnings: usize,
}

pub(crate) struct FileFinding {
    pub(crate) offset: usize,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) is_warning: bool,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(
        file: &'a str,
        text: &'a str,
        around: &'a secret::Around<'a>,
    ) -> Findings<'a> {
        Findings { file, text, around, labels: None, found: RefCell::default() }
    }

    /// In labels nothing is replaced from the environment.
    pub(crate) fn of_labels(
        labels: &'a LabelTree<'a>,
        around: &'a secret::Around<'a>,
    ) -> Findings<'a> {
        Findings { labels: Some(labels), ..Findings::new("", "", around) }
    }

    pub(crate) fn error(&self, offset: usize, path: &str, message: String) {
        self.add(offset, path, message, false);
    }

    pub(crate) fn warning(&self, offset: usize, path: &str, message: String) {
        self.add(offset, path, message, true);
    }

    /// Whether one more error would be listed; if not, a hint need not be computed.
    fn has_room(&self) -> bool {
        self.found.borrow().errors < LISTED_MAX
    }

    fn add(&self, offset: usize, path: &str, message: String, is_warning: bool) {
        let mut found = self.found.borrow_mut();
        if !found.seen.insert((offset, message.clone())) {
            return;
        }
        let count = if is_warning { &mut found.warnings } else { &mut found.errors };
        *count += 1;
        if *count <= LISTED_MAX {
            found.listed.push(FileFinding { offset, path: path.to_owned(), message, is_warning });
        }
    }

    /// Those that are listed, in the order of the labels, and how many there are.
    pub(crate) fn into_listed(self) -> (Vec<FileFinding>, usize) {
        let Collected { mut listed, errors, warnings, .. } = self.found.into_inner();
        listed.sort_by_key(|finding| finding.offset);
        (listed, errors + warnings)
    }

    /// In file order. One pass over the text, since a long file may have many problems.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let Collected { mut listed, errors, warnings, .. } = self.found.into_inner();
        listed.sort_by_key(|finding| finding.offset);
        let unlisted = (errors + warnings).saturating_sub(listed.len());
        let mut at = 0;
        let mut line = 1;
        let mut column = 1;
        let mut problems = Vec::new();
        for FileFinding { offset, path, message, is_warning } in listed {
            assert!(at <= offset, "findings are in file order");
            let passed = self.text.get(at..offset).unwrap_or_default();
            at += passed.len();
            line += passed.matches('\n').count();
            column = match passed.rsplit_once('\n') {
                Some((_, last)) => 1 + last.chars().count(),
                None => column + passed.chars().count(),
            };
            let file = self.file.to_owned();
            let path = plain(path);
            let message = plain(message);
            problems.push(Problem { file, line, column, path, message, is_warning });
        }
        if 0 < unlisted {
            let file = self.file.to_owned();
            let path = String::new();
            let line = 0;
            let column = 0;
            let message = format!("and {unlisted} more problems");
            let is_warning = errors <= LISTED_MAX;
            problems.push(Problem { file, line, column, path, message, is_warning });
        }
        problems
    }
}

/// One value and its position. Each reader reports a wrong value and returns `None`.
pub(crate) struct Node<'a> {
    pub(crate) path: String,
    pub(crate) value: &'a Value<'a>,
    /// The value of a string, with each `${NAME}` replaced from the environment.
    pub(crate) string: Option<Cow<'a, str>>,
    /// Already reported as unusable: no further problem is reported.
    is_bad: bool,
    /// Offset of its key; in a list, of the value.
    starts: usize,
    findings: &'a Findings<'a>,
}

impl<'a> Node<'a> {
    fn new(
        path: String,
        starts: usize,
        value: &'a Value<'a>,
        findings: &'a Findings<'a>,
    ) -> Node<'a> {
        let mut node = Node { path, value, string: None, is_bad: false, starts, findings };
        if let (Value::StringLit(lit), Some(_)) = (value, findings.labels) {
            node.string = Some(Cow::Borrowed(&*lit.value));
        } else if let Value::StringLit(lit) = value {
            match secret::expand(&lit.value, findings.around) {
                Ok(text) => node.string = Some(text),
                Err(message) => {
                    node.error(message);
                    node.is_bad = true;
                }
            }
        }
        node
    }

    /// What the config may take from its surroundings.
    pub(crate) fn around(&self) -> &'a secret::Around<'a> {
        self.findings.around
    }

    pub(crate) fn error(&self, message: impl Display) {
        self.findings.error(self.value.range().start, &self.path, message.to_string());
    }

    pub(crate) fn warning(&self, message: impl Display) {
        self.findings.warning(self.value.range().start, &self.path, message.to_string());
    }

    /// A problem with its key.
    pub(crate) fn bad_name(&self, message: impl Display) {
        self.findings.error(self.starts, &self.path, message.to_string());
    }

    pub(crate) fn has_room(&self) -> bool {
        self.findings.has_room()
    }

    /// Where it stands, for the problem of another one. `owner` has the label, if it is of one.
    pub(crate) fn place(&self, owner: &str) -> String {
        match self.findings.labels {
            Some(labels) => {
                format!("{owner}, label {LABEL_PREFIX}{}", labels.name_at(self.starts))
            }
            None => self.path.clone(),
        }
    }

    /// The value as written in the file, shortened for a message. `${NAME}` is not replaced, since
    /// its value may be a secret.
    pub(crate) fn found(&self) -> String {
        match self.value {
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            value => {
                let range = value.range();
                let text = match (self.label(), self.findings.labels) {
                    (Some(label), _) => &format!("\"{label}\""),
                    (None, Some(labels)) => labels.written(range),
                    (None, None) => {
                        self.findings.text.get(range.start..range.end).unwrap_or_default()
                    }
                };
                let short: String = text.chars().take(60).collect();
                if short.len() < text.len() { format!("{short}...") } else { short }
            }
        }
    }

    /// The value of a label: a text, which is read as what the key needs.
    fn label(&self) -> Option<&'a str> {
        match (self.value, self.findings.labels) {
            (Value::StringLit(lit), Some(labels)) if labels.is_label(lit.range.start) => {
                Some(&lit.value)
            }
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::NullKeyword(_)) || self.label() == Some("null")
    }

    /// True or false, if it is either.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.value {
            Value::BooleanLit(lit) => Some(lit.value),
            _ => self.label().and_then(truth),
        }
    }

    /// An error, unless the value was reported already.
    pub(crate) fn complain(&self, message: impl Display) {
        if !self.is_bad {
            self.error(message);
        }
    }

    /// `allowed` completes "must be".
    pub(crate) fn wrong<T>(&self, allowed: impl Display) -> Option<T> {
        if self.is_bad {
            return None;
        }
        let quotes = self.label().map_or("", quotes_hint);
        self.error(format!("must be {allowed}, got {}{quotes}", self.found()));
        None
    }

    /// Not empty, and without control characters.
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        match &self.string {
            Some(text) if text.chars().any(char::is_control) => {
                self.wrong("a text without control characters")
            }
            Some(text) if text.is_empty() => self.wrong("a text, not an empty one"),
            Some(text) => Some(text.clone()),
            None => self.wrong("a text in double quotes"),
        }
    }

    pub(crate) fn text_that(&self, is_one: impl Fn(&str) -> bool, what: &str) -> Option<String> {
        let text = self.text()?;
        if is_one(&text) { Some(text.into_owned()) } else { self.wrong(what) }
    }

    /// One of a few words; `read` converts it.
    pub(crate) fn word<T>(&self, allowed: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        read(&self.text()?).or_else(|| self.wrong(allowed))
    }

    /// A text, or `{"file": PATH}` to read it from a file. May be empty.
    pub(crate) fn secret(&self) -> Option<Secret> {
        if let Some(text) = &self.string {
            return Some(Secret::new(text.clone().into_owned()));
        }
        let Value::Object(_) = self.value else {
            // The value may be the secret, so the message does not show it.
            self.complain(r#"must be a text, or {"file": "/path"} to read it from a file"#);
            return None;
        };
        let section = self.section()?;
        let file = section.need("file", "the path of the file");
        section.done();
        file?.file().map(Secret::new)
    }

    /// The content of the file with this path.
    pub(crate) fn file(&self) -> Option<String> {
        let path = self.text()?;
        if !path.starts_with('/') {
            return self.wrong("an absolute path");
        }
        (self.findings.around.file)(Path::new(&*path)).map_err(|message| self.error(message)).ok()
    }

    /// A number as written in the file.
    pub(crate) fn number(&self) -> Option<&'a str> {
        let is_number = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        match self.value {
            Value::NumberLit(lit) => Some(lit.value),
            _ => self.label().map(str::trim).filter(is_number),
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.flag().or_else(|| self.wrong("true or false"))
    }

    /// A number that has no fraction.
    pub(crate) fn whole(&self, allowed: RangeInclusive<u32>) -> Option<u32> {
        let number = self.number().and_then(|text| text.parse().ok());
        number.filter(|n| allowed.contains(n)).or_else(|| {
            self.wrong(format!("a whole number from {} to {}", allowed.start(), allowed.end()))
        })
    }

    pub(crate) fn hundredths(&self, allowed: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        self.decimal(2, allowed, unit)
    }

    pub(crate) fn thousandths(&self, allowed: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        self.decimal(3, allowed, unit)
    }

    fn decimal(&self, places: usize, allowed: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        let number = self.number().and_then(|text| units::decimal(text, places));
        number.filter(|n| allowed.contains(n)).or_else(|| {
            let (one, word) = if places == 2 { (100, "two") } else { (1000, "three") };
            let plain = |n: u64| match n % one {
                0 => (n / one).to_string(),
                part => {
                    let text = format!("{}.{part:0places$}", n / one);
                    text.trim_end_matches('0').to_owned()
                }
            };
            let low = plain(*allowed.start());
            let high = plain(*allowed.end());
            self.wrong(format!("a number{unit} from {low} to {high}, with at most {word} decimals"))
        })
    }

    pub(crate) fn duration(&self, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        let seconds = self.number().and_then(|text| text.parse().ok().map(Duration::from_secs));
        let span = seconds.or_else(|| self.string.as_deref().and_then(units::duration));
        if let Some(span) = span.filter(|span| allowed.contains(span)) {
            return Some(span);
        }
        let low = units::show(*allowed.start());
        let high = units::show(*allowed.end());
        let how = if span.is_some() {
            ""
        } else {
            r#": seconds like 60, or "500ms", "60s", "5m", "2h", "90d""#
        };
        self.wrong(format!("a duration from {low} to {high}{how}"))
    }

    pub(crate) fn list(&self) -> Option<Vec<Node<'a>>> {
        let node = |(i, value): (usize, &'a Value<'a>)| {
            Node::new(format!("{}[{i}]", self.path), value.range().start, value, self.findings)
        };
        match (self.value, self.findings.labels) {
            (Value::Array(array), _) => Some(array.elements.iter().enumerate().map(node).collect()),
            (Value::StringLit(lit), Some(labels)) if self.label().is_some() => {
                let list = labels.list(lit.range.start)?;
                Some(list.elements.iter().enumerate().map(node).collect())
            }
            (Value::Object(object), Some(labels)) if labels.is_label(object.range.start) => {
                let placed = |prop: &'a ObjectProp<'a>| Some((index(prop)?, &prop.value));
                let placed: Option<Vec<_>> = object.properties.iter().map(placed).collect();
                let Some(mut placed) = placed else {
                    return self.wrong("a list: number its elements from 0, as in `.0.`");
                };
                placed.sort_by_key(|(index, _)| *index);
                Some(placed.into_iter().map(|(_, value)| value).enumerate().map(node).collect())
            }
            _ => self.wrong("a list, [ ... ]"),
        }
    }

    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        let nodes = self.list()?;
        let texts: Vec<String> =
            nodes.iter().filter_map(|n| Some(n.text()?.into_owned())).collect();
        (texts.len() == nodes.len()).then_some(texts)
    }

    pub(crate) fn section(&self) -> Option<Section<'a>> {
        match self.value {
            Value::Object(object) => Some(Section::new(self.path.clone(), object, self.findings)),
            _ => self.wrong("an object, { ... }"),
        }
    }
}

/// One object. Read every key that it may have, then call `done`, which reports all others.
pub(crate) struct Section<'a> {
    path: String,
    object: &'a Object<'a>,
    asked: RefCell<BTreeSet<&'static str>>,
    findings: &'a Findings<'a>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(
        path: String,
        object: &'a Object<'a>,
        findings: &'a Findings<'a>,
    ) -> Section<'a> {
        Section { path, object, asked: RefCell::default(), findings }
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn node(&self, prop: &'a ObjectProp<'a>) -> Node<'a> {
        let path = self.at(prop.name.as_str());
        let starts = prop.range.start;
        Node::new(path, starts, &prop.value, self.findings)
    }

    pub(crate) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        self.asked.borrow_mut().insert(key);
        self.object.properties.iter().find(|p| p.name.as_str() == key).map(|p| self.node(p))
    }

    /// Whether the key is there, whatever its value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.properties.iter().any(|p| p.name.as_str() == key)
    }

    /// A required key; reports an error when it is missing.
    pub(crate) fn need(&self, key: &'static str, what: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.error(format!("`{}` is missing: {what}", self.name_of(key)));
        }
        node
    }

    /// As the operator writes it.
    fn name_of(&self, key: &str) -> String {
        match self.findings.labels {
            Some(labels) if labels.is_label(self.object.range.start) => {
                let above = labels.name_at(self.object.range.start);
                let dot = if above.is_empty() { "" } else { "." };
                format!("{LABEL_PREFIX}{above}{dot}{key}")
            }
            Some(_) | None => key.to_owned(),
        }
    }

    pub(crate) fn ignore(&self, key: &'static str) {
        self.asked.borrow_mut().insert(key);
    }

    /// A key of the system that plimsoll replaces. Its value is ignored.
    pub(crate) fn retired(&self, key: &'static str, instead: &str) {
        if let Some(node) = self.get(key) {
            node.warning(format!("is ignored: {instead}"));
        }
    }

    /// A key that has no effect because of another one.
    pub(crate) fn unused(&self, key: &'static str, why: &str) {
        if let Some(node) = self.get(key) {
            node.warning(why);
        }
    }

    /// A problem of the section as a whole.
    pub(crate) fn error(&self, message: impl Display) {
        self.findings.error(self.object.range.start, &self.path, message.to_string());
    }

    /// A problem of a key that need not be in the file.
    pub(crate) fn error_at(&self, key: &str, message: String) {
        self.findings.error(self.object.range.start, &self.at(key), message);
    }

    pub(crate) fn warning_at(&self, key: &str, message: String) {
        self.findings.warning(self.object.range.start, &self.at(key), message);
    }

    /// A variable of the environment.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.findings.around.variable)(name)
    }

    pub(crate) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        self.get(key)?.section()
    }

    /// Every entry of an object whose keys are chosen by the operator, in file order.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        self.report_twice();
        let entry = |p: &'a ObjectProp<'a>| (p.name.as_str(), self.node(p));
        self.object.properties.iter().map(entry).collect()
    }

    /// Reports keys that were not read, with the nearest known key.
    pub(crate) fn done(self) {
        self.report_twice();
        let asked = self.asked.borrow();
        for prop in &self.object.properties {
            let key = prop.name.as_str();
            if asked.contains(key) {
                continue;
            }
            let hint = if self.findings.has_room() { hint(key, &asked) } else { String::new() };
            let message = format!("unknown key; {hint}");
            self.findings.error(prop.range.start, &self.at(key), message);
        }
    }

    fn report_twice(&self) {
        let mut seen = BTreeSet::new();
        for prop in &self.object.properties {
            let key = prop.name.as_str();
            if !seen.insert(key) {
                let message = "is defined twice; remove one of the two".to_owned();
                self.findings.error(prop.range.start, &self.at(key), message);
            }
        }
    }
}

/// The nearest known key, or all known keys.
fn hint(key: &str, asked: &BTreeSet<&'static str>) -> String {
    if let Some(near) = units::nearest_key(key, asked.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let known: Vec<&str> = asked.iter().copied().filter(|k| *k != "$schema").collect();
    format!("known keys: {}", known.join(", "))
}
