//! The forecast in `/metrics`, as the last evaluation made it.

use crate::model::forecast::{MetricForecast, ServiceForecast};
use crate::model::metric::Milli;
use crate::model::status::ServiceStatus;

/// Labels beside the service, and the value.
pub(super) type ForecastSample<'a> = (Vec<(&'static str, &'a str)>, f64);

fn of(service: &ServiceStatus) -> Option<&ServiceForecast> {
    service.record.as_ref()?.decision.forecast.as_deref()
}

/// Of two of one name, as thresholds and a metric of CPU, the first: a page that has a series twice
/// is refused.
fn metrics(service: &ServiceStatus) -> impl Iterator<Item = &MetricForecast> {
    let all = of(service).map(|forecast| forecast.metrics.as_slice()).unwrap_or_default();
    let is_first = |at: usize, one: &MetricForecast| !all[..at].iter().any(|m| m.name == one.name);
    all.iter().enumerate().filter(move |(at, one)| is_first(*at, one)).map(|(_, one)| one)
}

/// What is expected, and at the configured percentile.
pub(super) fn loads(service: &ServiceStatus) -> Vec<ForecastSample<'_>> {
    let mut samples = Vec::new();
    for metric in metrics(service) {
        let Ok(made) = &metric.result else { continue };
        for (bound, load) in [("expected", made.expected), ("upper", made.upper)] {
            let labels = vec![("metric", metric.name.as_str()), ("bound", bound)];
            samples.push((labels, number(load)));
        }
    }
    samples
}

pub(super) fn replicas(service: &ServiceStatus) -> Vec<ForecastSample<'_>> {
    let largest = of(service).and_then(ServiceForecast::largest);
    largest.map(|(_, replicas)| (Vec::new(), f64::from(replicas))).into_iter().collect()
}

pub(super) fn errors(service: &ServiceStatus) -> Vec<ForecastSample<'_>> {
    let one = |metric: &MetricForecast| metric.error.map(number);
    let named = metrics(service).filter_map(|metric| Some((metric, one(metric)?)));
    named.map(|(metric, error)| (vec![("metric", metric.name.as_str())], error)).collect()
}

fn number(milli: Milli) -> f64 {
    milli.0 as f64 / 1000.0
}
