//! Walks the parsed file and keeps every finding with its place. A key that nobody asked for, or
//! that stands twice, is one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;

use crate::config::{Problem, units};

pub(crate) struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    /// With the offset in the file, to sort by.
    found: RefCell<Vec<(usize, Problem)>>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Findings<'a> {
        Findings { file, text, found: RefCell::default() }
    }

    pub(crate) fn error(&self, offset: usize, path: &str, message: String) {
        self.add(offset, path, message, false);
    }

    pub(crate) fn warning(&self, offset: usize, path: &str, message: String) {
        self.add(offset, path, message, true);
    }

    fn add(&self, offset: usize, path: &str, message: String, is_warning: bool) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let (file, path) = (self.file.to_owned(), path.to_owned());
        let problem = Problem { file, line, column, path, message, is_warning };
        self.found.borrow_mut().push((offset, problem));
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(offset, _)| *offset);
        found.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// One value and where it stands. Each reader reports what is wrong and gives `None`.
pub(crate) struct Node<'a> {
    pub(crate) path: String,
    pub(crate) value: &'a Value<'a>,
    findings: &'a Findings<'a>,
}

impl<'a> Node<'a> {
    pub(crate) fn error(&self, message: impl Display) {
        self.findings.error(self.value.range().start, &self.path, message.to_string());
    }

    pub(crate) fn warning(&self, message: impl Display) {
        self.findings.warning(self.value.range().start, &self.path, message.to_string());
    }

    /// The value as it stands in the file, short enough for a message.
    fn found(&self) -> String {
        match self.value {
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            value => {
                let range = value.range();
                let text = self.findings.text.get(range.start..range.end).unwrap_or_default();
                let short: String = text.chars().take(60).collect();
                if short.len() < text.len() { format!("{short}...") } else { short }
            }
        }
    }

    /// `allowed` completes "must be".
    pub(crate) fn wrong<T>(&self, allowed: impl Display) -> Option<T> {
        self.error(format!("must be {allowed}, got {}", self.found()));
        None
    }

    /// Not empty, and without control characters.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.value {
            Value::StringLit(lit) if lit.value.chars().any(char::is_control) => {
                self.wrong("a text without control characters")
            }
            Value::StringLit(lit) if lit.value.is_empty() => self.wrong("a text, not an empty one"),
            Value::StringLit(lit) => Some(&lit.value),
            _ => self.wrong("a text in double quotes"),
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::BooleanLit(lit) => Some(lit.value),
            _ => self.wrong("true or false"),
        }
    }

    /// As it is written; a number that has no fraction.
    pub(crate) fn whole(&self, allowed: RangeInclusive<u32>) -> Option<u32> {
        let number = match self.value {
            Value::NumberLit(lit) => lit.value.parse().ok(),
            _ => None,
        };
        number.filter(|n| allowed.contains(n)).or_else(|| {
            self.wrong(format!("a whole number from {} to {}", allowed.start(), allowed.end()))
        })
    }

    /// In steps of a hundredth.
    pub(crate) fn hundredths(&self, allowed: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        let number = match self.value {
            Value::NumberLit(lit) => units::hundredths(lit.value),
            _ => None,
        };
        number.filter(|n| allowed.contains(n)).or_else(|| {
            let (low, high) = (*allowed.start(), *allowed.end());
            let plain = |h: u64| match h % 100 {
                0 => (h / 100).to_string(),
                part => format!("{}.{part:02}", h / 100),
            };
            self.wrong(format!(
                "a number{unit} from {} to {}, with two decimals at most",
                plain(low),
                plain(high)
            ))
        })
    }

    pub(crate) fn duration(&self, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        let span = match self.value {
            Value::NumberLit(lit) => lit.value.parse().ok().map(Duration::from_secs),
            Value::StringLit(lit) => units::duration(&lit.value),
            _ => None,
        };
        let Some(span) = span else {
            return self.wrong(r#"a duration: seconds like 60, or "500ms", "60s", "5m", "2h""#);
        };
        if allowed.contains(&span) {
            return Some(span);
        }
        let (low, high) = (units::show(*allowed.start()), units::show(*allowed.end()));
        self.wrong(format!("a duration from {low} to {high}"))
    }

    pub(crate) fn list(&self) -> Option<Vec<Node<'a>>> {
        let Value::Array(array) = self.value else {
            return self.wrong("a list, [ ... ]");
        };
        let node = |(i, value)| Node { path: format!("{}[{i}]", self.path), value, ..*self };
        Some(array.elements.iter().enumerate().map(node).collect())
    }

    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        let nodes = self.list()?;
        let texts: Vec<String> = nodes.iter().filter_map(|n| Some(n.text()?.to_owned())).collect();
        (texts.len() == nodes.len()).then_some(texts)
    }

    pub(crate) fn section(&self) -> Option<Section<'a>> {
        match self.value {
            Value::Object(object) => Some(Section::new(self.path.clone(), object, self.findings)),
            _ => self.wrong("an object, { ... }"),
        }
    }
}

/// One object. Ask for every key that may stand in it, then call `done`.
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
        Node { path: self.at(prop.name.as_str()), value: &prop.value, findings: self.findings }
    }

    pub(crate) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        self.asked.borrow_mut().insert(key);
        self.object.properties.iter().find(|p| p.name.as_str() == key).map(|p| self.node(p))
    }

    /// It has to be there.
    pub(crate) fn need(&self, key: &'static str, what: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.error(format!("`{key}` is missing: {what}"));
        }
        node
    }

    pub(crate) fn ignore(&self, key: &'static str) {
        self.asked.borrow_mut().insert(key);
    }

    /// Of the section as a whole.
    pub(crate) fn error(&self, message: impl Display) {
        self.findings.error(self.object.range.start, &self.path, message.to_string());
    }

    pub(crate) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        self.get(key)?.section()
    }

    /// Every entry of an object whose keys are the operator's own, in file order.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        self.report_twice();
        let entry = |p: &'a ObjectProp<'a>| (p.name.as_str(), self.node(p));
        self.object.properties.iter().map(entry).collect()
    }

    /// Where the name of an entry is what is wrong.
    pub(crate) fn bad_name(&self, name: &str, message: impl Display) {
        let prop = self.object.properties.iter().find(|p| p.name.as_str() == name);
        let offset = prop.map_or(self.object.range.start, |p| p.range.start);
        self.findings.error(offset, &self.at(name), message.to_string());
    }

    /// Keys that nobody asked for, with the nearest one that somebody did.
    pub(crate) fn done(self) {
        self.report_twice();
        let asked = self.asked.borrow();
        for prop in &self.object.properties {
            let key = prop.name.as_str();
            if asked.contains(key) {
                continue;
            }
            let near = asked.iter().min_by_key(|k| units::distance(k, key));
            let near = near.filter(|k| units::distance(k, key) <= 1 + key.len() / 5);
            let known = asked.iter().filter(|k| **k != "$schema");
            let message = match near {
                Some(near) => format!("unknown key; did you mean `{near}`?"),
                None => {
                    let known: Vec<&str> = known.copied().collect();
                    format!("unknown key; known here: {}", known.join(", "))
                }
            };
            self.findings.error(prop.range.start, &self.at(key), message);
        }
    }

    fn report_twice(&self) {
        let mut seen = BTreeSet::new();
        for prop in &self.object.properties {
            let key = prop.name.as_str();
            if !seen.insert(key) {
                let message = "stands here twice; one of the two would be lost".to_owned();
                self.findings.error(prop.range.start, &self.at(key), message);
            }
        }
    }
}
