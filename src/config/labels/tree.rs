//! Labels as the tree that the text of a config becomes. Each label is a row: a place of two
//! offsets, one for its key and one for its value, after the text of `plimsoll.config`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jsonc_parser::ast::{Array, Object, ObjectProp, ObjectPropName, StringLit, Value};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

/// Parts of a label's name. No key has as many, and the tree is walked by recursion.
const PARTS_MAX: usize = 10;

pub(crate) struct LabelTree<'a> {
    pub(crate) object: Object<'a>,
    /// Values that stand for a list if one is needed, by offset: their parts between commas.
    lists: BTreeMap<usize, Array<'a>>,
    /// The text of `plimsoll.config`, at the offset 0.
    config: &'a str,
    /// Names without the prefix. The first is of the whole container, and empty.
    rows: Vec<Cow<'a, str>>,
    /// Rows of what several labels have in common, as `schedules.0`.
    prefixes: BTreeMap<String, usize>,
    /// What is wrong with the labels themselves.
    pub(crate) faults: Vec<(usize, String)>,
}

impl<'a> LabelTree<'a> {
    /// With what `plimsoll.config` says, if there is one.
    pub(crate) fn new(config: Option<&'a str>, syntax: &ParseOptions) -> LabelTree<'a> {
        let mut tree = LabelTree {
            object: Object { range: Range { start: 0, end: 0 }, properties: Vec::new() },
            lists: BTreeMap::new(),
            config: config.unwrap_or_default(),
            rows: vec![Cow::Borrowed("")],
            prefixes: BTreeMap::new(),
            faults: Vec::new(),
        };
        if let Some(text) = config {
            tree.parse(text, syntax);
        }
        tree.object.range = at(tree.key_offset(0));
        tree
    }

    fn parse(&mut self, text: &'a str, syntax: &ParseOptions) {
        match parse_to_ast(text, &CollectOptions::default(), syntax) {
            Err(err) => {
                let message = format!("not JSON: {}", err.kind());
                self.faults.push((err.range().start, message));
            }
            Ok(parsed) => match parsed.value {
                Some(Value::Object(object)) => self.object = object,
                _ => self.faults.push((0, "must be one object, { ... }".to_owned())),
            },
        }
    }

    /// Where the rows begin.
    fn base(&self) -> usize {
        self.config.len() + 1
    }

    fn key_offset(&self, row: usize) -> usize {
        self.base() + 2 * row
    }

    pub(crate) fn is_label(&self, offset: usize) -> bool {
        self.base() <= offset
    }

    /// The name of the label at this offset, without the prefix. Empty: the whole container.
    pub(crate) fn name_at(&self, offset: usize) -> &str {
        match offset.checked_sub(self.base()) {
            None => "config",
            Some(place) => self.rows.get(place / 2).map_or("", |name| name),
        }
    }

    /// Of `plimsoll.config`, up to this offset.
    pub(crate) fn config_before(&self, offset: usize) -> Option<&'a str> {
        self.config.get(..offset).filter(|_| !self.is_label(offset))
    }

    /// A part of `plimsoll.config`.
    pub(crate) fn written(&self, range: Range) -> &'a str {
        self.config.get(range.start..range.end).unwrap_or_default()
    }

    /// The value at this offset as a list.
    pub(crate) fn list(&self, offset: usize) -> Option<&Array<'a>> {
        self.lists.get(&offset)
    }

    pub(crate) fn row(&mut self, name: impl Into<Cow<'a, str>>) -> usize {
        self.rows.push(name.into());
        self.rows.len() - 1
    }

    pub(crate) fn fault(&mut self, row: usize, message: impl Into<String>) {
        self.faults.push((self.key_offset(row), message.into()));
    }

    /// Sets what the label `name` says.
    pub(crate) fn label(&mut self, name: &'a str, value: &'a str) {
        let row = self.row(name);
        let parts: Vec<Cow<str>> = name.split('.').map(Cow::Borrowed).collect();
        self.set(row, &parts, Cow::Borrowed(value));
    }

    /// A key that no label has set.
    pub(crate) fn default(&mut self, path: &[&'a str], value: impl Into<Cow<'a, str>>) {
        let row = self.row("");
        let parts: Vec<Cow<str>> = path.iter().map(|part| Cow::Borrowed(*part)).collect();
        self.set(row, &parts, value.into());
    }

    pub(crate) fn set(&mut self, row: usize, path: &[Cow<'a, str>], value: Cow<'a, str>) {
        if PARTS_MAX < path.len() {
            return self.fault(row, format!("has more than {PARTS_MAX} parts; no key has as many"));
        }
        let offset = self.key_offset(row) + 1;
        let parts = value.split(',').map(|part| part.trim().to_owned()).filter(|p| !p.is_empty());
        let part =
            |part| Value::StringLit(StringLit { range: at(offset), value: Cow::Owned(part) });
        let elements = parts.map(part).collect();
        self.lists.insert(offset, Array { range: at(offset), elements });
        let leaf = Value::StringLit(StringLit { range: at(offset), value });
        let base = self.base();
        let mut prefix = String::new();
        // Parts of what a short form stands for have its name.
        let short = self.rows[row].clone();
        let short = (path.join(".") != short).then_some(short);
        let rows = &mut self.rows;
        let prefixes = &mut self.prefixes;
        let mut place = |part: &str, is_last: bool| {
            prefix = if prefix.is_empty() { part.to_owned() } else { format!("{prefix}.{part}") };
            if is_last {
                return base + 2 * row;
            }
            let known = prefixes.entry(prefix.clone()).or_insert_with(|| {
                rows.push(short.clone().unwrap_or_else(|| Cow::Owned(prefix.clone())));
                rows.len() - 1
            });
            base + 2 * *known
        };
        if let Err(taken) = put(&mut self.object, path, leaf, base, &mut place) {
            let other = match self.name_at(taken) {
                "" => "what docker compose says".to_owned(),
                name => format!("label plimsoll.{name}"),
            };
            self.fault(row, format!("sets the same key as {other}; remove one of the two"));
        }
    }

    /// How many elements the list of this key has.
    pub(crate) fn length(&self, key: &str) -> usize {
        match self.object.get(key).map(|prop| &prop.value) {
            Some(Value::Array(list)) => list.elements.len(),
            Some(Value::Object(object)) => {
                let indices = object.properties.iter().filter_map(index);
                indices.max().map_or(0, |last| last + 1)
            }
            Some(_) | None => 0,
        }
    }

    /// A value that is a number, if it is one.
    pub(crate) fn number(&self, key: &str) -> Option<u32> {
        match &self.object.get(key)?.value {
            Value::StringLit(lit) => lit.value.trim().parse().ok(),
            Value::NumberLit(lit) => lit.value.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.get(key).is_some()
    }
}

/// The first docker compose makes `True` of an unquoted `true`.
pub(crate) fn truth(label: &str) -> Option<bool> {
    label.trim().to_ascii_lowercase().parse().ok()
}

/// For a wrong value. In a list, `- a="b"` has the quotes in its value.
pub(crate) fn quotes_hint(label: &str) -> &'static str {
    match label.as_bytes() {
        [b'"', .., b'"'] | [b'\'', .., b'\''] => {
            "; the quotes are a part of the value: put them around the whole of a list's entry, or \
             leave them out"
        }
        _ => "",
    }
}

/// Where a property stands in a list that labels give element by element.
pub(crate) fn index(prop: &ObjectProp) -> Option<usize> {
    let name = prop.name.as_str();
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && name.len() <= 4;
    name.parse().ok().filter(|_| is_number)
}

fn at(offset: usize) -> Range {
    Range { start: offset, end: offset }
}

/// Fails with the offset of the label that has set the key already. Anything of `plimsoll.config`,
/// which is before `base`, gives way. `place` gives the offset of each part of the path.
fn put<'a>(
    object: &mut Object<'a>,
    path: &[Cow<'a, str>],
    leaf: Value<'a>,
    base: usize,
    place: &mut dyn FnMut(&str, bool) -> usize,
) -> Result<(), usize> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    let offset = place(first, rest.is_empty());
    if let Some(prop) = object.properties.iter_mut().find(|p| p.name.as_str() == first) {
        return replace(&mut prop.value, rest, leaf, (base, offset), place);
    }
    let mut value = Value::Object(Object { range: at(offset), properties: Vec::new() });
    replace(&mut value, rest, leaf, (usize::MAX, offset), place)?;
    let name = StringLit { range: at(offset), value: first.clone() };
    let name = ObjectPropName::String(name);
    object.properties.push(ObjectProp { range: at(offset), name, value });
    Ok(())
}

fn replace<'a>(
    value: &mut Value<'a>,
    rest: &[Cow<'a, str>],
    leaf: Value<'a>,
    (base, offset): (usize, usize),
    place: &mut dyn FnMut(&str, bool) -> usize,
) -> Result<(), usize> {
    let start = value.range().start;
    let is_taken = base <= start;
    match (value, rest) {
        (value, []) if !is_taken => *value = leaf,
        (_, []) => return Err(start),
        (Value::Object(object), _) => return put(object, rest, leaf, base, place),
        (Value::Array(list), [part, rest @ ..]) => {
            let last = list.elements.len();
            let number = part.parse::<usize>().unwrap_or(last).min(last);
            let offset = place(part, rest.is_empty());
            if number == last {
                let object = Object { range: at(offset), properties: Vec::new() };
                list.elements.push(Value::Object(object));
            }
            return replace(&mut list.elements[number], rest, leaf, (base, offset), place);
        }
        (value, _) if !is_taken => {
            let mut object = Object { range: at(offset), properties: Vec::new() };
            put(&mut object, rest, leaf, base, place)?;
            *value = Value::Object(object);
        }
        (_, _) => return Err(start),
    }
    Ok(())
}
