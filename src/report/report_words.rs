//! The figures of a load report as words, for its table and its message alike.

use crate::report::load_report::LoadReport;

/// `100 replica-hours of 300 at max (6)`.
pub(crate) fn replica_hours(report: &LoadReport) -> String {
    let used = format!("{} replica-hours", hours(report.replica_minutes));
    match report.max {
        Some(max) => format!("{used} of {} at max ({max})", hours(report.minutes_at(max))),
        None => used,
    }
}

/// `3,000 requests, 15 failed (5xx, 0.5%)`.
pub(crate) fn requests(report: &LoadReport) -> String {
    let all = plural_grouped(report.requests, "request");
    match report.errors_5xx {
        0 => all,
        failed => {
            let share = percent(failed, report.requests);
            format!("{all}, {} failed (5xx, {share})", grouped(failed))
        }
    }
}

/// How long it was. `None`: never.
pub(crate) fn above_target(report: &LoadReport) -> Option<String> {
    (0 < report.above_target).then(|| {
        let share = percent(report.above_target, report.minutes);
        format!("{} ({share})", plural_grouped(report.above_target, "minute"))
    })
}

pub(crate) fn changes(report: &LoadReport) -> String {
    format!("{} up, {} down", grouped(report.events.ups), grouped(report.events.downs))
}

/// Of minutes, with a tenth below a hundred.
pub(crate) fn hours(minutes: u64) -> String {
    let tenths = (minutes.saturating_add(3)) / 6;
    match (tenths / 10, tenths % 10) {
        (hours, tenth) if hours < 100 && tenth != 0 => format!("{hours}.{tenth}"),
        (hours, tenth) => grouped(hours + tenth / 5 * u64::from(100 <= hours)),
    }
}

fn plural_grouped(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", grouped(count)) }
}

/// `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if 0 < at && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// To a tenth, below that to a hundredth; `<0.01%` is more than nothing, and less than all is not
/// shown as 100%.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match (whole, rest) {
        (0, 0) if 0 < part => "<0.01%".to_owned(),
        (0, rest) if rest != 0 && !rest.is_multiple_of(10) => format!("0.{rest:02}%"),
        (whole, rest) if 10 <= rest => format!("{whole}.{}%", rest / 10),
        (whole, _) => format!("{whole}%"),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::report_words::{grouped, hours, percent};

    #[test]
    fn numbers_are_short() {
        for (minutes, want) in
            [(0, "0"), (2, "0"), (3, "0.1"), (60, "1"), (90, "1.5"), (5_999, "100"), (6_030, "101")]
        {
            assert_eq!(hours(minutes), want, "{minutes}");
        }
        for (count, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), want);
        }
        for (part, whole, want) in [
            (0, 0, "0%"),
            (1, 100_000, "<0.01%"),
            (1, 10_000, "0.01%"),
            (1, 1_000, "0.1%"),
            (125, 1_000, "12.5%"),
            (99_999, 100_000, "99.9%"),
            (5, 5, "100%"),
        ] {
            assert_eq!(percent(part, whole), want, "{part} of {whole}");
        }
    }
}
