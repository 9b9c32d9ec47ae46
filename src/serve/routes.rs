//! Paths and what they stand for.

/// What is asked for. Names are as they were sent; nobody looked them up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Show(Show),
    Change(Change),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Root,
    Health,
    Ready,
    Status,
    Metrics,
    Events,
    Servers,
    Services,
    Service(String),
    Stats(String),
    Explain(String),
    Course,
}

/// `None` is every service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Scale(String),
    Step { service: String, up: bool },
    Pause(Option<String>),
    Resume(Option<String>),
    Restart(String),
    Reload,
}

impl Route {
    /// `None`: there is nothing at this path.
    pub(crate) fn of(target: &str) -> Option<Route> {
        let path = target.split('?').next().unwrap_or(target);
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let show = |show: Show| Some(Route::Show(show));
        let change = |change: Change| Some(Route::Change(change));
        match *parts.as_slice() {
            [""] => show(Show::Root),
            ["healthz"] => show(Show::Health),
            ["readyz"] => show(Show::Ready),
            ["status"] => show(Show::Status),
            ["metrics"] => show(Show::Metrics),
            ["events"] => show(Show::Events),
            ["servers"] => show(Show::Servers),
            ["course"] => show(Show::Course),
            ["services"] => show(Show::Services),
            ["pause"] => change(Change::Pause(None)),
            ["resume"] => change(Change::Resume(None)),
            ["config", "reload"] => change(Change::Reload),
            ["services", name, ref rest @ ..] if !name.is_empty() => {
                let name = name.to_owned();
                match *rest {
                    [] => show(Show::Service(name)),
                    ["stats"] => show(Show::Stats(name)),
                    ["explain"] => show(Show::Explain(name)),
                    ["scale"] => change(Change::Scale(name)),
                    ["scale", "up"] => change(Change::Step { service: name, up: true }),
                    ["scale", "down"] => change(Change::Step { service: name, up: false }),
                    ["pause"] => change(Change::Pause(Some(name))),
                    ["resume"] => change(Change::Resume(Some(name))),
                    ["restart"] => change(Change::Restart(name)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// As documents write it: one word for all that it may stand for.
    pub(crate) fn pattern(&self) -> &'static str {
        match self {
            Route::Show(Show::Root) => "/",
            Route::Show(Show::Health) => "/healthz",
            Route::Show(Show::Ready) => "/readyz",
            Route::Show(Show::Status) => "/status",
            Route::Show(Show::Metrics) => "/metrics",
            Route::Show(Show::Events) => "/events",
            Route::Show(Show::Servers) => "/servers",
            Route::Show(Show::Course) => "/course",
            Route::Show(Show::Services) => "/services",
            Route::Show(Show::Service(_)) => "/services/{name}",
            Route::Show(Show::Stats(_)) => "/services/{name}/stats",
            Route::Show(Show::Explain(_)) => "/services/{name}/explain",
            Route::Change(Change::Scale(_)) => "/services/{name}/scale",
            Route::Change(Change::Step { up: true, .. }) => "/services/{name}/scale/up",
            Route::Change(Change::Step { up: false, .. }) => "/services/{name}/scale/down",
            Route::Change(Change::Pause(Some(_))) => "/services/{name}/pause",
            Route::Change(Change::Pause(None)) => "/pause",
            Route::Change(Change::Resume(Some(_))) => "/services/{name}/resume",
            Route::Change(Change::Resume(None)) => "/resume",
            Route::Change(Change::Restart(_)) => "/services/{name}/restart",
            Route::Change(Change::Reload) => "/config/reload",
        }
    }

    /// Methods that it takes.
    pub(crate) fn allow(&self) -> &'static str {
        match self {
            Route::Show(_) => "GET, HEAD",
            Route::Change(_) => "POST",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::serve::routes::Route;

    #[test]
    fn a_pattern_leads_to_its_route_and_holds_no_name() {
        let paths = "/ /healthz /readyz /status /metrics /events /servers /course \
                     /services /services/a /services/a/stats \
                     /services/a/explain /services/a/scale /services/a/scale/up \
                     /services/a/scale/down /services/a/pause /pause /services/a/resume /resume \
                     /services/a/restart /config/reload";
        for path in paths.split_whitespace() {
            let route = Route::of(path).unwrap();
            assert_eq!(route.pattern().replace("{name}", "a"), path);
        }
    }

    #[test]
    fn paths_have_a_meaning_or_none() {
        for (path, want) in [
            ("/", "Show(Root)"),
            ("/?x=/status", "Show(Root)"),
            ("/status?a", "Show(Status)"),
            ("/services", "Show(Services)"),
            ("/services/a", "Show(Service(\"a\"))"),
            ("/services/a/stats", "Show(Stats(\"a\"))"),
            ("/services/scale/scale", "Change(Scale(\"scale\"))"),
            ("/services/a/scale/down", "Change(Step { service: \"a\", up: false })"),
            ("/services/a/pause", "Change(Pause(Some(\"a\")))"),
            ("/resume", "Change(Resume(None))"),
            ("/config/reload", "Change(Reload)"),
            ("/services/", ""),
            ("/services//stats", ""),
            ("/services/a/", ""),
            ("/services/a/scale/up/more", ""),
            ("/status/", ""),
            ("//status", ""),
            ("/Status", ""),
            ("status", ""),
            ("/services/a/b", ""),
        ] {
            let got = Route::of(path).map_or(String::new(), |route| format!("{route:?}"));
            assert_eq!(got, want, "{path}");
        }
    }
}
