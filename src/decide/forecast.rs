//! The forecast: a lower bound of the number of replicas, ahead of the load.
//!
//! It never lowers a number, and a raise leaves no trace in what load does: `ForecastRaise::load`
//! is the number that load alone gave, and load goes on from it, measured as if there were no more
//! replicas than that (`on_fewer`). So there are never fewer replicas than without a forecast, and
//! no cooldown, window or scaling policy is used up by one.
//!
//! It comes after sleep: it keeps nothing awake, and wakes nothing.

use std::time::Duration;

use crate::decide::classify::{self, Classified, ReplicaClass};
use crate::decide::plan_builder::PlanBuilder;
use crate::decide::stabilize;
use crate::model::forecast::{ForecastMode, ForecastRaise};
use crate::model::history::Recommendation;
use crate::model::reason::{MetricStatus, Rule};
use crate::model::replica::{Load, Replica};
use crate::model::service::Percent;
use crate::model::snapshot::Snapshot;

/// How long a number stays that is not forecast any more: a replica that is needed again minutes
/// later is not stopped.
const WINDOW: Duration = stabilize::DOWN_DEFAULT;

/// Raises the number to the one that the forecast asks for, within the bounds.
pub(crate) fn raise(plan: &mut PlanBuilder) {
    let load = plan.desired;
    if !plan.is_forecast_due {
        // Kept as it is, or a rule above load gave the number.
        plan.raise = plan.raise.filter(|_| load != 0);
        return;
    }
    let before = plan.raise.take();
    if load == 0 || plan.from() == 0 || plan.snapshot.service.forecast.mode != ForecastMode::On {
        return;
    }
    let Some((asked, rule)) = asked(plan.snapshot, before) else { return };
    let most = plan.snapshot.service.timetable.at(plan.snapshot.wall).bounds.max();
    let to = asked.replicas.min(most);
    if load < to {
        plan.raise = Some(ForecastRaise { load, to, asked });
        plan.set_number(rule, to);
    }
}

/// What is forecast now, or what was within the window if that is more.
fn asked(snapshot: &Snapshot, before: Option<ForecastRaise>) -> Option<(Recommendation, Rule)> {
    let at = snapshot.now;
    let now = snapshot.forecast.as_deref().and_then(|forecast| {
        let (metric, replicas) = forecast.largest()?;
        let value = metric.result.as_ref().ok()?.upper;
        let target = metric.share.value();
        let load = MetricStatus { metric: metric.kind, value, target, unit: metric.unit };
        let rule = Rule::Forecast { load, within: forecast.horizon };
        Some((Recommendation { at, replicas }, rule))
    });
    let held = before.map(|raise| raise.asked).filter(|held| at.since(held.at) < WINDOW);
    match (now, held) {
        (Some((now, rule)), Some(held)) if held.replicas <= now.replicas => Some((now, rule)),
        (_, Some(held)) => {
            // The clock may have been set back.
            let held = Recommendation { at: held.at.min(at), ..held };
            let rule = Rule::ForecastHeld { proposed: held.replicas, window: WINDOW };
            Some((held, rule))
        }
        (now, None) => now,
    }
}

/// The snapshot as it would be with at most `count` replicas that serve or soon will, under the
/// same load. Ready ones stay first.
pub(crate) fn on_fewer(snapshot: &Snapshot, classified: &Classified, count: u32) -> Snapshot {
    let mut room = usize::try_from(count).unwrap_or(usize::MAX);
    let mut fewer = snapshot.clone();
    fewer.replicas.clear();
    let ready: Vec<&Replica> = of_class(classified, |class| class == ReplicaClass::Ready).collect();
    let kept = ready.len().min(room);
    room -= kept;
    let cpu = divided(ready.iter().map(|r| r.load), kept);
    let memory = divided(ready.iter().map(|r| r.memory), kept);
    for ((replica, load), memory) in ready.into_iter().zip(cpu).zip(memory) {
        fewer.replicas.push(Replica { load, memory, ..replica.clone() });
    }
    let is_coming = |class| matches!(class, ReplicaClass::Unready | ReplicaClass::Unhealthy);
    let coming: Vec<Replica> = of_class(classified, is_coming).take(room).cloned().collect();
    room -= coming.len();
    fewer.replicas.extend(coming);
    let is_other = |class| matches!(class, ReplicaClass::Leaving | ReplicaClass::Away);
    fewer.replicas.extend(of_class(classified, is_other).cloned());
    fewer.replicas.sort_by_key(|replica| replica.number);
    fewer.starting = classify::hidden(snapshot).take(room).collect();
    fewer
}

fn of_class<'a>(
    classified: &Classified<'a>,
    is_one: impl Fn(ReplicaClass) -> bool,
) -> impl Iterator<Item = &'a Replica> {
    classified.replicas.iter().filter(move |(class, _)| is_one(*class)).map(|(_, r)| *r)
}

/// The same load on `count` of the replicas, if those are fewer. Of replicas without a sample, as
/// many stay as leave one that has one.
fn divided(loads: impl ExactSizeIterator<Item = Load>, count: usize) -> Vec<Load> {
    let all = loads.len();
    let loads: Vec<Load> = loads.collect();
    if all <= count {
        return loads;
    }
    let read = loads.iter().filter_map(|load| match load {
        Load::Read(percent) => Some(percent.hundredths()),
        Load::Missing => None,
    });
    let read: Vec<u64> = read.collect();
    let sampled = count - (all - read.len()).min(count.saturating_sub(1));
    let wide = |n: usize| u128::try_from(n).unwrap_or(u128::MAX).max(1);
    let sum: u128 = read.iter().copied().map(u128::from).sum();
    // Those without a sample have as much load as the others, and carry their share again.
    let sum = sum * wide(all) * wide(sampled) / wide(read.len()) / wide(count);
    let (each, rest) = (sum / wide(sampled), sum % wide(sampled));
    let load = |place: usize| match place {
        _ if read.is_empty() || sampled <= place => Load::Missing,
        place => {
            let more = u128::from(wide(place + 1) <= rest);
            Load::Read(Percent::from_hundredths(u64::try_from(each + more).unwrap_or(u64::MAX)))
        }
    };
    (0..count).map(load).collect()
}
