//! Values in columns, for people, within 100 of them.

use serde_json::Value;

use crate::model::terminal;

pub(crate) const WIDTH: usize = 100;

/// Rows under their heads; the last column is cut where the line ends. A head that begins with `>`
/// has numbers below it.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let names = heads.map(|head| head.trim_start_matches('>').to_owned());
    let lines: Vec<&[String; N]> = [&names].into_iter().chain(rows).collect();
    let width = |column: usize| lines.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in lines {
        let cells = heads.iter().zip(row).zip(&widths).map(|((head, cell), width)| {
            match head.starts_with('>') {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        out += &format!("{}\n", cut(line.trim_end(), WIDTH));
    }
    out
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

/// Escapes control characters and line ends in text from containers and programs.
pub(crate) fn plain(text: &str) -> String {
    terminal::plain_line(text).into_owned()
}

/// Operator commands in effect, and warnings, one line each.
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
    if service["reason"] == "CrashLoop" {
        lines.push(
            "replicas keep failing to start; see `plimsoll events` for the reason".to_owned(),
        );
    }
    if service["suspect"] == true {
        lines.push(
            "all replicas became unhealthy at once: health check results are ignored".to_owned(),
        );
    }
    lines
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

    use crate::cli::table::{amount, cut, operator_lines, plain, span, table};

    #[test]
    fn spans_have_their_two_largest_units() {
        for (seconds, want) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3725, "1h 2m"), (86_401, "1d"), (90_000, "1d 1h")]
        {
            assert_eq!(span(seconds), want);
        }
    }

    #[test]
    fn tables_end_at_their_width() {
        let rows = [["a".to_owned(), "10".to_owned(), "x".repeat(200)]];
        let text = table(["name", ">n", "text"], &rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "name   n  text");
        assert!(lines[1].starts_with("a     10  xxx") && lines[1].ends_with('…'));
        assert_eq!((lines[1].chars().count(), cut("abc", 3)), (100, "abc".to_owned()));
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
        let fails = operator_lines(&json!({ "reason": "CrashLoop" }));
        assert_eq!(fails, ["replicas keep failing to start; see `plimsoll events` for the reason"]);
    }
}
