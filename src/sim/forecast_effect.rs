//! A load trace replayed without and with the forecast: what it spares and what it costs. The first
//! two weeks are history only, and in no figure.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::model::config::Config;
use crate::model::forecast::{ForecastConfig, ForecastMode};
use crate::model::service::Service;
use crate::model::units;
use crate::sim::recorded_load::TimeRange;
use crate::sim::replay::{Replay, Replayed, replay};
use crate::sim::timeline::{Summary, Timeline, decimal, short, span};

/// From here on the forecast has two earlier weeks.
pub(crate) const LEARNED: Duration = Duration::from_secs(14 * 24 * 3600);
/// What counts as history has no bound but the trace.
const KEPT: Duration = Duration::from_secs(366 * 24 * 3600);

pub(crate) struct ForecastEffect {
    /// After `LEARNED`.
    without: Timeline,
    /// The same of the run with the forecast, whatever mode the config has.
    with: Timeline,
    config: ForecastConfig,
    /// Evaluations with fewer replicas than without, which must not be.
    fewer: usize,
    /// All of the run with the forecast, for a picture; what must not happen and did, in either.
    pub(crate) replayed: Replayed,
}

impl ForecastEffect {
    /// Figures leave out `gaps`, in which the load is not known.
    pub(crate) fn of(asked: &Replay, gaps: &[TimeRange]) -> Result<ForecastEffect, String> {
        if asked.trace.span() <= LEARNED {
            return Err(format!(
                "the trace has {}; the first 14 days are the history of the forecast, and what \
                 comes after them is judged: give a longer one",
                span(asked.trace.span())
            ));
        }
        let mut before = in_mode(ForecastMode::Off, asked)?;
        let mut replayed = in_mode(ForecastMode::On, asked)?;
        before.timeline.gaps = gaps.to_vec();
        replayed.timeline.gaps = gaps.to_vec();
        let fewer = fewer(&before.timeline, &replayed.timeline);
        replayed.violations.append(&mut before.violations);
        if 0 < fewer {
            let words = format!("{fewer} evaluations with fewer replicas than without forecast");
            replayed.violations.push(words);
        }
        Ok(ForecastEffect {
            without: before.timeline.after(LEARNED),
            with: replayed.timeline.after(LEARNED),
            config: asked.service.forecast,
            fewer,
            replayed,
        })
    }

    /// At most 80 columns.
    pub(crate) fn table(&self) -> String {
        let all = &self.replayed.timeline;
        let (before, after) = (self.without.summary(), self.with.summary());
        let mut out = format!(
            "{}\n{} from {}, {}\nload in {}; a replica is to carry {}\n\
             forecast {} ahead, percentile {}; judged are the last {}, after 14d of history\n\n",
            all.service,
            span(all.end),
            all.local(Duration::ZERO).format("%a %Y-%m-%d %H:%M"),
            all.zone,
            all.unit,
            short(all.target),
            units::show(self.config.horizon),
            self.config.percentile,
            span(self.with.counted()),
        );
        let judged = self.with.counted();
        let above = |sum: &Summary| {
            format!("{}% ({})", decimal(sum.above_percent(judged), 2), span(sum.above))
        };
        let unmet = |sum: &Summary| format!("{}%", decimal(100.0 * sum.unmet, 3));
        let changes = |sum: &Summary| short(f64::from(sum.up + sum.down));
        let rows = [
            ["", "without", "with forecast"].map(str::to_owned),
            row("replica-hours", &before, &after, |sum| short(sum.replica_hours)),
            row("above target", &before, &after, above),
            row("longest above", &before, &after, |sum| span(sum.above_longest)),
            row("unmet load", &before, &after, unmet),
            row("changes", &before, &after, changes),
            row("flaps", &before, &after, |sum| short(f64::from(sum.flaps))),
            row("peak", &before, &after, |sum| format!("{} replicas", sum.peak)),
        ];
        for [name, without, with] in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:<16}{without:<20}{with}");
        }
        let more = percent_more(before.replica_hours, after.replica_hours);
        let less = -percent_more(before.above.as_secs_f64(), after.above.as_secs_f64());
        let _ = writeln!(
            out,
            "\n{} % more replica-hours, {} % less time above target; fewer replicas {}",
            decimal(more, 1),
            decimal(less, 1),
            match self.fewer {
                0 => "never".to_owned(),
                fewer => format!("at {fewer} evaluations"),
            }
        );
        out
    }

    /// One object.
    pub(crate) fn json(&self) -> Result<String, serde_json::Error> {
        let figures = |timeline: &Timeline| {
            let sum = timeline.summary();
            ForecastFigures {
                replica_hours: sum.replica_hours,
                above_s: sum.above.as_secs_f64(),
                above_longest_s: sum.above_longest.as_secs_f64(),
                unmet: sum.unmet,
                changes: sum.up + sum.down,
                flaps: sum.flaps,
                peak: sum.peak,
            }
        };
        let effect = ForecastJson {
            judged_from_s: LEARNED.as_secs(),
            judged_s: self.with.counted().as_secs_f64(),
            without: figures(&self.without),
            with: figures(&self.with),
            fewer_replicas_at: self.fewer,
        };
        Ok(format!("{}\n", serde_json::to_string(&effect)?))
    }
}

#[derive(Serialize)]
struct ForecastJson {
    judged_from_s: u64,
    judged_s: f64,
    without: ForecastFigures,
    with: ForecastFigures,
    fewer_replicas_at: usize,
}

#[derive(Serialize)]
struct ForecastFigures {
    replica_hours: f64,
    above_s: f64,
    above_longest_s: f64,
    unmet: f64,
    changes: u32,
    flaps: u32,
    peak: u32,
}

fn in_mode(mode: ForecastMode, asked: &Replay) -> Result<Replayed, String> {
    let forecast = ForecastConfig { mode, ..asked.service.forecast };
    let service = Arc::new(Service { forecast, ..(*asked.service).clone() });
    let config = Config { history: KEPT, ..asked.config.clone() };
    replay(&Replay { config: &config, service, ..*asked })
}

/// Evaluations are at the same times in both runs.
fn fewer(without: &Timeline, with: &Timeline) -> usize {
    let looks = |run: &Timeline| -> Vec<(Duration, u32)> {
        run.points.iter().filter(|p| p.is_look).map(|p| (p.at, p.desired)).collect()
    };
    let (without, with) = (looks(without), looks(with));
    let at_once = without.iter().zip(&with).filter(|((a, _), (b, _))| a == b);
    at_once.filter(|((_, without), (_, with))| with < without).count()
}

fn row(
    name: &str,
    without: &Summary,
    with: &Summary,
    text: impl Fn(&Summary) -> String,
) -> [String; 3] {
    [name.to_owned(), text(without), text(with)]
}

fn percent_more(before: f64, after: f64) -> f64 {
    if 0.0 < before { 100.0 * (after / before - 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config;
    use crate::model::metric::Milli;
    use crate::model::time::Wall;
    use crate::sim::forecast_effect::ForecastEffect;
    use crate::sim::replay::Replay;
    use crate::sim::trace::Trace;
    use crate::sim::workload::LoadMetric;

    /// A Monday, midnight in UTC.
    const MONDAY: Wall = Wall(1_772_409_600);

    fn effect(service: &str, trace: &str) -> Result<ForecastEffect, String> {
        let text = format!(
            r#"{{ "autoscaler": {{ "dry_run": true, "check_interval": 300 }}, "services": {{
                 "web": {{ "image": "a:1", "port": 80, "min_replicas": 1, "max_replicas": 20,
                 "health_check": {{ "start_period": "5m" }}, {service} }} }} }}"#
        );
        let loaded = config::parse("made up", &text);
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let service = config.services.values().next().unwrap().clone();
        ForecastEffect::of(
            &Replay {
                config: &config,
                basis: &LoadMetric::first(&service).unwrap(),
                service,
                trace: &Trace::parse(trace.as_bytes()).unwrap(),
                start: MONDAY,
                start_up: Duration::from_secs(60),
                capacity: Some(Milli(100_000)),
            },
            &[],
        )
    }

    #[test]
    fn a_trace_of_two_weeks_has_nothing_to_judge() {
        let band = r#""scale_up_threshold": 70, "scale_down_threshold": 30"#;
        let got = effect(band, "0,1\n1209600,1").map(|_| ());
        let want = "the trace has 14d; the first 14 days are the history of the forecast";
        assert!(got.as_ref().is_err_and(|wrong| wrong.starts_with(want)), "{got:?}");
    }
}
