//! The forecast of a service, in words.

use serde_json::Value;

use crate::cli::table::{amount, span, word};

/// One line for each metric that is forecast.
pub(super) fn lines(forecast: &Value) -> Vec<String> {
    let mode = word(&forecast["mode"]);
    let within = span(forecast["horizon_s"].as_u64().unwrap_or(0));
    let all = forecast["metrics"].as_array().into_iter().flatten();
    let mut lines: Vec<String> =
        all.map(|metric| format!("{mode}, {}", metric_line(metric, &within))).collect();
    if let Some(load) = forecast["by_load"].as_u64() {
        lines.push(format!("load alone would have {load}"));
    }
    lines
}

fn metric_line(metric: &Value, within: &str) -> String {
    let name = word(&metric["name"]);
    if let Some(why) = metric["why_none"].as_str() {
        return format!("{name}: none, {why}");
    }
    let load = |key: &str| amount(&metric[key], &metric["unit"]);
    let weeks = match metric["weeks"].as_u64() {
        Some(1) => "1 week, and two are better".to_owned(),
        weeks => format!("{} weeks", weeks.unwrap_or(0)),
    };
    let off = metric["error_ratio"].as_f64();
    let off = off.map(|off| format!("; off by {:.0}% in the last day", off * 100.0));
    format!(
        "{name}: up to {} in all within {within} (expected {}), for {} at {} each; from {weeks}, \
         times {}{}",
        load("upper"),
        load("expected"),
        replicas(&metric["replicas"]),
        load("target"),
        amount(&metric["correction"], &Value::Null),
        off.unwrap_or_default()
    )
}

fn replicas(count: &Value) -> String {
    match count.as_u64() {
        Some(1) => "1 replica".to_owned(),
        count => format!("{} replicas", count.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::forecast::lines;

    #[test]
    fn a_forecast_has_its_figures_or_why_there_is_none() {
        let forecast = json!({
            "mode": "on", "horizon_s": 600, "replicas": 6, "by_load": 2,
            "metrics": [
                { "name": "cpu", "unit": "%", "target": 70.0, "expected": 300.0, "upper": 412.5,
                  "replicas": 6, "weeks": 3, "correction": 1.2, "peak_in_s": 300,
                  "error_ratio": 0.084, "why_none": null },
                { "name": "haproxy sessions", "unit": "", "target": 20.0, "expected": null,
                  "upper": null, "replicas": null, "weeks": null, "correction": null,
                  "peak_in_s": null, "error_ratio": null,
                  "why_none": "needs one week of history, better two; has 5 d" },
            ],
        });
        let want = [
            "on, cpu: up to 412.5% in all within 10m (expected 300%), for 6 replicas at 70% each; \
             from 3 weeks, times 1.2; off by 8% in the last day",
            "on, haproxy sessions: none, needs one week of history, better two; has 5 d",
            "load alone would have 2",
        ];
        assert_eq!(lines(&forecast), want);
        let one = json!({
            "mode": "shadow", "horizon_s": 60, "by_load": null,
            "metrics": [{ "name": "cpu", "unit": "%", "target": 70.0, "expected": 10.0,
                "upper": 12.0, "replicas": 1, "weeks": 1, "correction": 1.0, "error_ratio": null,
                "why_none": null }],
        });
        let want = "shadow, cpu: up to 12% in all within 1m (expected 10%), for 1 replica at 70% \
                    each; from 1 week, and two are better, times 1";
        assert_eq!(lines(&one), [want]);
        assert!(lines(&json!(null)).is_empty());
    }
}
