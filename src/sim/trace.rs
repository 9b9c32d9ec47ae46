//! A load trace: `time_s,value` rows to load over time. Between two rows the value of the earlier
//! one holds, as a gauge that was read then; nothing is interpolated, so a row means what it says.
//! The last row ends the trace. Its value holds for no time at all.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::model::metric::Milli;

const BYTES_MAX: u64 = 32 << 20;
const ROWS_MAX: usize = 1_000_000;
/// A year of evaluations: longer simulations take too long to wait for.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Some time in the year 5138: further on, a double holds no whole millisecond for long.
const TIME_MAX: (f64, &str) = (1e11, "1e11");
/// So that no sum over a year of them is infinite.
const VALUE_MAX: (f64, &str) = (1e15, "1e15");
/// What programs write that divide by zero.
const NO_NAMES: [&str; 6] = ["nan", "NaN", "inf", "Inf", "infinity", "Infinity"];
/// As much of a bad field as a message shows.
const SHOWN_CHARS: usize = 30;

/// Load over time. Holds two rows at least, of which the first is at zero.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    rows: Vec<(Duration, f64)>,
}

impl Trace {
    /// Errors name the file, the line, the value and what is allowed.
    pub(crate) fn read(path: &Path) -> Result<Trace, String> {
        let name = path.display();
        let wrong = |e| format!("{name}: {e}");
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(wrong)?;
        // One byte more than is allowed shows that there is more.
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(wrong)?;
        Trace::parse(&bytes).map_err(|(line, wrong)| format!("{name}:{line}: {wrong}"))
    }

    /// The error has the number of its line.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Trace, (usize, String)> {
        if BYTES_MAX < u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
            let found = "more than 32 MiB; thin the rows out, or split the trace";
            return Err((bytes.split(|b| *b == b'\n').count(), found.to_owned()));
        }
        // Spreadsheets put a byte order mark first.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let mut rows = Vec::new();
        let mut first = None;
        let mut header_may_come = true;
        let mut last_line = 1;
        for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let at = |wrong: String| (i + 1, wrong);
            let line = str::from_utf8(line).map_err(|_| at("this line is no UTF-8".to_owned()))?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            last_line = i + 1;
            let is_header = std::mem::take(&mut header_may_come) && is_header(line);
            if is_header {
                continue;
            }
            if rows.len() == ROWS_MAX {
                return Err(at(format!("more than {ROWS_MAX} rows; thin them out")));
            }
            let (time, value) = row(line).map_err(at)?;
            let start = *first.get_or_insert(time);
            let after = rows.last().map(|(t, _)| *t + start);
            rows.push((since(start, time, after).map_err(at)?, value));
        }
        match rows.len() {
            0 => Err((last_line, "no row; a trace needs two, of time_s,value".to_owned())),
            1 => Err((last_line, "only one row; a trace needs two, the last ends it".to_owned())),
            _ => Ok(Trace { rows }),
        }
    }

    /// Of times that rise, the first at zero. `None`: fewer than two.
    pub(crate) fn of_rows(rows: Vec<(Duration, f64)>) -> Option<Trace> {
        (2 <= rows.len()).then_some(Trace { rows })
    }

    /// From the first row to the last.
    pub(crate) fn span(&self) -> Duration {
        self.rows.last().map(|(time, _)| *time).unwrap_or_default()
    }

    /// Times after the first row, whatever time that one has in the file, with the load from then.
    pub(crate) fn rows(&self) -> &[(Duration, f64)] {
        &self.rows
    }

    #[cfg(test)]
    pub(crate) fn load_at(&self, at: Duration) -> f64 {
        let after = self.rows.partition_point(|(time, _)| *time <= at);
        self.rows.get(after.saturating_sub(1)).map_or(0.0, |(_, value)| *value)
    }
}

/// Two names. A row with a slip in one number is none of these, and is refused as a row.
fn is_header(line: &str) -> bool {
    let name = |field: &str| {
        let field = field.trim();
        let is_number = parsed(field).is_some() || NO_NAMES.contains(&field);
        field.contains(char::is_alphabetic) && !is_number
    };
    matches!(line.split_once(','), Some((time, value)) if name(time) && name(value))
}

fn row(line: &str) -> Result<(Duration, f64), String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [time, value] = fields.as_slice() else {
        let what = if fields.len() == 1 { "one field" } else { "more than two fields" };
        return Err(format!("{what} in {}; a row is time_s,value", shown(line)));
    };
    let time = number("time_s", time, TIME_MAX)?;
    Ok((Duration::from_millis((time * 1000.0).round() as u64), number("value", value, VALUE_MAX)?))
}

fn number(name: &str, text: &str, (max, max_text): (f64, &str)) -> Result<f64, String> {
    let number = parsed(text).filter(|n| (0.0..=max).contains(n));
    // A minus before a zero would be shown again.
    number.map(f64::abs).ok_or_else(|| {
        format!("{name}: {} is no number from 0 to {max_text}, like 15 or 62.5", shown(text))
    })
}

/// As JSON writes numbers: its reader is in the program already, and that of the standard library
/// is not. Some tools leave out a zero in front.
pub(crate) fn parsed(text: &str) -> Option<f64> {
    let zero = if text.starts_with('.') { "0" } else { "" };
    serde_json::from_str(&format!("{zero}{text}")).ok()
}

/// How long after the first row; `after` is the time of the row before.
fn since(first: Duration, time: Duration, after: Option<Duration>) -> Result<Duration, String> {
    if let Some(after) = after.filter(|after| time <= *after) {
        let time = seconds(time);
        let after = seconds(after);
        return Err(format!(
            "time_s: {time} is not after {after}; times must rise, by 1 ms or more"
        ));
    }
    let span = time.saturating_sub(first);
    if SPAN_MAX < span {
        let days = span.as_secs() / (24 * 3600);
        return Err(format!("time_s: {days} days after the first row; at most 366 are allowed"));
    }
    Ok(span)
}

fn seconds(time: Duration) -> Milli {
    Milli(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::sim::trace::{BYTES_MAX, ROWS_MAX, Trace};

    /// Rows as `seconds=value`.
    #[track_caller]
    fn check(text: &str, want: &str) {
        let got = Trace::parse(text.as_bytes()).map(|trace| {
            let rows = trace.rows.iter().map(|(t, v)| format!("{}={v}", t.as_secs_f64()));
            rows.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(got.as_deref(), Ok(want), "{text:?}");
    }

    #[track_caller]
    fn check_bad(text: &str, line: usize, want: &str) {
        let got = Trace::parse(text.as_bytes()).map_err(|(line, wrong)| format!("{line}: {wrong}"));
        assert_eq!(got, Err(format!("{line}: {want}")), "{text:?}");
    }

    #[test]
    fn rows_are_a_time_and_a_value() {
        check("0,1\n15,2", "0=1 15=2");
        check("0,1\n15,2\n", "0=1 15=2");
        check("time_s,value\n0,1\n15,2", "0=1 15=2");
        check("\u{feff}time_s,value\r\n0,1\r\n15,2\r\n", "0=1 15=2");
        check("# a day\n\n time , cpu \n# of load\n 0 ,\t1\n\n15,2 \n#", "0=1 15=2");
        check("0,-0\n.001,1e3\n0.0024,0.5", "0=0 0.001=1000 0.002=0.5");
        check("0,1000000000000000\n31622400,0", "0=1000000000000000 31622400=0");
    }

    #[test]
    fn the_first_row_is_at_zero_whatever_its_time() {
        check("1772409600,1\n1772409615.5,2", "0=1 15.5=2");
        check("99999999999,1\n100000000000,2", "0=1 1=2");
    }

    #[test]
    fn a_bad_row_is_told_with_its_line_and_what_is_allowed() {
        let rise = "times must rise, by 1 ms or more";
        check_bad("0,1\n0,2", 2, &format!("time_s: 0 is not after 0; {rise}"));
        check_bad("5,1\n\n9,1\n8,2", 4, &format!("time_s: 8 is not after 9; {rise}"));
        check_bad("0,1\n0.0004,2", 2, &format!("time_s: 0 is not after 0; {rise}"));
        let like = "like 15 or 62.5";
        for bad in ["x", "", "-1", "nan", "inf", "1e16", "0x5", "1 000"] {
            let want = format!("value: {bad:?} is no number from 0 to 1e15, {like}");
            check_bad(&format!("0,1\n15,{bad}"), 2, &want);
        }
        check_bad("0,1\n-1,2", 2, &format!("time_s: \"-1\" is no number from 0 to 1e11, {like}"));
        check_bad(
            "0,1\n100000000001,2",
            2,
            &format!("time_s: \"100000000001\" is no number from 0 to 1e11, {like}"),
        );
        check_bad("0;1\n15;2", 1, "one field in \"0;1\"; a row is time_s,value");
        check_bad("0,1\n15,2,3", 2, "more than two fields in \"15,2,3\"; a row is time_s,value");
        let whole = format!("{:?}", "x".repeat(30));
        let long = format!("{whole}...");
        check_bad(&"x".repeat(31), 1, &format!("one field in {long}; a row is time_s,value"));
        check_bad(&"x".repeat(30), 1, &format!("one field in {whole}; a row is time_s,value"));
        check_bad(
            "0,1\n31622400.001,2",
            2,
            "time_s: 366 days after the first row; at most 366 are allowed",
        );
        assert_eq!(
            Trace::parse(b"0,1\n\xff,2"),
            Err((2, "this line is no UTF-8".to_owned())),
            "bytes that are no text"
        );
    }

    #[test]
    fn only_the_first_row_may_be_a_header_and_only_of_two_names() {
        let like = "like 15 or 62.5";
        let time = |bad: &str| format!("time_s: {bad:?} is no number from 0 to 1e11, {like}");
        check_bad("0,1\ntime_s,value\n15,2", 2, &time("time_s"));
        check_bad("a,b\ntime_s,value\n0,1\n15,2", 2, &time("time_s"));
        check_bad("O,1\n15,2", 1, &time("O"));
        check_bad("nan,value\n0,1\n15,2", 1, &time("nan"));
        check_bad("0,x\n15,2", 1, &format!("value: \"x\" is no number from 0 to 1e15, {like}"));
    }

    #[test]
    fn a_trace_has_two_rows_at_least() {
        check_bad("", 1, "no row; a trace needs two, of time_s,value");
        check_bad("# x\ntime_s,value\n", 2, "no row; a trace needs two, of time_s,value");
        check_bad("# x\n0,1\n", 2, "only one row; a trace needs two, the last ends it");
    }

    #[test]
    fn a_trace_has_a_million_rows_and_32_mib_at_most() {
        let mut text: String = (0..ROWS_MAX).map(|i| format!("{i},1\n")).collect();
        assert_eq!(Trace::parse(text.as_bytes()).map(|t| t.rows.len()), Ok(ROWS_MAX));
        text += "# No row.\n1000000,1\n";
        check_bad(&text, ROWS_MAX + 2, "more than 1000000 rows; thin them out");

        let limit = usize::try_from(BYTES_MAX).unwrap();
        let mut text = format!("0,1\n1,1\n#{}", " ".repeat(limit - 9));
        assert!(Trace::parse(text.as_bytes()).is_ok());
        text.push(' ');
        check_bad(&text, 3, "more than 32 MiB; thin the rows out, or split the trace");
    }

    #[test]
    fn a_value_holds_until_the_next_row() {
        let trace = Trace::parse(b"100,1\n110,2\n120,3").unwrap();
        for (ms, want) in [(0, 1.0), (9_999, 1.0), (10_000, 2.0), (19_999, 2.0), (20_000, 3.0)] {
            assert_eq!(trace.load_at(Duration::from_millis(ms)), want, "at {ms}");
        }
        assert_eq!(trace.load_at(Duration::MAX), 3.0);
        assert_eq!(trace.span(), Duration::from_secs(20));
    }

    #[test]
    fn the_examples_are_traces_and_errors_name_the_file() {
        for (file, span_s, rows) in [("day", 86_400, 1441), ("spike", 3600, 361)] {
            let path = format!("contrib/examples/{file}.csv");
            let trace = Trace::read(Path::new(&path)).unwrap();
            assert_eq!((trace.span().as_secs(), trace.rows.len()), (span_s, rows), "{path}");
        }
        let missing = Trace::read(Path::new("contrib/none.csv")).unwrap_err();
        assert!(missing.starts_with("contrib/none.csv: "), "{missing}");
        let bad = Trace::read(Path::new("Cargo.toml")).unwrap_err();
        assert!(bad.starts_with("Cargo.toml:1: "), "{bad}");
    }
}
