//! Finds the services that make HAProxy refuse a file, so that all others are served. HAProxy's
//! message usually names a line of the service; otherwise the services are bisected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::haproxy::process::{RefusedConfig, Validation};
use crate::haproxy::render::frontend_head;
use crate::model::proxy::{Backend, Routes};
use crate::outside::Result;

/// Validations at most. Each takes some tens of milliseconds.
const TRIES_MAX: u32 = 24;
/// Marks the lines of HAProxy's output that say why a file is refused.
pub(crate) const ALERT: &str = "[ALERT]";

/// Routes that HAProxy accepts, and what was changed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartialConfig {
    pub(crate) routes: Routes,
    /// Services that are left out, each with the reason.
    pub(crate) left_out: BTreeMap<String, String>,
    /// Services that keep their former settings, each with the reason.
    pub(crate) as_before: BTreeMap<String, String>,
}

/// Validates routes with HAProxy. A trait, so that the tests can search without HAProxy.
pub(crate) trait Validator {
    fn validate(&mut self, routes: &Routes) -> Result<Validation>;
    /// The service in whose lines this refusal of these routes is.
    fn named(&self, routes: &Routes, refusal: &RefusedConfig) -> Option<String>;
    /// Whether HAProxy already serves the service with these settings. Then something else is at
    /// fault, and no service is left out.
    fn is_served_unchanged(&self, routes: &Routes, service: &str) -> bool;
}

/// The largest part of `routes` that HAProxy accepts. `None` when no single service is at fault,
/// or TRIES_MAX is reached. `before` are the routes that HAProxy accepted last.
pub(crate) fn find_accepted(
    routes: &Routes,
    before: Option<&Routes>,
    refusal: RefusedConfig,
    validator: &mut dyn Validator,
) -> Result<Option<PartialConfig>> {
    let [left_out, as_before] = [BTreeMap::new(), BTreeMap::new()];
    let mut search = Search { validator, tries: 0 };
    let mut partial = PartialConfig { routes: routes.clone(), left_out, as_before };
    let mut refusal = refusal;
    while let Some(name) = search.validator.named(&partial.routes, &refusal) {
        if search.validator.is_served_unchanged(&partial.routes, &name) {
            return Ok(None);
        }
        let place = partial.routes.backends.iter().position(|b| b.service.as_str() == name);
        let Some(place) = place else { break };
        let former = before.and_then(|before| former(before, &partial.routes.backends[place]));
        let is_new = !partial.as_before.contains_key(&name);
        match former.filter(|_| is_new) {
            Some(former) => {
                partial.routes.backends[place] = former;
                partial.as_before.insert(name, refusal.message);
            }
            None => {
                partial.routes.backends.retain(|b| b.service.as_str() != name);
                partial.as_before.remove(&name);
                partial.left_out.insert(name, refusal.message);
            }
        }
        match search.validate(&partial.routes)? {
            Some(Validation::Accepted) => return Ok(Some(partial)),
            Some(Validation::Refused(next)) => refusal = next,
            None => return Ok(None),
        }
    }
    // Without an alert, HAProxy failed before it read the file.
    if !refusal.output.contains(ALERT) {
        return Ok(None);
    }
    search.by_halves(partial)
}

/// The former settings of a service with its current servers; `None` if they are the same.
fn former(before: &Routes, now: &Backend) -> Option<Backend> {
    let former = before.backends.iter().find(|b| b.service == now.service)?;
    let former = Backend { servers: now.servers.clone(), ..former.clone() };
    (former != *now).then_some(former)
}

struct Search<'a> {
    validator: &'a mut dyn Validator,
    tries: u32,
}

impl Search<'_> {
    /// `None` when TRIES_MAX is reached.
    fn validate(&mut self, routes: &Routes) -> Result<Option<Validation>> {
        self.tries += 1;
        if TRIES_MAX < self.tries {
            return Ok(None);
        }
        self.validator.validate(routes).map(Some)
    }

    /// Starts from no service and adds those with which HAProxy still accepts the file.
    fn by_halves(&mut self, partial: PartialConfig) -> Result<Option<PartialConfig>> {
        let PartialConfig { routes: all, mut left_out, as_before } = partial;
        let mut good = BTreeSet::new();
        let Some(Validation::Accepted) = self.validate(&only(&all, &good))? else {
            return Ok(None);
        };
        let names = all.backends.iter().map(|b| b.service.as_str().to_owned()).collect();
        let mut parts: Vec<Vec<String>> = vec![names];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let mut tried = good.clone();
            tried.extend(part.iter().cloned());
            match self.validate(&only(&all, &tried))? {
                None => return Ok(None),
                Some(Validation::Accepted) => good = tried,
                Some(Validation::Refused(refusal)) => match &part[..] {
                    [name] if self.validator.is_served_unchanged(&all, name) => return Ok(None),
                    [name] => drop(left_out.insert(name.clone(), refusal.message)),
                    part => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.push(second.to_vec());
                        parts.push(first.to_vec());
                    }
                },
            }
        }
        let routes = only(&all, &good);
        Ok(Some(PartialConfig { routes, left_out, as_before }))
    }
}

fn only(routes: &Routes, names: &BTreeSet<String>) -> Routes {
    let backends = routes.backends.iter().filter(|b| names.contains(b.service.as_str()));
    Routes { backends: backends.cloned().collect(), ..routes.clone() }
}

/// The service in whose section HAProxy's first alert is. `text` is the content of `file`; a line
/// number beyond its end is not ours.
pub(crate) fn culprit(text: &str, file: &Path, output: &str) -> Option<String> {
    let mark = format!("[{}:", file.display());
    // A warning is no reason to refuse a file.
    let alerts = output.lines().filter(|line| line.contains(ALERT));
    let numbers = alerts.flat_map(|line| {
        line.split(&mark).skip(1).filter_map(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<usize>().ok()
        })
    });
    let lines: Vec<&str> = text.lines().collect();
    let within = numbers.filter(|number| (1..=lines.len()).contains(number));
    within.filter_map(|number| section(&lines[..number])).next()
}

/// The lines of a service, without its servers.
pub(crate) fn settings<'a>(text: &'a str, service: &str) -> Vec<&'a str> {
    let heads = [frontend_head(service), format!("backend {service}")];
    let mut is_inside = false;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("    server "));
    let inside = lines.filter(|line| {
        if !line.starts_with(' ') {
            is_inside = heads.iter().any(|head| head == line);
        }
        is_inside
    });
    inside.collect()
}

/// The service in whose section the last of these lines is.
fn section(lines: &[&str]) -> Option<String> {
    let head = lines.iter().rev().find(|line| !line.is_empty() && !line.starts_with([' ', '#']))?;
    let name =
        ["frontend ", "backend ", "userlist "].iter().find_map(|kind| head.strip_prefix(kind))?;
    // Further sections of a service have its name and a suffix.
    name.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use crate::haproxy::partial_config::{
        PartialConfig, Validator, culprit, find_accepted, settings,
    };
    use crate::haproxy::process::{RefusedConfig, Validation};
    use crate::model::health::HealthCheck;
    use crate::model::proxy::{Backend, Routes};
    use crate::model::service::{Retry, ServiceName};
    use crate::model::traffic_policy::TrafficPolicy;
    use crate::outside::Result;

    const TEXT: &str = "# x\nglobal\n    a\n\nfrontend web:frontend\n    bind :80\n\n\
                        backend web\n    c\n\
                        \nbackend api\n    d\n";

    #[test]
    fn the_service_is_that_in_whose_section_the_line_is() {
        let file = Path::new("/s/haproxy.cfg.new");
        let alert = |at: &str| format!("[ALERT]    (7) : config : parsing [{at}] : bad thing.");
        for (said, want) in [
            (alert("/s/haproxy.cfg.new:6"), Some("web")),
            (alert("/s/haproxy.cfg.new:9"), Some("web")),
            (alert("/s/haproxy.cfg.new:12"), Some("api")),
            (alert("/s/haproxy.cfg.new:3"), None),
            (alert("/s/haproxy.cfg.new:13"), None),
            (alert("/s/haproxy.cfg.new:0"), None),
            (alert("/s/base.cfg:9"), None),
            (alert("/s/haproxy.cfg.new:9").replace("ALERT", "WARNING"), None),
            ("[ALERT] (7) : config : no frontend".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(culprit(TEXT, file, &said).as_deref(), want, "{said}");
        }
    }

    fn routes(names: &[&str], interval_s: u64) -> Routes {
        let interval = std::time::Duration::from_secs(interval_s);
        let health = HealthCheck { interval, ..HealthCheck::default() };
        let backend = |name: &&str| Backend {
            service: ServiceName::new(name).unwrap(),
            listen: None,
            routes: Vec::new(),
            health: health.clone(),
            retry: Retry::Connect,
            policy: TrafficPolicy::default(),
            is_single: false,
            wake: None,
            servers: Vec::new(),
        };
        Routes { backends: names.iter().map(backend).collect(), ..Routes::default() }
    }

    /// Refuses files with any of these services, or all, when its name is not known.
    struct Picky {
        bad: Vec<&'static str>,
        names_them: bool,
        likes_nothing: bool,
        /// Served as it is.
        served: Option<&'static str>,
        tries: u32,
    }

    impl Validator for Picky {
        fn validate(&mut self, routes: &Routes) -> Result<Validation> {
            self.tries += 1;
            let bad = self.bad(routes);
            let words = bad.clone().or(self.likes_nothing.then(|| "all".to_owned()));
            Ok(words.map_or(Validation::Accepted, |name| Validation::Refused(refusal(&name))))
        }

        fn named(&self, routes: &Routes, _: &RefusedConfig) -> Option<String> {
            self.bad(routes).filter(|_| self.names_them)
        }

        fn is_served_unchanged(&self, _: &Routes, service: &str) -> bool {
            self.served == Some(service)
        }
    }

    impl Picky {
        /// With an interval of 1 s every service is accepted.
        fn bad(&self, routes: &Routes) -> Option<String> {
            let is_bad = |b: &&Backend| {
                self.bad.contains(&b.service.as_str()) && b.health.interval.as_secs() != 1
            };
            routes.backends.iter().find(is_bad).map(|b| b.service.as_str().to_owned())
        }
    }

    fn refusal(words: &str) -> RefusedConfig {
        RefusedConfig { message: words.to_owned(), output: format!("[ALERT] {words}") }
    }

    #[test]
    fn what_is_refused_is_left_out_and_nothing_else() {
        let names: Vec<String> = (0..12).map(|n| format!("s{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (bad, names_them, tries_max) in [
            (vec!["s03"], true, 1),
            (vec!["s00", "s11"], true, 2),
            (vec!["s03"], false, 10),
            (vec!["s00", "s11"], false, 16),
        ] {
            let mut validator = Picky {
                bad: bad.clone(),
                names_them,
                likes_nothing: false,
                served: None,
                tries: 0,
            };
            let all = routes(&names, 9);
            let PartialConfig { routes: got, left_out, as_before } =
                find_accepted(&all, None, refusal("x"), &mut validator).unwrap().unwrap();
            let left: BTreeSet<&str> = left_out.keys().map(String::as_str).collect();
            assert_eq!(left, bad.iter().copied().collect(), "{bad:?}");
            assert_eq!(got.backends.len(), names.len() - bad.len(), "{bad:?}");
            assert!(
                as_before.is_empty() && validator.tries <= tries_max,
                "{bad:?} {}",
                validator.tries
            );
        }
    }

    #[test]
    fn nobody_is_left_out_for_what_is_not_its_own() {
        for names_them in [true, false] {
            let bad = vec!["a", "b"];
            let served = Some("b");
            let mut validator = Picky { bad, names_them, likes_nothing: false, served, tries: 0 };
            let all = routes(&["a", "b", "c"], 9);
            let partial = find_accepted(&all, None, refusal("x"), &mut validator).unwrap();
            assert_eq!(partial, None, "{names_them}");
        }
    }

    #[test]
    fn servers_are_no_settings() {
        let text = "defaults\n    x\n\nfrontend web:frontend\n    bind :80\n\n\
                    backend web\n    c\n    \
                    server a\n\nbackend web2\n    d\n";
        let own = ["frontend web:frontend", "    bind :80", "backend web", "    c"];
        assert_eq!(settings(text, "web"), own);
        assert_eq!(settings(text, "web2"), ["backend web2", "    d"]);
        assert_eq!(settings(text, "we"), [""; 0]);
    }

    #[test]
    fn settings_that_worked_before_are_kept() {
        let mut validator = Picky {
            bad: vec!["b"],
            names_them: true,
            likes_nothing: false,
            served: None,
            tries: 0,
        };
        let new = routes(&["a", "b"], 9);
        let old = routes(&["a", "b"], 1);
        let partial =
            find_accepted(&new, Some(&old), refusal("x"), &mut validator).unwrap().unwrap();
        assert_eq!(partial.as_before.keys().collect::<Vec<_>>(), ["b"]);
        assert!(partial.left_out.is_empty());
        let kept = [new.backends[0].clone(), old.backends[1].clone()];
        assert_eq!(partial.routes.backends, kept);
    }

    #[test]
    fn what_comes_from_no_service_is_not_sought_for_ever() {
        let mut validator =
            Picky { bad: vec![], names_them: false, likes_nothing: true, served: None, tries: 0 };
        let all = routes(&["a", "b"], 9);
        assert_eq!(find_accepted(&all, None, refusal("x"), &mut validator).unwrap(), None);
        assert_eq!(validator.tries, 1);
        let names: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let bad = names.iter().map(|n| &*n.to_string().leak()).collect();
        let mut validator =
            Picky { bad, names_them: false, likes_nothing: false, served: None, tries: 0 };
        assert_eq!(
            find_accepted(&routes(&names, 9), None, refusal("x"), &mut validator).unwrap(),
            None
        );
        assert_eq!(validator.tries, 24);
    }
}
