//! Events of preemptions, on both sides. The condition lasts while the victim lacks a replica.

use crate::model::event::{Event, Kind};
use crate::model::preemption::{Preemption, PreemptionMemory, PreemptionStep, Shortage};

pub(crate) fn events(before: &PreemptionMemory, after: &PreemptionMemory) -> Vec<Event> {
    let mut events = Vec::new();
    for one in after.list.iter().filter(|one| !before.list.iter().any(|old| is_same(old, one))) {
        let Preemption { victim, victim_priority, beneficiary, priority, .. } = one;
        let why = match one.shortage {
            Shortage::Memory { needed } => {
                format!("the host has not the {} MiB of memory that it needs", needed >> 20)
            }
            Shortage::Processor => "the host's processor is busy".to_owned(),
        };
        let gives = format!(
            "gives a replica up for {beneficiary}, of priority {priority} over {victim_priority}: \
             {why}"
        );
        let takes = format!(
            "gets the room of a replica of {victim}, of priority {victim_priority} under \
             {priority}: {why}"
        );
        events.extend([event(gives, victim), event(takes, beneficiary)]);
    }
    for one in before.list.iter().filter(|one| !after.list.iter().any(|new| is_same(new, one))) {
        let stands =
            |role: fn(&Preemption) -> &str| after.list.iter().any(|other| role(other) == role(one));
        if !stands(|one| &one.victim) {
            events.push(ended(one, &one.victim));
        }
        if !stands(|one| &one.beneficiary) {
            events.push(ended(one, &one.beneficiary));
        }
    }
    events
}

fn event(message: String, service: &str) -> Event {
    Event::new(Kind::ScalePreempted, message).service(service)
}

fn ended(one: &Preemption, service: &str) -> Event {
    let Preemption { victim, beneficiary, .. } = one;
    let how = match one.step {
        PreemptionStep::Draining => {
            format!("{victim} keeps its replica: {beneficiary} needs no room of it")
        }
        PreemptionStep::Ready | PreemptionStep::Used | PreemptionStep::Returning => {
            format!("{victim} may have the replica again that it gave up for {beneficiary}")
        }
    };
    Event::resolved(Kind::ScalePreempted, &how).service(service)
}

/// Step and cap of one change.
fn is_same(one: &Preemption, other: &Preemption) -> bool {
    (&one.victim, &one.beneficiary, one.begun) == (&other.victim, &other.beneficiary, other.begun)
}

#[cfg(test)]
mod tests {
    use crate::model::preemption::{Preemption, PreemptionMemory, PreemptionStep, Shortage};
    use crate::model::time::Moment;
    use crate::report::preemptions::events;

    fn lines(before: &[&Preemption], after: &[&Preemption]) -> Vec<String> {
        let of = |list: &[&Preemption]| {
            let list = list.iter().copied().cloned().collect();
            PreemptionMemory { list, ..Default::default() }
        };
        let line = |event: crate::model::event::Event| {
            format!("{} {}", event.service.unwrap_or_default(), event.message)
        };
        events(&of(before), &of(after)).into_iter().map(line).collect()
    }

    #[test]
    fn both_sides_read_who_gave_a_replica_up_for_whom_and_when_that_is_over() {
        let one = Preemption {
            victim: "web".to_owned(),
            victim_priority: 20,
            cap: 2,
            beneficiary: "api".to_owned(),
            priority: 80,
            had: 1,
            shortage: Shortage::Memory { needed: 256 << 20 },
            begun: Moment(0),
            step: PreemptionStep::Draining,
            since: Moment(0),
        };
        let why = "the host has not the 256 MiB of memory that it needs";
        assert_eq!(
            lines(&[], &[&one]),
            [
                format!("web gives a replica up for api, of priority 80 over 20: {why}"),
                format!("api gets the room of a replica of web, of priority 20 under 80: {why}"),
            ]
        );
        let used = Preemption { step: PreemptionStep::Used, since: Moment(9), ..one.clone() };
        assert_eq!(lines(&[&one], &[&used]), Vec::<String>::new());
        let shortage = Shortage::Processor;
        let second = Preemption { cap: 1, shortage, begun: Moment(5), ..one.clone() };
        let both = lines(&[&used], &[&used, &second]);
        assert!(both.len() == 2 && both[0].ends_with("the host's processor is busy"), "{both:?}");
        // The first that goes back of two is no end.
        assert_eq!(lines(&[&used, &second], &[&used]), Vec::<String>::new());
        // Nor is it a new one that the other one's cap rises by the first one's end.
        let raised = Preemption { cap: 2, ..second.clone() };
        assert_eq!(lines(&[&used, &second], &[&raised]), Vec::<String>::new());
        let back = "resolved: web may have the replica again that it gave up for api";
        assert_eq!(lines(&[&used], &[]), [format!("web {back}"), format!("api {back}")]);
        let kept = lines(&[&one], &[]);
        assert_eq!(kept[0], "web resolved: web keeps its replica: api needs no room of it");
    }
}
