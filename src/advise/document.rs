//! An advice as JSON.

use serde_json::{Value, json};

use crate::advise::advice::{Advice, saved_percent};
use crate::advise::evaluator::RunFigures;
use crate::advise::fragment::{keys, labels};
use crate::advise::screen::{changes, one_line};

pub(crate) fn document(advice: &Advice, is_by_labels: bool) -> Value {
    let coverage = advice.coverage;
    let settings = changes(advice);
    let changed: Vec<Value> = settings
        .iter()
        .map(|s| json!({ "path": s.path, "today": s.today, "advice": s.advised }))
        .collect();
    let forecast = advice.acts_on_forecast.then(|| "forecast".to_owned());
    let left_out: Vec<String> = advice.others.iter().cloned().chain(forecast).collect();
    let labels = is_by_labels.then(|| labels(&settings, &advice.service));
    json!({
        "service": advice.service.name.as_str(),
        "verdict": advice.verdict.word(),
        "advice": one_line(advice),
        "unit": advice.unit,
        "carries": advice.carries.0 as f64 / 1000.0,
        "slo_percent": advice.slo,
        "from": coverage.from.to_string(),
        "until": coverage.until.to_string(),
        "judged_from": coverage.split.to_string(),
        "covered_s": coverage.covered.as_secs(),
        "gaps": coverage.gaps,
        "lower_bound_s": coverage.capped.as_secs(),
        "tried": advice.tried,
        "today": figures(&advice.today.figures),
        "found": figures(&advice.found.figures),
        "saved_percent": saved_percent(&advice.today.figures, &advice.found.figures),
        "settings": changed,
        "keys": keys(&settings),
        "labels": labels,
        "fixed_replicas": advice.fixed,
        "is_constant": advice.is_constant,
        "needs_max_replicas": advice.needs_max,
        "growth_percent": advice.growth,
        "left_out": left_out,
    })
}

fn figures(figures: &RunFigures) -> Value {
    json!({
        "hours": figures.hours,
        "replica_hours": figures.replica_hours,
        "within_percent": figures.within_percent(),
        "longest_above_s": figures.longest_above.as_secs_f64(),
        "unmet_percent": 100.0 * figures.unmet,
        "changes": figures.changes,
        "flaps": figures.flaps,
    })
}
