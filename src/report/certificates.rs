//! Events about the certificates of shared frontends: rejected, renewed, about to expire.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::certificate::{CertificateFacts, CertificateSeen};
use crate::model::event::{Event, Kind};
use crate::model::time::{DAY, Wall};

/// Days before the end at which it is reported. ACME clients renew 30 days before.
const WARN_DAYS: [i64; 3] = [1, 7, 21];

/// What was reported, by file.
#[derive(Debug, Default)]
pub(crate) struct CertificateEvents {
    rejected: BTreeMap<PathBuf, String>,
    /// The smallest of `WARN_DAYS` that was reported.
    expiring: BTreeMap<PathBuf, i64>,
    served: BTreeMap<PathBuf, Wall>,
}

/// The smallest of `WARN_DAYS` that it has come to; `None`: it has longer.
fn step(facts: &CertificateFacts, now: Wall) -> Option<i64> {
    let left = facts.not_after.0.saturating_sub(now.0);
    WARN_DAYS.into_iter().find(|days| left <= days * DAY)
}

/// Why an operator has to act, if so.
pub(crate) fn expiry(seen: &CertificateSeen, now: Wall) -> Option<String> {
    let facts = seen.served.as_ref()?;
    step(facts, now)?;
    let source = seen.source.display();
    let at = facts.not_after;
    Some(match facts.days_left(now) {
        days if days < 0 => format!("{source} expired at {at}"),
        0 => format!("{source} expires within a day, at {at}"),
        1 => format!("{source} expires in 1 day, at {at}"),
        days => format!("{source} expires in {days} days, at {at}"),
    })
}

impl CertificateEvents {
    pub(crate) fn update(&mut self, now: Wall, seen: &[CertificateSeen]) -> Vec<Event> {
        let is_there = |path: &PathBuf| seen.iter().any(|seen| seen.source == *path);
        self.rejected.retain(|path, _| is_there(path));
        self.expiring.retain(|path, _| is_there(path));
        self.served.retain(|path, _| is_there(path));
        seen.iter().flat_map(|seen| self.of(now, seen)).collect()
    }

    fn of(&mut self, now: Wall, seen: &CertificateSeen) -> Vec<Event> {
        let source = &seen.source;
        let mut events = Vec::new();
        if let Some(facts) = &seen.served {
            let former = self.served.insert(source.clone(), facts.not_after);
            if former.is_some_and(|former| former != facts.not_after) {
                let until = facts.not_after;
                let message = format!("{} is served, valid until {until}", source.display());
                events.push(Event::new(Kind::CertificateRenewed, message));
            }
        }
        let before = match &seen.rejected {
            Some(why) => self.rejected.insert(source.clone(), why.clone()),
            None => self.rejected.remove(source),
        };
        if let Some(why) = seen.rejected.as_ref().filter(|why| before.as_ref() != Some(why)) {
            let effect = match seen.served {
                Some(_) => "the one before is served",
                None => "it is not served",
            };
            let event = Event::new(Kind::CertificateRejected, format!("{why}; {effect}"));
            events.push(event.subject(source.display().to_string()));
        } else if before.is_some() && seen.rejected.is_none() {
            let how = format!("{} is good", source.display());
            let event = Event::resolved(Kind::CertificateRejected, &how);
            events.push(event.subject(source.display().to_string()));
        }
        let step = seen.served.as_ref().and_then(|facts| step(facts, now));
        let before = match step {
            Some(step) => self.expiring.insert(source.clone(), step),
            None => self.expiring.remove(source),
        };
        let is_nearer = step.is_some_and(|step| before.is_none_or(|before| step < before));
        if let Some(message) = expiry(seen, now).filter(|_| is_nearer) {
            let event = Event::new(Kind::CertificateExpires, message);
            events.push(event.subject(source.display().to_string()));
        } else if step.is_none() && before.is_some() {
            let how = format!("{} was renewed", source.display());
            let event = Event::resolved(Kind::CertificateExpires, &how);
            events.push(event.subject(source.display().to_string()));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use crate::model::certificate::{CertificateFacts, CertificateSeen};
    use crate::model::time::{DAY, Wall};
    use crate::report::certificates::CertificateEvents;

    fn seen(until: Option<i64>, rejected: Option<&str>) -> CertificateSeen {
        let facts = |until| CertificateFacts { names: Vec::new(), not_after: Wall(until) };
        let rejected = rejected.map(|why| format!("/a: {why}"));
        CertificateSeen { source: "/a".into(), served: until.map(facts), rejected }
    }

    #[test]
    fn each_change_is_reported_once_and_so_is_each_step_to_the_end() {
        let mut events = CertificateEvents::default();
        let end = 100 * DAY;
        let good = seen(Some(end), None);
        let odd = seen(Some(end), Some("no key"));
        for (at, now, want) in [
            (0, &good, ""),
            (0, &odd, "certificate.rejected /a: no key; the one before is served"),
            (0, &odd, ""),
            (0, &good, "certificate.rejected resolved: /a is good"),
            (79 * DAY - 1, &good, ""),
            (79 * DAY, &good, "certificate.expires /a expires in 21 days, at 1970-04-11T00:00:00Z"),
            (93 * DAY - 1, &good, ""),
            (93 * DAY, &good, "certificate.expires /a expires in 7 days, at 1970-04-11T00:00:00Z"),
            (99 * DAY, &good, "certificate.expires /a expires in 1 day, at 1970-04-11T00:00:00Z"),
            (101 * DAY, &good, ""),
            (
                101 * DAY,
                &seen(Some(200 * DAY), None),
                "certificate.renewed /a is served, valid until 1970-07-20T00:00:00Z, \
                 certificate.expires resolved: /a was renewed",
            ),
        ] {
            let got = events.update(Wall(at), std::slice::from_ref(now));
            let got = got.iter().map(|event| format!("{} {}", event.kind.word(), event.message));
            assert_eq!(got.collect::<Vec<_>>().join(", "), want, "{at}");
        }
        let mut events = CertificateEvents::default();
        let got = events.update(Wall(0), &[seen(None, Some("not there"))]);
        assert_eq!(got[0].message, "/a: not there; it is not served");
        let got = events.update(Wall(201 * DAY), &[seen(Some(200 * DAY), None)]);
        assert_eq!(got[1].message, "/a expired at 1970-07-20T00:00:00Z");
    }
}
