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
    told: BTreeSet<(Kind, String, String)>,
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

    /// Services whose labels are refused or ignored, by the names that they would have: their
    /// replicas are not to be removed as nobody's.
    pub(crate) fn unconfigured(&self) -> BTreeSet<String> {
        let names = self.verdicts.iter().filter(|verdict| match verdict.outcome {
            LabelOutcome::Rejected | LabelOutcome::Ignored => true,
            LabelOutcome::Applied | LabelOutcome::LastGood => false,
        });
        names.map(|verdict| verdict.name.clone()).collect()
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
        let mut query = ListQuery::of(&self.effective, known);
        let mut listing = engine.list(&query);
        let mut events = Vec::new();
        let mut changed = BTreeSet::new();
        if let Ok(listed) = &mut listing {
            (events, changed) = self.follow(std::mem::take(&mut listed.label_sets));
        }
        if !changed.is_empty() {
            query = ListQuery::of(&self.effective, query.known);
            listing = engine.list(&query);
        }
        Listed { listing, events, changed }
    }

    /// Takes the labels of a list of containers. Gives what to report, and the services that differ
    /// from before.
    fn follow(&mut self, mut sets: Vec<LabelSet>) -> (Vec<Event>, BTreeSet<String>) {
        // Until more is known of a container, what was good before stays.
        sets.retain_mut(|set| {
            let good = self.good.iter().find(|good| good.is_of_same(set));
            match (&set.facts, good) {
                // That there are too many labels needs no facts.
                _ if set.is_cut => true,
                (Some(_), _) => true,
                (None, Some(good)) => {
                    *set = good.clone();
                    true
                }
                (None, None) => false,
            }
        });
        if sets == self.sets || !self.file.labels {
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
        self.verdicts = verdicts;
        // While labels are off, what was good waits for them to be on again.
        if self.file.labels {
            self.good = good;
        }
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
                    let key = (kind, name.clone(), text.replace(&verdict.container, ""));
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
        let rejected = |told: &BTreeSet<(Kind, String, String)>| -> BTreeSet<String> {
            let errors = told.iter().filter(|(kind, ..)| *kind == Kind::LabelsRejected);
            errors.map(|(_, name, _)| name.clone()).collect()
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

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use crate::controller::effective_config::EffectiveConfig;
    use crate::model::config::Config;
    use crate::model::label_set::{ContainerFacts, LabelSet};

    fn file(text: &str) -> Config {
        parse("config.json", text).config.unwrap()
    }

    fn effective() -> EffectiveConfig {
        EffectiveConfig::new(file(r#"{"services": {}}"#), Vec::new())
    }

    fn web(labels: &[(&str, &str)]) -> LabelSet {
        let base = [("port", "80"), ("max", "3")].into_iter().chain(labels.iter().copied());
        LabelSet {
            project: "shop".to_owned(),
            service: "web".to_owned(),
            container: "shop-web-1".to_owned(),
            created: 1,
            labels: base.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            is_cut: false,
            facts: Some(ContainerFacts { replicas: 1, ..ContainerFacts::default() }),
        }
    }

    /// What is reported, without the levels.
    fn follow(config: &mut EffectiveConfig, sets: Vec<LabelSet>) -> Vec<String> {
        let (events, _) = config.follow(sets);
        events.iter().map(|event| format!("{}: {}", event.kind.word(), event.message)).collect()
    }

    #[test]
    fn each_problem_is_told_once_and_its_end_too() {
        let mut config = effective();
        let applied = "labels.applied: services.shop-web is new";
        assert_eq!(follow(&mut config, vec![web(&[])]), [applied]);
        assert_eq!(follow(&mut config, vec![web(&[])]), [""; 0]);
        let bad = || web(&[("prot", "1")]);
        let rejected = "labels.rejected: container shop-web-1, label plimsoll.prot: unknown key; \
                        did you mean `port`?; the last good labels stay in force";
        assert_eq!(follow(&mut config, vec![bad()]), [rejected]);
        let other = LabelSet { container: "shop-web-2".to_owned(), created: 2, ..bad() };
        assert_eq!(follow(&mut config, vec![other]), [""; 0], "the same in another container");
        let resolved = "labels.rejected: resolved: nothing is wrong with its labels any more";
        assert_eq!(follow(&mut config, vec![web(&[])]), [resolved]);
        assert_eq!(follow(&mut config, Vec::new()), ["labels.applied: services.shop-web is gone"]);
    }

    #[test]
    fn what_is_only_warned_of_was_never_rejected() {
        let text = r#"{"services": {"shop-web": {"image": "a", "port": 80, "max_replicas": 1}}}"#;
        let mut config = EffectiveConfig::new(file(text), Vec::new());
        let told = follow(&mut config, vec![web(&[])]);
        assert!(
            told[0].starts_with("labels.warning: container shop-web-1: its labels are ignored")
        );
        assert_eq!(config.unconfigured(), ["shop-web".to_owned()].into());
        assert_eq!(follow(&mut config, Vec::new()), [""; 0]);
    }

    #[test]
    fn labels_that_are_turned_off_and_on_are_as_before() {
        let mut config = effective();
        follow(&mut config, vec![web(&[])]);
        follow(&mut config, vec![web(&[("prot", "1")])]);
        config.set_file(file(r#"{"autoscaler": {"labels": false}, "services": {}}"#));
        assert!(config.get().services.is_empty());
        assert_eq!(follow(&mut config, Vec::new()), [""; 0]);
        config.set_file(file(r#"{"services": {}}"#));
        assert_eq!(config.get().services.len(), 1, "the last good ones");
    }

    #[test]
    fn what_is_not_known_yet_stays_as_it_was() {
        let mut config = effective();
        let unknown = || LabelSet { labels: [].into(), facts: None, ..web(&[]) };
        assert_eq!(follow(&mut config, vec![unknown()]), [""; 0]);
        follow(&mut config, vec![web(&[])]);
        assert_eq!(follow(&mut config, vec![unknown()]), [""; 0]);
        assert_eq!(config.get().services.len(), 1);
        let flood = LabelSet { is_cut: true, ..unknown() };
        let told = follow(&mut config, vec![flood]);
        assert!(told[0].contains("has more than 64 KiB of plimsoll.* labels"), "{told:?}");
        assert!(told[0].ends_with("the last good labels stay in force"), "{told:?}");
        // As after a restart of the daemon.
        let again = EffectiveConfig::new(file(r#"{"services": {}}"#), config.good().to_vec());
        assert_eq!(again.get(), config.get());
    }
}
