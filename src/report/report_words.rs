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
        format!("{} ({share})", minutes(report.above_target))
    })
}

/// `None`: there are no events of the time.
pub(crate) fn changes(report: &LoadReport) -> Option<String> {
    let events = report.events.as_ref()?;
    Some(format!("{} up, {} down", grouped(events.ups), grouped(events.downs)))
}

pub(crate) fn minutes(count: u64) -> String {
    plural_grouped(count, "minute")
}

/// How a number of replica-hours compares to what was used, in words that a person can weigh:
/// shares up to ten times as much. `None`: nothing was used.
pub(crate) fn compared(always: u64, used: u64) -> Option<String> {
    let times = always.checked_div(used)?;
    Some(match times {
        0 => format!("{} less than this", percent(used - always, used)),
        1..10 => format!("{} more than this", percent(always - used, used)),
        10..1000 => format!("{times} times as much as this"),
        _ => "more than 1,000 times as much as this".to_owned(),
    })
}

/// Of minutes, with a tenth below a hundred; a little is more than nothing.
pub(crate) fn hours(minutes: u64) -> String {
    if (1..3).contains(&minutes) {
        return "<0.1".to_owned();
    }
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
    use crate::report::report_words::{compared, grouped, hours, percent};

    #[test]
    fn figures_that_nobody_can_weigh_are_rounded() {
        for (always, used, want) in [
            (5, 0, None),
            (0, 5, Some("100% less than this")),
            (9, 10, Some("10% less than this")),
            (10, 10, Some("0% more than this")),
            (99, 10, Some("890% more than this")),
            (100, 10, Some("10 times as much as this")),
            (9_999, 10, Some("999 times as much as this")),
            (10_000, 10, Some("more than 1,000 times as much as this")),
            (u64::MAX, 1, Some("more than 1,000 times as much as this")),
        ] {
            assert_eq!(compared(always, used).as_deref(), want, "{always} {used}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (minutes, want) in [
            (0, "0"),
            (1, "<0.1"),
            (2, "<0.1"),
            (3, "0.1"),
            (60, "1"),
            (90, "1.5"),
            (5_999, "100"),
            (6_030, "101"),
        ] {
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
