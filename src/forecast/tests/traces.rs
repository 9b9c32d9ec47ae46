//! The six weeks of load in `contrib/examples`, as `make bench` judges them.

use crate::forecast::backtest::Trace;

#[track_caller]
fn check(text: &str) {
    let got = Trace::parse(text).backtest(65);
    assert!(got.mean_error < 6.0, "{} %", got.mean_error);
    assert!(got.median_error < 3.0, "{} %", got.median_error);
    assert!((85.0..=95.0).contains(&got.covered), "{} %", got.covered);
}

#[test]
fn each_day_alike() {
    check(include_str!("../../../contrib/examples/daily.csv"));
}

#[test]
fn working_days_and_weekends() {
    check(include_str!("../../../contrib/examples/weekly.csv"));
}
