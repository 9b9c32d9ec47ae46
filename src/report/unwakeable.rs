//! Reports services that may have no replica and that no request can wake.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::event::{Event, Kind};
use crate::model::proxy::ProxySeen;

const TOO_OLD: &str = "HAProxy takes no servers while it runs: it needs version 2.5 or later";

/// Those that were reported, and why.
#[derive(Debug, Default)]
pub(crate) struct Unwakeable {
    told: BTreeMap<String, String>,
}

impl Unwakeable {
    /// `refused`: those whose sockets could not be opened, and why.
    pub(crate) fn update(
        &mut self,
        sleepers: &BTreeSet<String>,
        refused: BTreeMap<String, String>,
        seen: Option<&ProxySeen>,
    ) -> Vec<Event> {
        let mut now = refused;
        if seen.is_some_and(|seen| !seen.takes_dynamic_servers) {
            now.extend(sleepers.iter().map(|name| (name.clone(), TOO_OLD.to_owned())));
        }
        let is_new = |name: &String| !self.told.contains_key(name);
        let began = now.iter().filter(|(name, _)| is_new(name)).map(|(name, why)| {
            let message = format!("no request can wake it when it has no replica: {why}");
            Event::new(Kind::SleepUnavailable, message).service(name)
        });
        let ended = self.told.keys().filter(|name| sleepers.contains(*name));
        let ended = ended.filter(|name| !now.contains_key(*name)).map(|name| {
            Event::resolved(Kind::SleepUnavailable, "requests can wake it").service(name)
        });
        let events = began.chain(ended).collect();
        self.told = now;
        events
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::model::proxy::ProxySeen;
    use crate::report::unwakeable::Unwakeable;

    #[test]
    fn what_cannot_be_woken_is_reported_once_and_so_is_its_end() {
        let sleepers = ["api".to_owned(), "web".to_owned()].into();
        let seen = |takes_dynamic_servers| {
            Some(ProxySeen { takes_dynamic_servers, ..ProxySeen::default() })
        };
        let failed: BTreeMap<_, _> = [("web".to_owned(), "no room".to_owned())].into();
        let mut unwakeable = Unwakeable::default();
        for (refused, seen, want) in [
            (BTreeMap::new(), None, ""),
            (failed.clone(), None, "web"),
            (failed.clone(), seen(true), ""),
            (failed, seen(false), "api"),
            (BTreeMap::new(), seen(false), ""),
            (BTreeMap::new(), seen(true), "-api -web"),
        ] {
            let events = unwakeable.update(&sleepers, refused, seen.as_ref());
            let sign = |e: &crate::model::event::Event| match e.level() {
                log::Level::Info => "-",
                _ => "",
            };
            let name = |e| format!("{}{}", sign(e), e.service.as_deref().unwrap_or_default());
            let got: Vec<String> = events.iter().map(name).collect();
            assert_eq!(got.join(" "), want);
        }
    }
}
