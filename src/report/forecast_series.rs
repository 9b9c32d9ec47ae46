//! The forecast in `/metrics`, as the last evaluation made it.

use crate::model::forecast::{MetricForecast, ServiceForecast};
use crate::model::metric::Milli;
use crate::model::status::ServiceStatus;
use crate::report::prometheus::Page;

fn of(service: &ServiceStatus) -> Option<&ServiceForecast> {
    service.record.as_ref()?.decision.forecast.as_deref()
}

/// What is expected, and at the configured percentile.
pub(super) fn loads(page: &mut Page, services: &[ServiceStatus]) {
    each(services, |service, metric| {
        let Ok(made) = &metric.result else { return };
        for (bound, load) in [("expected", made.expected), ("upper", made.upper)] {
            let labels = [("service", service), ("metric", &metric.name), ("bound", bound)];
            page.sample(&labels, number(load));
        }
    });
}

pub(super) fn replicas(service: &ServiceStatus) -> Option<u64> {
    of(service)?.largest().map(|(_, replicas)| u64::from(replicas))
}

pub(super) fn errors(page: &mut Page, services: &[ServiceStatus]) {
    each(services, |service, metric| {
        let labels = [("service", service), ("metric", metric.name.as_str())];
        metric.error.into_iter().for_each(|error| page.sample(&labels, number(error)));
    });
}

fn each(services: &[ServiceStatus], mut show: impl FnMut(&str, &MetricForecast)) {
    for service in services {
        let metrics = of(service).into_iter().flat_map(|forecast| &forecast.metrics);
        metrics.for_each(|metric| show(&service.name, metric));
    }
}

fn number(milli: Milli) -> f64 {
    milli.0 as f64 / 1000.0
}
