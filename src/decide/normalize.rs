//! From the proposed number to the allowed one: stabilization windows, then scaling policies, then
//! bounds. HPA's `normalizeDesiredReplicas` and `normalizeDesiredReplicasWithBehaviors`.

use crate::decide::bounds;
use crate::decide::policies::{self, RateLimit};
use crate::decide::stabilize::{self, Held, Windows};

use crate::model::behavior::Behavior;
use crate::model::bounds::Bounds;
use crate::model::history::History;
use crate::model::reason::{AppliedRule, Rule};
use crate::model::time::Moment;

#[derive(Clone, Copy, Debug)]
pub(crate) struct NormalizationArg<'a> {
    pub(crate) now: Moment,
    /// Within the bounds: a number outside of them is corrected before any metric is evaluated.
    pub(crate) current: u32,
    pub(crate) desired: u32,
    pub(crate) bounds: Bounds,
    pub(crate) behavior: Option<&'a Behavior>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Normalized {
    pub(crate) replicas: u32,
    /// Everything that changed the number, in order.
    pub(crate) because: Vec<AppliedRule>,
}

#[cfg(test)]
impl Normalized {
    /// The one word for all of it: that of the last restraint.
    pub(crate) fn word(&self) -> &'static str {
        self.because.last().map_or(crate::model::reason::WITHIN_RANGE, |cause| cause.rule.word())
    }
}

/// Logs the proposal. The final number may differ: the caller logs it with `policies::remember`.
pub(crate) fn normalize(request: &NormalizationArg, history: &mut History) -> Normalized {
    let mut because = Vec::new();
    let stabilized = match request.behavior {
        None => {
            let now = request.now;
            let desired = request.desired;
            let window = stabilize::DOWN_DEFAULT;
            let answer = stabilize::without_behavior(history, now, desired, window);
            held(answer, false, &mut because)
        }
        Some(behavior) => stabilized(request, behavior, history, &mut because),
    };
    stabilize::thin_out(history, request.now);
    policies::thin_out(history, request.now);

    let limited = match request.behavior {
        None => {
            let ceiling = policies::growth(request.current);
            to_ceiling(stabilized, request.bounds, ceiling, &mut because)
        }
        Some(behavior) => at_rate(request, behavior, history, stabilized, &mut because),
    };
    let replicas = bounds::to_bounds(limited, request.bounds, &mut because);
    Normalized { replicas, because }
}

fn stabilized(
    request: &NormalizationArg,
    behavior: &Behavior,
    history: &mut History,
    because: &mut Vec<AppliedRule>,
) -> u32 {
    let NormalizationArg { now, current, desired, .. } = *request;
    let up = behavior.scale_up.stabilization;
    let down = behavior.scale_down.stabilization;
    let windows = Windows { up, down };
    let answer = stabilize::with_behavior(history, now, current, desired, windows);
    held(answer, current <= desired, because)
}

fn held((number, held): (u32, Option<Held>), is_up: bool, because: &mut Vec<AppliedRule>) -> u32 {
    let rule = |Held { by, window }| {
        let proposed = by.replicas;
        if is_up {
            Rule::ScaleUpStabilized { proposed, window }
        } else {
            Rule::ScaleDownStabilized { proposed, window }
        }
    };
    because.extend(held.map(|held| AppliedRule { rule: rule(held), number }));
    number
}

fn at_rate(
    request: &NormalizationArg,
    behavior: &Behavior,
    history: &History,
    number: u32,
    because: &mut Vec<AppliedRule>,
) -> u32 {
    let NormalizationArg { now, current, bounds, .. } = *request;
    if current < number {
        let ceiling = policies::ceiling(history, now, current, &behavior.scale_up);
        return to_ceiling(number, bounds, ceiling, because);
    }
    if number < current {
        let floor = policies::floor(history, now, current, &behavior.scale_down);
        if bounds.min() < floor.replicas && number < floor.replicas {
            because
                .push(AppliedRule { rule: Rule::ScaleDownLimit(floor.by), number: floor.replicas });
            return floor.replicas;
        }
    }
    number
}

/// The tighter one of the bound and the policy gives the reason; the bound if they are equal.
fn to_ceiling(
    number: u32,
    bounds: Bounds,
    ceiling: RateLimit,
    because: &mut Vec<AppliedRule>,
) -> u32 {
    if ceiling.replicas < bounds.max() && ceiling.replicas < number {
        because
            .push(AppliedRule { rule: Rule::ScaleUpLimit(ceiling.by), number: ceiling.replicas });
        return ceiling.replicas;
    }
    number
}
