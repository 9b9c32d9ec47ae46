//! Values in columns, for people, within a width.

use serde_json::Value;

use crate::model::terminal;

/// Columns that the last cell of a row needs to stand beside the others.
const ROOM_MIN: usize = 20;
const INDENT: usize = 4;

/// Rows under their heads, within `width` columns: the last cell is wrapped at words. Without room
/// for it beside the others, the cells that have none stand below the row. A head that begins with
/// `>` has numbers below it. Gives the lines of the heads and of each row.
pub(crate) fn table<const N: usize>(
    heads: [&str; N],
    rows: &[[String; N]],
    width: usize,
) -> Vec<Vec<String>> {
    let names = heads.map(|head| head.trim_start_matches('>').to_owned());
    let all: Vec<&[String; N]> = [&names].into_iter().chain(rows).collect();
    let longest = |column: usize| all.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| longest(column).unwrap_or(0)).collect();
    let beside: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
    let own = widths.last().copied().unwrap_or(0);
    let padded = |row: &[String; N], count: usize| -> String {
        let cells = heads.iter().zip(row).zip(&widths).take(count);
        let cells = cells.map(|((head, cell), width)| match head.starts_with('>') {
            true => format!("{cell:>width$}  "),
            false => format!("{cell:<width$}  "),
        });
        cells.collect()
    };
    if beside + own.min(ROOM_MIN) <= width {
        let room = width.saturating_sub(beside).max(1);
        let is_number = heads.last().is_some_and(|head| head.starts_with('>'));
        let row = |row: &&[String; N]| {
            let last = row.last().map(String::as_str).unwrap_or_default();
            let lines = if is_number { vec![format!("{last:>own$}")] } else { wrapped(last, room) };
            let first = padded(row, N.saturating_sub(1));
            let lines = hanging_lines(&first, beside, lines);
            lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
        };
        return all.iter().map(row).collect();
    }
    let fits = |count: &usize| {
        widths.iter().take(*count).map(|width| width + 2).sum::<usize>() <= width + 2
    };
    let first = (1..N).rev().find(fits).unwrap_or(1);
    let row = |row: &&[String; N]| {
        let below: Vec<&str> = row.iter().skip(first).map(String::as_str).collect();
        with_below(padded(row, first).trim_end(), &below.join("  "), width)
    };
    all.iter().map(row).collect()
}

/// The lines of the last cell, beside the cells before it.
fn hanging_lines(first: &str, indent: usize, lines: Vec<String>) -> Vec<String> {
    let line = |(at, line): (usize, String)| match at {
        0 => format!("{first}{line}"),
        _ => format!("{:indent$}{line}", ""),
    };
    lines.into_iter().enumerate().map(line).collect()
}

/// `text` after `first`, which is `indent` wide: beside it, or below it if there is no room.
pub(crate) fn beside_or_below(first: &str, indent: usize, text: &str, width: usize) -> Vec<String> {
    let room = width.saturating_sub(indent);
    if ROOM_MIN.min(text.chars().count()) <= room {
        return hanging_lines(first, indent, wrapped(text, room.max(1)));
    }
    with_below(first, text, width)
}

fn with_below(first: &str, text: &str, width: usize) -> Vec<String> {
    let below = wrapped(text, width.saturating_sub(INDENT).max(1)).into_iter();
    let below = below.map(|line| format!("{:INDENT$}{line}", ""));
    [first.to_owned()].into_iter().chain(below).collect()
}

/// Each line with its end.
pub(crate) fn ended(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Lines of at most `width` characters, broken at spaces; a word that is longer is broken too.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let gap = usize::from(0 < used);
        if width < used + gap + word.len() && 0 < used {
            lines.push(String::new());
            used = 0;
        }
        while width < word.len() {
            let rest = word.split_off(width);
            lines.last_mut().into_iter().for_each(|line| line.extend(&word));
            lines.push(String::new());
            word = rest;
        }
        if let Some(line) = lines.last_mut() {
            if 0 < used {
                line.push(' ');
                used += 1;
            }
            line.extend(&word);
            used += word.len();
        }
    }
    lines
}

/// As `wrapped`, with `first` before the first line and as many spaces before the others.
pub(crate) fn hanging(first: &str, text: &str, width: usize) -> Vec<String> {
    let indent = first.chars().count();
    let lines = wrapped(text, width.saturating_sub(indent).max(ROOM_MIN));
    hanging_lines(first, indent, lines)
}

pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// `2h 5m`, `45s`: at most the two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let d = seconds / 86_400;
    let h = seconds / 3600 % 24;
    let m = seconds / 60 % 60;
    let s = seconds % 60;
    let units = [(d, "d"), (h, "h"), (m, "m"), (s, "s")];
    let parts: Vec<String> = units
        .iter()
        .skip_while(|(number, _)| *number == 0)
        .take(2)
        .filter(|(number, _)| *number != 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// A number with its unit, or `-` for none.
pub(crate) fn amount(value: &Value, unit: &Value) -> String {
    match value.as_f64() {
        Some(number) => {
            let text = format!("{number:.2}");
            let text = text.trim_end_matches('0').trim_end_matches('.');
            format!("{text}{}", unit.as_str().unwrap_or_default())
        }
        None => "-".to_owned(),
    }
}

/// A text or number as it is, `-` for none.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

/// A state, and what it waits for if it does.
pub(crate) fn awaited(state: &Value, waits_for: &Value) -> String {
    match waits_for {
        Value::Null => word(state),
        what => format!("{} ({})", word(state), word(what)),
    }
}

/// Escapes control characters and line ends in text from containers and programs.
pub(crate) fn plain(text: &str) -> String {
    terminal::plain_line(text).into_owned()
}

/// Operator commands in effect and a rollout, one line each.
pub(crate) fn operator_lines(service: &Value) -> Vec<String> {
    let left = |order: &Value, end: &str| match order["left_s"].as_u64() {
        Some(left) => format!("for {} more", span(left)),
        None => end.to_owned(),
    };
    let mut lines = Vec::new();
    let hold = &service["hold"];
    let pause = &service["pause"];
    if !hold.is_null() {
        let why = hold["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        let left = left(hold, "until it is released");
        lines.push(format!("held at {} {left}{why}", word(&hold["replicas"])));
    }
    if !pause.is_null() {
        lines.push(format!("paused {}", left(pause, "until it is resumed")));
    }
    lines.extend(rollout(&service["rollout"]));
    lines
}

/// Replicas that it gave up for others, or got from them.
pub(crate) fn preemption_lines(service: &Value) -> Vec<String> {
    let all = service["preemptions"].as_array();
    let name = if service["name"].is_null() { &service["service"] } else { &service["name"] };
    let line = |one: &Value| {
        let step = word(&one["step"]);
        let time = span(one["for_s"].as_u64().unwrap_or(0));
        match one["victim"] == *name {
            true => {
                format!("gave a replica up for {} ({step} for {time})", word(&one["beneficiary"]))
            }
            false => format!("got a replica of {} ({step} for {time})", word(&one["victim"])),
        }
    };
    all.into_iter().flatten().map(line).collect()
}

/// Progress of a rollout, on one line.
fn rollout(rollout: &Value) -> Option<String> {
    let state = rollout["state"].as_str()?;
    if state == "rolled_back" {
        return Some("rolled back: the new configuration made no progress".to_owned());
    }
    let idle = span(rollout["idle_s"].as_u64().unwrap_or(0));
    let new = word(&rollout["new"]);
    let old = word(&rollout["old"]);
    let state = state.replace('_', " ");
    Some(format!("{state}: {new} new ready, {old} old left, no progress for {idle}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::table::{amount, ended, hanging, operator_lines, plain, span, table, wrapped};

    #[test]
    fn spans_have_their_two_largest_units() {
        for (seconds, want) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3725, "1h 2m"), (86_401, "1d"), (90_000, "1d 1h")]
        {
            assert_eq!(span(seconds), want);
        }
    }

    #[test]
    fn the_last_cell_is_wrapped_beside_the_others_or_below() {
        let rows = [["a".to_owned(), "10".to_owned(), "one two three four five".to_owned()]];
        let lines = |width| ended(&table(["name", ">n", "text"], &rows, width).concat());
        let beside = "\
name   n  text
a     10  one two three four
          five
";
        assert_eq!(lines(30), beside);
        let below = "\
name   n
    text
a     10
    one two three four five
";
        assert_eq!(lines(29), below);
        assert_eq!(lines(33).lines().count(), 2);
    }

    #[test]
    fn text_is_wrapped_at_words_and_long_words_are_broken() {
        for (text, width, want) in [
            ("", 3, &[""][..]),
            ("ab", 2, &["ab"]),
            ("ab c", 4, &["ab c"]),
            ("ab c", 3, &["ab", "c"]),
            ("abcdef g", 4, &["abcd", "ef g"]),
            ("a abcde", 4, &["a", "abcd", "e"]),
        ] {
            assert_eq!(wrapped(text, width), want, "{text} {width}");
        }
        assert_eq!(hanging("- ", "aaaaaaaaaaaaaaaaaaaa b", 22), ["- aaaaaaaaaaaaaaaaaaaa", "  b"]);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        assert_eq!(plain("a\x1b[2Jb\r\nü"), "a\\u001b[2Jb\\r\\nü");
    }

    #[test]
    fn numbers_are_short_and_orders_whole_sentences() {
        assert_eq!(amount(&json!(70.0), &json!("%")), "70%");
        assert_eq!(amount(&json!(100.09), &json!("")), "100.09");
        assert_eq!(amount(&json!(null), &json!("%")), "-");
        let hold = json!({ "replicas": 4, "left_s": 7200, "reason": "sale" });
        let service = json!({ "hold": hold, "pause": { "left_s": null } });
        assert_eq!(
            operator_lines(&service),
            ["held at 4 for 2h more: sale", "paused until it is resumed"]
        );
    }
}
