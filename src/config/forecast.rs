//! `forecast`: whether a service looks ahead, how far, and how cautiously.

use std::time::Duration;

use crate::config::cursor::{Node, Section};
use crate::model::forecast::{ForecastConfig, ForecastMode};
use crate::model::metric::{Metric, Source};
use crate::model::units;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Earlier weeks that a forecast is to have.
const WEEKS: Duration = Duration::from_secs(14 * 24 * 3600);

/// What is wrong has its default.
pub(crate) fn forecast(section: &Section) -> ForecastConfig {
    let mut out = ForecastConfig::default();
    let Some(keys) = section.section("forecast") else { return out };
    let mode = keys.get("mode").and_then(|n: Node| n.word("off, shadow or on", mode));
    out.mode = mode.unwrap_or(out.mode);
    let horizon = keys.get("horizon").and_then(|n: Node| n.duration(MINUTE..=HOUR));
    out.horizon = horizon.unwrap_or(out.horizon);
    let percentile = keys.get("percentile").and_then(|n: Node| n.whole(50..=99));
    let percentile = percentile.and_then(|percent| u8::try_from(percent).ok());
    out.percentile = percentile.unwrap_or(out.percentile);
    keys.done();
    out
}

fn mode(word: &str) -> Option<ForecastMode> {
    ForecastMode::ALL.into_iter().find(|mode| mode.word() == word)
}

/// Checks that there is something to forecast, and a history to do it from. `kept` is how long the
/// load history is kept.
pub(crate) fn beside(
    section: &Section,
    forecast: &ForecastConfig,
    (has_band, metrics): (bool, &[Metric]),
    kept: Duration,
) {
    let Some(keys) = section.section("forecast") else { return };
    let Some(node) = keys.get("mode").filter(|_| forecast.mode != ForecastMode::Off) else {
        return;
    };
    if kept.is_zero() {
        node.error(
            "needs the load history, and autoscaler.history is 0; remove that key, or set it to \
             14d or more",
        );
    } else if kept < WEEKS {
        node.warning(format!(
            "needs the load of two weeks, and autoscaler.history keeps {}; set it to 14d or more",
            units::show(kept)
        ));
    }
    let others: Vec<&Source> =
        metrics.iter().map(|m| &m.source).filter(|source| !source.is_divided()).collect();
    let is_divided = has_band || others.len() < metrics.len();
    if !is_divided {
        node.warning(
            "has no effect: no metric of the service is a load that its replicas divide among \
             them; add one, like cpu or haproxy request_rate",
        );
    } else if !others.is_empty() {
        let names: Vec<&str> = others.iter().map(|source| source.name()).collect();
        node.warning(format!(
            "does not forecast {}, which replicas do not divide among them; the other metrics are \
             forecast",
            names.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::parse;
    use crate::model::forecast::{ForecastConfig, ForecastMode};

    fn read(autoscaler: &str, keys: &str) -> (Vec<String>, Option<ForecastConfig>) {
        let text = format!(
            r#"{{"autoscaler": {{{autoscaler}}}, "services": {{"web": {{"image": "a", "port": 80,
                 "max_replicas": 4, {keys}}}}}}}"#
        );
        let loaded = parse("c", &text);
        let said = loaded.problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
        let service = loaded.config.and_then(|c| c.services.into_values().next());
        (said, service.map(|service| service.forecast))
    }

    const BAND: &str = r#""scale_up_threshold": 70, "scale_down_threshold": 20"#;

    #[test]
    fn the_keys_have_ranges_and_defaults() {
        let usual = ForecastConfig::default();
        let s = Duration::from_secs;
        for (keys, want) in [
            ("{}", usual),
            (r#"{"mode": "off"}"#, usual),
            (r#"{"mode": "shadow"}"#, ForecastConfig { mode: ForecastMode::Shadow, ..usual }),
            (r#"{"mode": "on"}"#, ForecastConfig { mode: ForecastMode::On, ..usual }),
            (r#"{"horizon": "1m"}"#, ForecastConfig { horizon: s(60), ..usual }),
            (r#"{"horizon": "1h"}"#, ForecastConfig { horizon: s(3600), ..usual }),
            (r#"{"percentile": 50}"#, ForecastConfig { percentile: 50, ..usual }),
            (r#"{"percentile": 99}"#, ForecastConfig { percentile: 99, ..usual }),
        ] {
            let got = read("", &format!(r#"{BAND}, "forecast": {keys}"#));
            assert_eq!(got, (Vec::new(), Some(want)), "{keys}");
        }
        for (keys, want) in [
            (r#"{"mode": "auto"}"#, "mode: must be off, shadow or on, got \"auto\""),
            (r#"{"mode": true}"#, "mode: must be a text in double quotes, got true"),
            (r#"{"horizon": 59}"#, "horizon: must be a duration from 1m to 1h, got 59"),
            (r#"{"horizon": "61m"}"#, "horizon: must be a duration from 1m to 1h, got \"61m\""),
            (r#"{"percentile": 49}"#, "percentile: must be a whole number from 50 to 99, got 49"),
            (r#"{"percentile": 100}"#, "percentile: must be a whole number from 50 to 99, got 100"),
        ] {
            let (said, config) = read("", &format!(r#"{BAND}, "forecast": {keys}"#));
            assert_eq!(said, [format!("services.web.forecast.{want}")], "{keys}");
            assert!(config.is_none(), "{keys}");
        }
    }

    #[test]
    fn it_needs_a_history_and_a_load_that_replicas_divide() {
        let memory = r#""metrics": [{"source": "memory", "target": 70}]"#;
        let queue = r#""metrics": [{"source": "haproxy", "field": "queue", "target": 1}]"#;
        let both = r#""metrics": [{"source": "cpu", "target": 70},
            {"source": "haproxy", "field": "response_time_ms", "target": 100}]"#;
        for (history, keys, want) in [
            ("", BAND, ""),
            (r#""history": "14d""#, BAND, ""),
            (r#""history": "13d""#, BAND, "needs the load of two weeks, and"),
            (r#""history": 0"#, BAND, "needs the load history, and"),
            ("", memory, "has no effect: "),
            ("", queue, "has no effect: "),
            ("", both, "does not forecast haproxy response_time_ms, which replicas"),
        ] {
            let on = format!(r#"{keys}, "forecast": {{"mode": "shadow"}}"#);
            let (said, config) = read(history, &on);
            let start = format!("services.web.forecast.mode: {want}");
            let is_said = |said: &String| !want.is_empty() && said.starts_with(&start);
            assert!(said.iter().all(is_said), "{history} {keys}: {said:?}");
            assert_eq!(said.is_empty(), want.is_empty(), "{history} {keys}: {said:?}");
            assert_eq!(config.is_none(), history.ends_with(" 0"), "{history} {keys}");
            let off = format!(r#"{keys}, "forecast": {{"mode": "off"}}"#);
            assert_eq!(read(history, &off).0, [""; 0], "{history} {keys}");
        }
    }
}
