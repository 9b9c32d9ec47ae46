//! Advice in a report: which line each case has, and where a search ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::advise::brief::{BriefAdvice, of_each};
use crate::advise::effort::Effort;
use crate::advise::tests::{history, parsed};
use crate::model::load_history::MinuteRow;
use crate::model::zone::Zone;

/// As long as it was asked fewer times than this.
fn searched(min: u32, rows: &[MinuteRow], most: u32) -> (BTreeMap<String, BriefAdvice>, u32) {
    let (config, _) = parsed(&format!(
        r#""min_replicas": {min}, "max_replicas": 8, "scale_up_threshold": 60,
           "scale_down_threshold": 20"#
    ));
    let asked = AtomicU32::new(0);
    let goes_on = || asked.fetch_add(1, Ordering::Relaxed) < most;
    let effort = Effort::on_one_thread(&goes_on);
    let names = ["gone", "web"].into_iter();
    let all = of_each(names, &config, effort, |_| Zone::UTC, |_| rows.to_vec());
    (all, asked.into_inner())
}

fn advice(min: u32, days: i64) -> BriefAdvice {
    let (all, _) = searched(min, &history(days, "cpu", |_| 150.0), u32::MAX);
    // None for what is not in the config.
    assert_eq!(all.len(), 1, "{all:?}");
    all["web"].clone()
}

#[test]
fn each_advice_is_a_line() {
    let change = advice(5, 2);
    let line = change.line("plimsoll advise web");
    assert!(line.starts_with("min_replicas 5 -> "), "{line}");
    let end = "40% fewer replica-hours, 100.0% within target (plimsoll advise web)";
    assert!(line.ends_with(end), "{line}");
    assert_eq!(change.is_change(), Some(true));
    let clause = change.clause("plimsoll advise web").unwrap();
    assert!(clause.starts_with("advice: min_replicas 5 -> "), "{clause}");

    let keep = advice(3, 2);
    let line = keep.line("plimsoll advise web");
    assert!(line.starts_with("keep what you have: none of "), "{line}");
    assert!(line.ends_with(" other settings is cheaper (plimsoll advise web)"), "{line}");
    assert_eq!(keep.is_change(), Some(false));
    assert_eq!(keep.clause("").unwrap(), "advice: keep what you have");

    let missing = advice(5, 1);
    let want = "none: the history of web covers 1d, and advice needs 2d: ask again in 1d";
    assert_eq!((missing.line("plimsoll advise web").as_str(), missing.is_change()), (want, None));
    assert_eq!(missing.clause("plimsoll advise web"), None);
}

#[test]
fn a_search_ends_wherever_its_time_is_over_and_says_so() {
    let rows = history(2, "cpu", |_| 150.0);
    let (all, whole) = searched(5, &rows, u32::MAX);
    assert!(matches!(all["web"], BriefAdvice::Change(_)), "{all:?}");
    // In the search, and in each of both simulations of a day at its end.
    for most in [0, 10, whole - 40, whole - 1] {
        let (all, asked) = searched(5, &rows, most);
        assert_eq!(all["web"], BriefAdvice::NotSearched, "{most} of {whole}");
        // Once more by each of what was under way.
        assert!(asked <= most + 2, "{most} of {whole}: {asked}");
    }
    let words = "not searched: the time for it was used up (plimsoll advise web)";
    assert_eq!(BriefAdvice::NotSearched.line("plimsoll advise web"), words);
    let clause = BriefAdvice::NotSearched.clause("plimsoll advise web").unwrap();
    assert_eq!(clause, "advice not searched: plimsoll advise web");
}
