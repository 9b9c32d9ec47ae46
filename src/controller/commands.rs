//! Commands of operators, and a config that is read again.

use crate::config::Loaded;
use crate::controller::Controller;
use crate::controller::tick::Adapters;
use crate::decide::commands;
use crate::model::command::{Answer, Order, Refusal};
use crate::model::event::{Event, Kind};
use crate::model::memory::Failures;
use crate::model::time::Moment;
use crate::model::units;

impl Controller {
    /// What was accepted is stored before the answer says so. `service`: `None` is every service.
    pub(crate) fn command(
        &mut self,
        service: Option<&str>,
        order: &Order,
        adapters: &Adapters,
    ) -> (Answer, Vec<Event>) {
        match self.apply(service, order, adapters) {
            Ok((words, events)) => (Ok(words), events),
            Err(refusal) => (Err(refusal), Vec::new()),
        }
    }

    fn apply(
        &mut self,
        service: Option<&str>,
        order: &Order,
        adapters: &Adapters,
    ) -> Result<(String, Vec<Event>), Refusal> {
        let is_chosen = |name: &str| service.is_none_or(|service| service == name);
        let services = self.config().services.values().filter(|s| is_chosen(s.name.as_str()));
        let services: Vec<_> = services.cloned().collect();
        if let Some(unknown) = service.filter(|_| services.is_empty()) {
            let known = self.config().services.keys().map(|name| name.as_str());
            return Err(Refusal::Unknown(units::no_service(unknown, known)));
        }
        if self.config().dry_run {
            let words = "this is a dry run, which changes nothing";
            return Err(Refusal::Conflict(words.to_owned()));
        }
        let times = (adapters.clock.now(), adapters.clock.wall());
        let mut memory = self.state.memory.clone();
        let mut events = Vec::new();
        let mut answers = Vec::new();
        for service in services {
            let name = service.name.as_str();
            let old = memory.services.entry(name.to_owned()).or_default();
            let taken = commands::apply(&service, old, times, order)?;
            *old = taken.memory;
            answers.push(format!("{name}: {}", taken.words));
            events.extend(taken.kind.map(|kind| Event::new(kind, taken.words).service(name)));
        }
        let saved = adapters.store.save(&memory);
        saved.map_err(|err| Refusal::Unavailable(err.to_string()))?;
        self.state.memory = memory;
        self.schedule.wake(times.0);
        Ok((answers.join("; "), events))
    }

    /// The old config stays in force unless the new one is good as a whole. Gives what changed, or
    /// every problem.
    pub(crate) fn reload(
        &mut self,
        loaded: Loaded,
        now: Moment,
    ) -> (Result<String, Vec<String>>, Vec<Event>) {
        let rejected = |message: String| Event::new(Kind::ConfigRejected, message);
        let Some(mut new) = loaded.config else {
            let errors = loaded.problems.iter().filter(|problem| !problem.is_warning);
            let events = errors.map(|problem| rejected(problem.to_string())).collect();
            return (Err(loaded.problems.iter().map(ToString::to_string).collect()), events);
        };
        if new.fixed != self.config().fixed {
            let message = "state_dir, docker, api and load_balancer are taken at the start only; \
                           restart the daemon to change them";
            return (Err(vec![message.to_owned()]), vec![rejected(message.to_owned())]);
        }
        new.dry_run |= self.settings.is_dry_run;
        self.schedule.set_interval(now, new.check_interval);
        self.schedule.wake(now);
        let (changes, mut events) = self.config.set_file(new);
        self.metric_poller.watch(self.config.get(), now);
        self.forecaster.watch(self.config.get(), now);
        let changes =
            if changes.is_empty() { "nothing changed".to_owned() } else { changes.join("; ") };
        let file = self.settings.config_file.as_deref().unwrap_or("labels");
        let message = format!("{file}, {}: {changes}", self.config().counted());
        // What kept failing may work with the new config.
        self.state.memory.services.values_mut().for_each(|s| s.failures = Failures::default());
        self.is_reloaded = true;
        events.insert(0, Event::new(Kind::ConfigReloaded, message.clone()));
        (Ok(message), events)
    }
}
