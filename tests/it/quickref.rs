//! QUICKREF's tables against the source, in both directions: what there is has exactly one row, and
//! what has a row is there. A failure names the table, the word, and what to do.

use std::collections::{BTreeMap, BTreeSet};

use crate::docs::{document, literals_of, source};
use crate::schema;

/// The tables of config keys, where the schema has these keys, and how many there are at least.
const KEY_TABLES: &[(&str, &str, usize)] = &[
    ("`autoscaler`", "autoscaler", 8),
    ("`docker`", "docker", 3),
    ("`api`", "api", 5),
    ("`load_balancer`", "load_balancer", 12),
    ("`services.NAME`", "services.*", 25),
];

/// One table: the first cell of its head, and of each of its rows.
#[derive(Debug, PartialEq)]
struct Table {
    head: String,
    firsts: Vec<String>,
}

fn tables(markdown: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        let Some(row) = line.strip_prefix('|') else {
            inside = false;
            continue;
        };
        let first = first_cell(row);
        match tables.last_mut() {
            _ if first.chars().all(|c| c == '-') && !first.is_empty() => (),
            Some(table) if inside => table.firsts.push(first),
            _ => tables.push(Table { head: first, firsts: Vec::new() }),
        }
        inside = true;
    }
    tables
}

/// A bar behind a backslash is one that is shown.
fn first_cell(row: &str) -> String {
    let mut before = ' ';
    let ends = |c: char| {
        let ends = c == '|' && before != '\\';
        before = c;
        ends
    };
    row.split(ends).next().unwrap_or_default().trim().to_owned()
}

/// `plimsoll scale SERVICE N` is the row of `plimsoll scale`.
fn subject(span: &str) -> &str {
    let Some(rest) = span.strip_prefix("plimsoll ") else { return span };
    let arguments = rest.find(' ').map_or("", |at| &rest[at..]);
    span.strip_suffix(arguments).unwrap_or(span)
}

/// What is wrong with one table, given the words that are to have a row each.
fn faults(markdown: &str, head: &str, words: &BTreeSet<String>) -> Vec<String> {
    let found: Vec<Table> = tables(markdown).into_iter().filter(|t| t.head == head).collect();
    let [table] = &found[..] else {
        return vec![format!("{} tables begin with the cell {head}, one has to", found.len())];
    };
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for word in table.firsts.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        *rows.entry(subject(word)).or_default() += 1;
    }
    let missing = words.iter().filter(|word| !rows.contains_key(word.as_str()));
    let missing = missing.map(|word| format!("table {head}: add a row for `{word}`"));
    let stale = rows.keys().filter(|word| !words.contains(**word));
    let stale = stale.map(|word| format!("table {head}: there is no `{word}`, take its row out"));
    let doubled = rows.iter().filter(|(_, count)| 1 < **count);
    let doubled = doubled.map(|(word, count)| format!("table {head}: `{word}` has {count} rows"));
    missing.chain(stale).chain(doubled).collect()
}

#[track_caller]
fn check(head: &str, at_least: usize, words: &BTreeSet<String>) {
    assert!(at_least <= words.len(), "only {words:?} were found in the source");
    let faults = faults(&document("QUICKREF.md"), head, words);
    assert!(faults.is_empty(), "QUICKREF.md, {}", faults.join("\n  "));
}

fn words_of(path: &str) -> BTreeSet<String> {
    literals_of(&source(path), "fn word(").into_iter().map(str::to_owned).collect()
}

#[test]
fn every_command_has_its_row() {
    let table = source("src/cli/args/commands.rs");
    // Entries stand further left than the options of one.
    let names = table.split("\n    name: \"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut commands: BTreeSet<String> = names.map(|name| format!("plimsoll {name}")).collect();
    commands.insert("plimsoll --version".to_owned());
    check("command", 10, &commands);
}

/// The arms of the match that gives paths their meaning, as documents write them.
fn routes(source: &str) -> BTreeSet<String> {
    let body = source.split("fn of(").nth(1).unwrap_or_default();
    let body = body.split("\n    }\n").next().unwrap_or_default();
    let mut prefix = "";
    let mut found = BTreeSet::new();
    for line in body.lines().map(str::trim) {
        let Some((pattern, made)) = line.split_once(" => ") else { continue };
        if pattern.starts_with("[\"services\", name") {
            prefix = "/services/NAME";
            continue;
        }
        let parts: Vec<&str> = pattern.split('"').skip(1).step_by(2).collect();
        let path = parts.iter().map(|part| format!("/{part}")).collect::<String>();
        let method = if made.starts_with("read(") { "GET" } else { "POST" };
        if pattern.starts_with('[') {
            found.insert(format!("{method} {prefix}{path}"));
        }
    }
    found
}

#[test]
fn every_route_has_its_row() {
    check("route", 15, &routes(&source("src/serve/routes.rs")));
}

/// Of the list of kinds.
pub(crate) fn event_words() -> BTreeSet<String> {
    let source = source("src/model/event.rs");
    let (_, list) = source.split_once("\nkinds! {\n").unwrap();
    let (list, _) = list.split_once("\n}\n").unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_event_has_its_row() {
    check("kind", 20, &event_words());
}

#[test]
fn every_reason_has_its_row() {
    check("reason", 10, &words_of("src/model/reason.rs"));
}

#[test]
fn every_series_has_its_row() {
    let table = source("src/report/series.rs");
    let names = table.split('"').skip(1).step_by(2).filter(|text| is_series(text));
    check("series", 30, &names.map(str::to_owned).collect());
}

pub(crate) fn is_series(text: &str) -> bool {
    let begins = text.starts_with("plimsoll_") || text.starts_with("process_");
    begins && !text.ends_with('_')
}

#[test]
fn every_reason_can_be_shown() {
    let plan = source("src/model/reason.rs");
    let (_, list) = plan.split_once("const REASONS").unwrap();
    let list = list.split("];").next().unwrap().split('"').skip(1).step_by(2);
    let list: BTreeSet<String> = list.map(str::to_owned).collect();
    assert_eq!(list, words_of("src/model/reason.rs"), "REASONS and word() in src/model/reason.rs");
}

/// `ALL` is what `/metrics` goes through.
#[test]
fn every_state_of_a_replica_can_be_shown() {
    let status = source("src/model/status.rs");
    let part = |start: &str, end: &str| {
        let (_, rest) = status.split_once(start).unwrap();
        rest.split(end).next().unwrap().to_owned()
    };
    let variants = part("enum ReplicaState {", "}");
    let variants: BTreeSet<String> =
        variants.split(',').map(|word| word.trim().to_owned()).filter(|w| !w.is_empty()).collect();
    let all = part("const ALL: [ReplicaState", "];");
    let all: BTreeSet<String> = all
        .split("ReplicaState::")
        .skip(1)
        .map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned())
        .collect();
    assert_eq!(all, variants, "ReplicaState::ALL in src/model/status.rs");
}

#[test]
fn every_reason_has_its_remedy() {
    check("the last reason", 10, &words_of("src/model/reason.rs"));
}

#[test]
fn every_config_key_has_its_row() {
    let keys = schema::keys();
    for (head, place, at_least) in KEY_TABLES {
        check(head, *at_least, &keys[*place]);
    }
}

#[test]
fn a_missing_a_stale_and_a_doubled_row_are_found() {
    let words = BTreeSet::from(["a.b".to_owned(), "c".to_owned()]);
    let table = |rows: &str| format!("text\n\n| kind | |\n|---|---|\n{rows}\n\n| other | |\n");
    let rows = [
        ("| `a.b`, `c` ¹ | with `d` |", &[][..]),
        ("| `a.b` | |", &["add a row for `c`"]),
        ("| `a.b` | |\n| `c`, `x` | |", &["no `x`"]),
        ("| `a.b` | |\n| `c`, `a.b` | |", &["`a.b` has 2 rows"]),
    ];
    for (rows, reported) in rows {
        let found = faults(&table(rows), "kind", &words);
        let as_reported =
            found.len() == reported.len() && found.iter().zip(reported).all(|(f, t)| f.contains(t));
        assert!(as_reported, "{rows}: {found:?}");
    }
    assert!(faults("no table", "kind", &words)[0].starts_with("0 tables"));
    assert_eq!(first_cell(" `pause a\\|b` | c |"), "`pause a\\|b`");
}
