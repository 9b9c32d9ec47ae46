//! The config that is in force: the file's, with the services that labels configure.

use std::collections::BTreeSet;

use crate::config::diff;
use crate::config::labels::{Resolution, resolve};
use crate::model::config::Config;
use crate::model::event::{Event, Kind};
use crate::model::label_set::{LabelOutcome, LabelSet, LabelVerdict};
use crate::model::replica::ContainerId;
use crate::outside::{Engine, ListQuery, Listing, Result};

/// What a list of containers came to.
pub(crate) struct Listed {
    pub(crate) listing: Result<Listing>,
    pub(crate) events: Vec<Event>,
    /// Services that labels configure otherwise than before.
    pub(crate) changed: BTreeSet<String>,
}

pub(crate) struct EffectiveConfig {
    file: Config,
    effective: Config,
    /// As they were listed last.
    sets: Vec<LabelSet>,
    /// The last good set of each service.
    good: Vec<LabelSet>,
    verdicts: Vec<LabelVerdict>,
    /// Errors and warnings that were reported and stand, each with its service. Without the
    /// container: the same mistake in the next one is no news.
    told: BTreeSet<(String, String)>,
}

impl EffectiveConfig {
    /// `good`: the sets that were in force before this start. They count until containers are
    /// listed, so that HAProxy keeps serving what it served.
    pub(crate) fn new(file: Config, good: Vec<LabelSet>) -> EffectiveConfig {
        let mut config = EffectiveConfig {
            effective: file.clone(),
            file,
            sets: good.clone(),
            good,
            verdicts: Vec::new(),
            told: BTreeSet::new(),
        };
        config.resolve();
        config
    }

    pub(crate) fn get(&self) -> &Config {
        &self.effective
    }

    /// The last good set of each service, to be remembered.
    pub(crate) fn good(&self) -> &[LabelSet] {
        &self.good
    }

    pub(crate) fn verdicts(&self) -> &[LabelVerdict] {
        &self.verdicts
    }

    /// The file was read again. Gives the changes, and what to report of labels beside it.
    pub(crate) fn set_file(&mut self, file: Config) -> (Vec<String>, Vec<Event>) {
        self.file = file;
        (self.resolve(), self.news())
    }

    /// Lists the containers, and follows their labels. What those configure anew is in the list.
    pub(crate) fn list(&mut self, engine: &dyn Engine, known: BTreeSet<ContainerId>) -> Listed {
        let mut query = self.query(known);
        let mut listing = engine.list(&query);
        let mut events = Vec::new();
        let mut changed = BTreeSet::new();
        if let Ok(listed) = &mut listing {
            (events, changed) = self.follow(std::mem::take(&mut listed.label_sets));
        }
        if !changed.is_empty() {
            query = self.query(query.known);
            listing = engine.list(&query);
        }
        Listed { listing, events, changed }
    }

    fn query(&self, known: BTreeSet<ContainerId>) -> ListQuery {
        ListQuery { adopted: self.effective.adopted(), known, labels: self.file.labels }
    }

    /// Takes the labels of a list of containers. Gives what to report, and the services that differ
    /// from before.
    fn follow(&mut self, mut sets: Vec<LabelSet>) -> (Vec<Event>, BTreeSet<String>) {
        // Until more is known of a container, what was good before stays.
        sets.retain_mut(|set| {
            let good = self.good.iter().find(|good| good.is_of_same(set));
            match (&set.facts, good) {
                (Some(_), _) => true,
                (None, Some(good)) => {
                    *set = good.clone();
                    true
                }
                // That there are too many labels needs no facts.
                (None, None) => set.is_cut,
            }
        });
        if sets == self.sets {
            return (Vec::new(), BTreeSet::new());
        }
        self.sets = sets;
        let before = self.effective.services.clone();
        let changes = self.resolve();
        let mut events: Vec<Event> =
            changes.into_iter().map(|change| applied(change, &self.effective)).collect();
        events.extend(self.news());
        let after = &self.effective.services;
        let names = before.keys().chain(after.keys());
        let changed = names.filter(|name| before.get(*name) != after.get(*name));
        (events, changed.map(|name| name.as_str().to_owned()).collect())
    }

    fn resolve(&mut self) -> Vec<String> {
        let sets = if self.file.labels { &self.sets[..] } else { &[] };
        let Resolution { config, good, verdicts } = resolve(&self.file, sets, &self.good);
        let changes = diff::changes(&self.effective, &config);
        self.effective = config;
        self.good = good;
        self.verdicts = verdicts;
        changes
    }

    /// What is wrong with labels, each problem once, and what is not wrong any more.
    fn news(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut now = BTreeSet::new();
        for verdict in &self.verdicts {
            let name = &verdict.name;
            let so = match verdict.outcome {
                LabelOutcome::LastGood => "the last good labels stay in force",
                _ => "the service is not taken",
            };
            for (kind, texts) in
                [(Kind::LabelsRejected, &verdict.errors), (Kind::LabelsWarning, &verdict.warnings)]
            {
                for text in texts {
                    // Compose gives a container its name only after it has made it.
                    let key = (name.clone(), text.replace(&verdict.container, ""));
                    let so = if kind == Kind::LabelsRejected {
                        format!("; {so}")
                    } else {
                        String::new()
                    };
                    if !self.told.contains(&key) {
                        events.push(Event::new(kind, format!("{text}{so}")).service(name));
                    }
                    now.insert(key);
                }
            }
        }
        let rejected = |told: &BTreeSet<(String, String)>| -> BTreeSet<String> {
            told.iter().map(|(name, _)| name.clone()).collect()
        };
        let was = rejected(&self.told);
        let is = rejected(&now);
        for name in was.difference(&is) {
            let how = "nothing is wrong with its labels any more";
            events.push(Event::resolved(Kind::LabelsRejected, how).service(name));
        }
        self.told = now;
        events
    }
}

/// With the name of the service apart, where the change is of one. Labels change nothing else but
/// whether the default frontend is open.
fn applied(change: String, config: &Config) -> Event {
    if change == "load_balancer.frontends" {
        let ports = config.front_door.frontends.iter().map(|frontend| frontend.listen.to_string());
        let open: Vec<String> = ports.collect();
        return Event::new(
            Kind::LabelsApplied,
            match open.is_empty() {
                true => "the default frontend is closed: no label has a route".to_owned(),
                false => format!("the default frontend is opened for routes: {}", open.join(", ")),
            },
        );
    }
    let name = change.strip_prefix("services.").and_then(|rest| {
        let end = rest.find([':', ' ']).unwrap_or(rest.len());
        Some(rest.get(..end)?.to_owned())
    });
    let event = Event::new(Kind::LabelsApplied, change);
    name.iter().fold(event, |event, name| event.service(name))
}
