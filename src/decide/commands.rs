//! Operator commands: hold a number, step it, pause scaling, restart all replicas.

use std::time::Duration;

use crate::decide::rollout;
use crate::model::command::{Count, Order, Refusal};
use crate::model::event::Kind;
use crate::model::memory::{Hold, Pause, ServiceMemory};
use crate::model::reason::{AppliedRule, Rule};
use crate::model::service::Service;
use crate::model::time::{Moment, Wall};
use crate::model::units::plural;

/// A step is held at least this long, even without a cooldown, so that the operator sees its
/// effect.
const STEP_MIN: Duration = Duration::from_secs(10);

/// Removes a hold and a pause whose time is over.
pub(crate) fn expire(now: Moment, next: &mut ServiceMemory) {
    let is_over = |until: Option<Moment>| until.is_some_and(|until| until <= now);
    next.hold.take_if(|hold| is_over(hold.until));
    next.pause.take_if(|pause| is_over(pause.until));
}

/// The number that a hold or a pause sets, and why. A hold outranks a pause. Empty: neither is set.
pub(crate) fn number(
    service: &Service,
    now: Moment,
    current: u32,
    memory: &ServiceMemory,
) -> Vec<AppliedRule> {
    let left = |until: Option<Moment>| until.map(|until| until.since(now));
    if let Some(hold) = &memory.hold {
        let mut because =
            vec![AppliedRule { rule: Rule::Held { left: left(hold.until) }, number: hold.count }];
        // The config may have changed since the command.
        let most = service.timetable.most();
        if most < hold.count {
            because.push(AppliedRule { rule: Rule::AboveMax(most), number: most });
        }
        return because;
    }
    let paused = memory.pause.map(|pause| AppliedRule {
        rule: Rule::Paused { left: left(pause.until) },
        number: current,
    });
    paused.into_iter().collect()
}

/// How long until the hold or the pause is over.
pub(crate) fn requeue_after(now: Moment, memory: &ServiceMemory) -> Option<Duration> {
    let hold = memory.hold.as_ref().and_then(|hold| hold.until);
    let pause = memory.pause.and_then(|pause| pause.until);
    hold.into_iter().chain(pause).min().map(|until| until.since(now))
}

/// The effect of a command: the new memory, and the text of its event and answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppliedCommand {
    pub(crate) memory: ServiceMemory,
    /// `None`: nothing changed, so there is no event.
    pub(crate) kind: Option<Kind>,
    pub(crate) words: String,
}

pub(crate) fn apply(
    service: &Service,
    memory: &ServiceMemory,
    (now, wall): (Moment, Wall),
    order: &Order,
) -> Result<AppliedCommand, Refusal> {
    let mut next = memory.clone();
    let (kind, words) = match order {
        Order::Hold { count, span, reason } => {
            let count = held(service, memory, *count)?;
            let until = span.map(|span| now.plus(span));
            let reason = reason.clone();
            let words = plural(count, "replica") + &shown(*span, reason.as_deref());
            next.hold = Some(Hold { count, until, reason });
            (Some(Kind::HoldSet), words)
        }
        Order::Step { up } => {
            let count = step(service, memory, wall, *up)?;
            let span = if *up { service.cooldown.up } else { service.cooldown.down };
            let until = now.plus(span.max(STEP_MIN));
            // A longer hold keeps its time. Its reason was about the old number.
            let until = match &next.hold {
                Some(old) => old.until.map(|old| old.max(until)),
                None => Some(until),
            };
            let words = plural(count, "replica") + &shown(until.map(|end| end.since(now)), None);
            next.hold = Some(Hold { count, until, reason: None });
            (Some(Kind::HoldSet), words)
        }
        Order::Release => {
            let was = next.hold.take().map(|_| Kind::HoldReleased);
            (
                was,
                if was.is_some() {
                    "released by command; load decides again"
                } else {
                    "no hold was set"
                }
                .to_owned(),
            )
        }
        Order::Pause { span } => {
            next.pause = Some(Pause { until: span.map(|span| now.plus(span)) });
            (Some(Kind::ScalingPaused), format!("scaling paused{}", shown(*span, None)))
        }
        Order::Resume => {
            let was = next.pause.take().map(|_| Kind::ScalingResumed);
            let words = if was.is_some() { "scaling resumed" } else { "it was not paused" };
            (was, words.to_owned())
        }
        Order::Restart => {
            if let Some(swarm) = service.runs.swarm() {
                return Err(Refusal::Invalid(format!(
                    "{} is run by Swarm, which also replaces its tasks: \
                     `docker service update --force {swarm}`",
                    service.name
                )));
            }
            let desired = current(service, memory)?;
            rollout::restart(service, &mut next, now);
            (Some(Kind::RolloutStarted), format!("restart, one after the other: {desired}"))
        }
    };
    Ok(AppliedCommand { memory: next, kind, words })
}

fn shown(span: Option<Duration>, reason: Option<&str>) -> String {
    let span =
        span.map_or(", until further notice".to_owned(), |s| format!(", for {}s", s.as_secs()));
    span + &reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// The number that a relative command starts from. Several commands may come between two ticks.
fn current(service: &Service, memory: &ServiceMemory) -> Result<u32, Refusal> {
    let held = memory.hold.as_ref().map(|hold| hold.count);
    held.or(memory.desired).ok_or_else(|| {
        Refusal::Conflict(format!("nothing was decided on {} yet; try again", service.name))
    })
}

fn held(service: &Service, memory: &ServiceMemory, count: Count) -> Result<u32, Refusal> {
    let most = service.timetable.most();
    let count = match count {
        Count::Exactly(count) => count,
        Count::More(more) => current(service, memory)?.saturating_add(more),
        Count::Fewer(fewer) => {
            let current = current(service, memory)?;
            let words = || format!("{fewer} fewer than {current} is less than none");
            current.checked_sub(fewer).ok_or_else(|| Refusal::Invalid(words()))?
        }
    };
    if count <= most {
        return Ok(count);
    }
    Err(Refusal::Invalid(format!(
        "{count} is more than max_replicas of {} allows at any time ({most})",
        service.name
    )))
}

fn step(service: &Service, memory: &ServiceMemory, wall: Wall, up: bool) -> Result<u32, Refusal> {
    let bounds = service.timetable.at(wall).bounds;
    let current = current(service, memory)?;
    let count = if up { current.saturating_add(1) } else { current.saturating_sub(1) };
    if up && bounds.max() < count {
        return Err(Refusal::Conflict(format!(
            "TooManyReplicas: {} has {}, and at most {} are allowed now",
            service.name,
            plural(current, "replica"),
            bounds.max()
        )));
    }
    if !up && (count < bounds.min() || current == 0) {
        return Err(Refusal::Conflict(format!(
            "TooFewReplicas: {} has {}, and at least {} are needed now",
            service.name,
            plural(current, "replica"),
            bounds.min()
        )));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use crate::decide::commands::{AppliedCommand, apply};
    use crate::decide::tests::{NOW, S, service};
    use crate::model::bounds::Bounds;
    use crate::model::command::{Count, Order, Refusal};
    use crate::model::event::Kind;
    use crate::model::memory::{Hold, ServiceMemory};
    use crate::model::time::Wall;

    fn ordered(desired: u32, order: &Order) -> Result<AppliedCommand, Refusal> {
        let service = service(Bounds::new(1, 4).unwrap(), None);
        let memory = ServiceMemory { desired: Some(desired), ..ServiceMemory::default() };
        apply(&service, &memory, (NOW, Wall(0)), order)
    }

    fn hold(count: Count) -> Order {
        Order::Hold { count, span: None, reason: None }
    }

    #[test]
    fn a_hold_is_within_what_the_config_allows_at_any_time() {
        for (desired, count, want) in [
            (2, Count::Exactly(0), Some(0)),
            (2, Count::Exactly(4), Some(4)),
            (2, Count::Exactly(5), None),
            (2, Count::More(2), Some(4)),
            (2, Count::More(3), None),
            (2, Count::Fewer(2), Some(0)),
            (2, Count::Fewer(3), None),
            (2, Count::More(u32::MAX), None),
        ] {
            let got = ordered(desired, &hold(count));
            let held = got.as_ref().ok().map(|taken| taken.memory.hold.clone().unwrap().count);
            assert_eq!(held, want, "{count:?}");
            assert!(got.is_ok() || matches!(got, Err(Refusal::Invalid(_))), "{got:?}");
        }
    }

    #[test]
    fn a_step_stays_within_the_bounds_of_now() {
        for (desired, up, want) in [
            (3, true, Some(4)),
            (4, true, None),
            (2, false, Some(1)),
            (1, false, None),
            (0, false, None),
        ] {
            let got = ordered(desired, &Order::Step { up });
            let until = NOW.plus(if up { 30 * S } else { 60 * S });
            let hold = want.map(|count| Hold { count, until: Some(until), reason: None });
            assert_eq!(got.as_ref().ok().and_then(|t| t.memory.hold.clone()), hold, "{desired}");
            assert!(got.is_ok() || matches!(got, Err(Refusal::Conflict(_))), "{got:?}");
        }
    }

    #[test]
    fn steps_add_up_and_a_hold_without_end_keeps_none() {
        let service = service(Bounds::new(1, 4).unwrap(), None);
        let mut memory = ServiceMemory { desired: Some(1), ..ServiceMemory::default() };
        // No turn comes between.
        for want in [2, 3, 4] {
            memory =
                apply(&service, &memory, (NOW, Wall(0)), &hold(Count::More(1))).unwrap().memory;
            assert_eq!(memory.hold.clone().unwrap().count, want);
        }
        let taken = apply(&service, &memory, (NOW, Wall(0)), &Order::Step { up: false }).unwrap();
        let held = taken.memory.hold.unwrap();
        assert_eq!((held.count, held.until), (3, None));
        let unknown = ServiceMemory::default();
        for order in [hold(Count::More(1)), Order::Step { up: true }] {
            let got = apply(&service, &unknown, (NOW, Wall(0)), &order);
            assert!(matches!(got, Err(Refusal::Conflict(_))), "{got:?}");
        }
    }

    #[test]
    fn a_step_is_held_for_one_cooldown_or_as_long_as_what_was_held() {
        let service = service(Bounds::new(1, 4).unwrap(), None);
        for (old, want, words) in [
            (Some(20 * S), Some(30 * S), "3 replicas, for 30s"),
            (Some(7200 * S), Some(7200 * S), "3 replicas, for 7200s"),
            (None, None, "3 replicas, until further notice"),
        ] {
            let until = old.map(|span| NOW.plus(span));
            let hold = Hold { count: 2, until, reason: Some("sale".to_owned()) };
            let memory = ServiceMemory { hold: Some(hold), ..ServiceMemory::default() };
            let step = Order::Step { up: true };
            let taken = apply(&service, &memory, (NOW, Wall(0)), &step).unwrap();
            let hold = Hold { count: 3, until: want.map(|span| NOW.plus(span)), reason: None };
            assert_eq!((taken.memory.hold, taken.words.as_str()), (Some(hold), words));
        }
    }

    #[test]
    fn a_step_without_a_cooldown_is_seen() {
        let mut service = service(Bounds::new(1, 4).unwrap(), None);
        service.cooldown.up = std::time::Duration::ZERO;
        let memory = ServiceMemory { desired: Some(1), ..ServiceMemory::default() };
        let taken = apply(&service, &memory, (NOW, Wall(0)), &Order::Step { up: true }).unwrap();
        assert_eq!(taken.memory.hold.unwrap().until, Some(NOW.plus(10 * S)));
    }

    #[test]
    fn orders_are_taken_back() {
        let taken = ordered(2, &Order::Pause { span: Some(5 * S) }).unwrap();
        assert_eq!(taken.memory.pause.unwrap().until, Some(NOW.plus(5 * S)));
        let service = service(Bounds::new(1, 4).unwrap(), None);
        let back = apply(&service, &taken.memory, (NOW, Wall(0)), &Order::Resume).unwrap();
        assert_eq!((back.memory.pause, back.words.as_str()), (None, "scaling resumed"));
        let held = ordered(2, &hold(Count::Exactly(3))).unwrap();
        assert_eq!(held.words, "3 replicas, until further notice");
        let back = apply(&service, &held.memory, (NOW, Wall(0)), &Order::Release).unwrap();
        assert_eq!(
            (back.memory.hold, back.words.as_str()),
            (None, "released by command; load decides again")
        );
        assert_eq!(back.kind, Some(Kind::HoldReleased));
        for (order, words) in
            [(Order::Release, "no hold was set"), (Order::Resume, "it was not paused")]
        {
            let taken = ordered(2, &order).unwrap();
            assert_eq!((taken.kind, taken.words.as_str()), (None, words));
        }
    }
}
