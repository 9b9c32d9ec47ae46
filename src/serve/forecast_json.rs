//! The forecast of a service, as JSON.

use serde_json::{Value, json};

use crate::model::forecast::MetricForecast;
use crate::model::metric::Milli;
use crate::model::status::ServiceStatus;

/// That of the last evaluation. `null`: it is off, or there was none yet.
pub(super) fn shown(service: &ServiceStatus) -> Value {
    let record = service.record.as_ref();
    let Some(forecast) = record.and_then(|record| record.decision.forecast.as_deref()) else {
        return Value::Null;
    };
    json!({
        "mode": forecast.mode.word(),
        "horizon_s": forecast.horizon.as_secs(),
        "replicas": forecast.largest().map(|(_, replicas)| replicas),
        "by_load": service.raise.map(|raise| raise.load),
        "metrics": forecast.metrics.iter().map(metric).collect::<Vec<_>>(),
    })
}

fn metric(metric: &MetricForecast) -> Value {
    let number = |milli: Milli| milli.0 as f64 / 1000.0;
    let made = metric.result.as_ref().ok();
    json!({
        "name": metric.name,
        "unit": metric.unit,
        "target": number(metric.share.value()),
        "expected": made.map(|made| number(made.expected)),
        "upper": made.map(|made| number(made.upper)),
        "replicas": metric.replicas(),
        "weeks": made.map(|made| made.weeks),
        "correction": made.map(|made| number(made.correction)),
        "peak_in_s": made.map(|made| made.peak_in.as_secs()),
        "error_ratio": metric.error.map(number),
        "why_none": metric.result.as_ref().err().map(ToString::to_string),
    })
}
