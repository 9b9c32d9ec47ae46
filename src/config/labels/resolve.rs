//! All sets of labels together with the file: which of them configure a service. The outcome
//! depends on nothing else, so that it can be found again at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::labels::read::{LabelOrigin, Taken, front_door, is_off, read, service_name};
use crate::config::problem::Problem;
use crate::model::config::Config;
use crate::model::label_set::{LABEL_PREFIX, LabelOutcome, LabelSet, LabelVerdict};
use crate::model::service::{Origin, Service};

pub(crate) struct Resolution {
    /// The file's, with the services of the labels.
    pub(crate) config: Config,
    /// For the next time: of each service the last set that was good, also if it is not in force
    /// now, as beside a file that has the service too.
    pub(crate) good: Vec<LabelSet>,
    /// One for each set that there is now.
    pub(crate) verdicts: Vec<LabelVerdict>,
}

/// A set, with the last good one of the same service.
struct LabelCandidate<'a> {
    set: &'a LabelSet,
    good: Option<&'a LabelSet>,
    /// Of `set`, once it is known to be bad.
    refused: Option<Vec<Problem>>,
}

impl<'a> LabelCandidate<'a> {
    /// It is as before, or has to be.
    fn is_settled(&self) -> bool {
        self.refused.is_some() || self.good.is_some_and(|good| good.says_same(self.set))
    }

    /// What is as it was goes first, then what changes, then what is new: nobody loses a route to a
    /// newcomer.
    fn rank(&self) -> u8 {
        match self.good {
            _ if self.is_settled() => 0,
            Some(_) => 1,
            None => 2,
        }
    }

    fn in_force(&self) -> Option<&'a LabelSet> {
        if self.refused.is_some() { self.good } else { Some(self.set) }
    }
}

/// Sets that are as before come first: a new one that wants their name, route or port is refused.
/// Of several new ones the container that was made first comes first. A refused set leaves the last
/// good one of its service in force.
pub(crate) fn resolve(config: &Config, sets: &[LabelSet], good: &[LabelSet]) -> Resolution {
    let mut verdicts = Vec::new();
    let mut candidates = Vec::new();
    let mut ignored_good = Vec::new();
    for set in sets.iter().filter(|set| !is_off(set)) {
        let good = good.iter().find(|good| good.is_of_same(set));
        match ignored(config, set) {
            Some(message) => {
                ignored_good.extend(good.cloned());
                verdicts.push(LabelVerdict {
                    name: service_name(set),
                    container: set.container.clone(),
                    errors: Vec::new(),
                    warnings: vec![format!("container {}: {message}", set.container)],
                    outcome: LabelOutcome::Ignored,
                });
            }
            None => {
                candidates.push(LabelCandidate { set, good, refused: None });
            }
        }
    }
    candidates.sort_by_key(|one| (one.set.created, one.set.container.as_str()));
    let door = front_door(config);
    // Each pass refuses one more set, or is the last.
    loop {
        candidates.sort_by_key(LabelCandidate::rank);
        let mut pass = Pass::of(config, &candidates, Taken::by_file(config, &door));
        if pass.refused.is_empty() {
            let is_used = pass.taken.opens_default;
            let services = pass.taken.services;
            let front_door = if is_used { door.clone() } else { config.front_door.clone() };
            let config = Config { services, front_door, ..config.clone() };
            verdicts.extend(pass.verdicts);
            pass.good.extend(ignored_good);
            return Resolution { config, good: pass.good, verdicts };
        }
        for (at, problems) in pass.refused {
            candidates[at].refused = Some(problems);
        }
    }
}

/// Why labels have no effect: the file has the service.
fn ignored(config: &Config, set: &LabelSet) -> Option<String> {
    let name = service_name(set);
    let is_of_it = |service: &Arc<Service>| match &service.container.origin {
        Origin::Compose { project, service } => *project == set.project && *service == set.service,
        Origin::Image(_) => false,
    };
    if let Some(of_file) = config.services.values().find(|service| is_of_it(service)) {
        return Some(format!(
            "its labels are ignored: the config file has services.{}; remove one of the two",
            of_file.name
        ));
    }
    let same = config.services.values().any(|service| service.name.as_str() == name);
    same.then(|| {
        format!(
            "its labels are ignored: another service of the config file is called {name}; set \
             {LABEL_PREFIX}name"
        )
    })
}

/// One reading of all candidates, in their order.
struct Pass<'a> {
    taken: Taken<'a>,
    good: Vec<LabelSet>,
    verdicts: Vec<LabelVerdict>,
    /// By place among the candidates.
    refused: BTreeMap<usize, Vec<Problem>>,
}

impl<'a> Pass<'a> {
    fn of(config: &Config, candidates: &[LabelCandidate], taken: Taken<'a>) -> Pass<'a> {
        let good = Vec::new();
        let mut pass = Pass { taken, good, verdicts: Vec::new(), refused: BTreeMap::new() };
        for (at, candidate) in candidates.iter().enumerate() {
            pass.add(config, at, candidate);
        }
        pass
    }

    fn add(&mut self, config: &Config, at: usize, candidate: &LabelCandidate) {
        let mut verdict = LabelVerdict {
            name: service_name(candidate.set),
            container: candidate.set.container.clone(),
            errors: Vec::new(),
            warnings: Vec::new(),
            outcome: LabelOutcome::Rejected,
        };
        add_problems(&mut verdict, candidate.refused.clone().unwrap_or_default());
        if let Some(set) = candidate.in_force() {
            let before = self.taken.clone();
            let read = read(config, set, &LabelOrigin::Container(&set.container), &mut self.taken);
            if let Some(service) = read.service {
                verdict.name = service.name.as_str().to_owned();
                verdict.outcome = match candidate.refused {
                    Some(_) => LabelOutcome::LastGood,
                    None => LabelOutcome::Applied,
                };
                self.taken.services.insert(service.name.clone(), service);
                self.good.push(set.clone());
            } else {
                self.taken = before;
                if candidate.refused.is_none() && candidate.good.is_some() {
                    self.refused.insert(at, read.problems);
                    return;
                }
            }
            // The last good one may have become bad beside the file.
            add_problems(&mut verdict, read.problems);
        }
        if verdict.outcome == LabelOutcome::Rejected {
            self.good.extend(candidate.good.cloned());
        }
        self.verdicts.push(verdict);
    }
}

fn add_problems(verdict: &mut LabelVerdict, problems: Vec<Problem>) {
    for problem in problems {
        let is_warning = problem.is_warning;
        let text = Problem { is_warning: false, ..problem }.to_string();
        let list = if is_warning { &mut verdict.warnings } else { &mut verdict.errors };
        list.push(text);
    }
}

/// Every problem of one service of a compose file, which stands beside the others in `all`.
pub(crate) struct ComposeLabels {
    pub(crate) set: LabelSet,
    pub(crate) places: BTreeMap<String, (usize, usize)>,
}

/// The problems of a compose file's labels, and how many services they configure.
pub(crate) fn check(config: &Config, file: &str, all: &[ComposeLabels]) -> (Vec<Problem>, usize) {
    let door = front_door(config);
    let mut taken = Taken::by_file(config, &door);
    let mut problems = Vec::new();
    let mut good = 0;
    for ComposeLabels { set, places } in all.iter().filter(|one| !is_off(&one.set)) {
        let service = set.service.as_str();
        if let Some(message) = ignored(config, set) {
            let (line, column) = places.get("").copied().unwrap_or_default();
            let (file, path) = (file.to_owned(), format!("services.{service}"));
            problems.push(Problem { file, line, column, path, message, is_warning: true });
            continue;
        }
        let source = LabelOrigin::ComposeFile { file, service, places };
        let before = taken.clone();
        let read = read(config, set, &source, &mut taken);
        problems.extend(read.problems);
        match read.service {
            Some(service) => {
                taken.services.insert(service.name.clone(), service);
                good += 1;
            }
            None => taken = before,
        }
    }
    (problems, good)
}
