//! Services whose containers run but that the config does not name.

use crate::model::event::{Event, Kind};
use crate::model::snapshot::Snapshot;

/// At most this many are named at once.
const NAMED_MAX: usize = 20;

pub(super) fn events<'a>(
    new: impl Iterator<Item = &'a String>,
    leaving: &[Snapshot],
) -> Vec<Event> {
    let is_removed = |name: &&str| leaving.iter().any(|s| s.service.name.as_str() == *name);
    let (removed, kept): (Vec<&str>, Vec<&str>) = new.map(String::as_str).partition(is_removed);
    let removed = removed.into_iter().map(|name| {
        let message = "the config does not name it; its containers are drained and removed";
        Event::new(Kind::ServiceOrphaned, message).service(name)
    });
    removed.chain(left_alone(&kept)).collect()
}

/// One event for all: they may belong to another daemon on the same Docker.
fn left_alone(names: &[&str]) -> Option<Event> {
    let hint = "`docker ps --filter label=io.plimsoll.service` lists them";
    match names {
        [] => None,
        [name] => {
            let message =
                format!("its containers run on, the config runs none of that name here; {hint}");
            Some(Event::new(Kind::ServiceOrphaned, message).service(name))
        }
        [..] => {
            let more = names.len().saturating_sub(NAMED_MAX);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let named = names[..names.len().min(NAMED_MAX)].join(", ");
            let message = format!(
                "the config runs no services of these names here, and their containers run on, \
                 as another daemon's may: {named}{more}; {hint}"
            );
            Some(Event::new(Kind::ServiceOrphaned, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::report::orphans::events;

    #[test]
    fn however_many_are_left_alone_they_are_one_event() {
        for (names, service, words) in [
            (vec![], None, ""),
            (vec!["web"], Some("web"), "none of that name here"),
            (vec!["api", "web"], None, "another daemon's may: api, web; `docker ps"),
            (vec!["x"; 20], None, "x, x; `docker ps"),
            (vec!["x"; 21], None, "x, x and 1 more; `docker ps"),
        ] {
            let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let events = events(all.iter(), &[]);
            assert_eq!(events.len(), usize::from(!names.is_empty()), "{names:?}: {events:?}");
            for event in events {
                assert_eq!(event.service.as_deref(), service);
                assert!(event.message.contains(words), "no {words} in {}", event.message);
            }
        }
    }
}
