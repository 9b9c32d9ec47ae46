//! Containers that carry labels of a service but are not its replicas: each is reported once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::event::{Event, Kind};
use crate::model::replica::ContainerId;
use crate::model::stranger::Stranger;
use crate::model::time::Moment;

/// Docker compose renames what it makes anew within a moment, so that one look is not enough.
const REPORT_AFTER: Duration = Duration::from_secs(3);
/// While its image is looked up anew, a container is not listed as a stranger for some ticks.
const FORGET_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(crate) struct IgnoredContainers {
    seen: BTreeMap<ContainerId, Ignored>,
}

#[derive(Debug)]
struct Ignored {
    since: Moment,
    last: Moment,
    is_reported: bool,
}

impl IgnoredContainers {
    pub(crate) fn update(&mut self, now: Moment, listed: &[Stranger]) -> Vec<Event> {
        let mut events = Vec::new();
        for stranger in listed {
            let new = Ignored { since: now, last: now, is_reported: false };
            let ignored = self.seen.entry(stranger.id.clone()).or_insert(new);
            ignored.last = now;
            if !ignored.is_reported && REPORT_AFTER <= now.since(ignored.since) {
                ignored.is_reported = true;
                let Stranger { name, service, why, .. } = stranger;
                let message = format!(
                    "container {name} carries labels of this service and is not its replica: \
                     {why}; it is left alone"
                );
                events.push(Event::new(Kind::ContainerIgnored, message).service(service));
            }
        }
        self.seen.retain(|_, ignored| now.since(ignored.last) < FORGET_AFTER);
        events
    }
}

#[cfg(test)]
mod tests {
    use crate::model::replica::ContainerId;
    use crate::model::stranger::Stranger;
    use crate::model::time::Moment;
    use crate::report::ignored_containers::IgnoredContainers;

    #[test]
    fn each_is_reported_once_however_often_it_is_listed() {
        let stranger = Stranger {
            id: ContainerId("a".to_owned()),
            name: "copy".to_owned(),
            service: "web".to_owned(),
            why: "its labels are those of its image".to_owned(),
        };
        let listed = [stranger];
        let mut strangers = IgnoredContainers::default();
        for (at, is_listed, reported) in [
            (0, true, 0),
            (2_999, true, 0),
            (3_000, true, 1),
            (4_000, true, 0),
            (5_000, false, 0),
            (303_999, false, 0),
            (303_999, true, 0),
            // It was gone for five minutes, and is a new one.
            (603_999, false, 0),
            (604_000, true, 0),
            (607_000, true, 1),
        ] {
            let listed = if is_listed { &listed[..] } else { &[] };
            assert_eq!(strangers.update(Moment(at), listed).len(), reported, "at {at} ms");
        }
    }
}
