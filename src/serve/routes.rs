//! Paths to routes.

/// Service names are as they were sent: the service may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Read(Resource),
    Change(Mutation),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
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
    Schedule(String),
    History,
}

/// `None` is every service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    Scale(String),
    Step { service: String, up: bool },
    Pause(Option<String>),
    Resume(Option<String>),
    Restart(String),
    Reload,
}

impl Route {
    /// `None`: no such path.
    pub(crate) fn of(target: &str) -> Option<Route> {
        let path = target.split('?').next().unwrap_or(target);
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let read = |resource: Resource| Some(Route::Read(resource));
        let change = |change: Mutation| Some(Route::Change(change));
        match *parts.as_slice() {
            [""] => read(Resource::Root),
            ["healthz"] => read(Resource::Health),
            ["readyz"] => read(Resource::Ready),
            ["status"] => read(Resource::Status),
            ["metrics"] => read(Resource::Metrics),
            ["events"] => read(Resource::Events),
            ["servers"] => read(Resource::Servers),
            ["history"] => read(Resource::History),
            ["services"] => read(Resource::Services),
            ["pause"] => change(Mutation::Pause(None)),
            ["resume"] => change(Mutation::Resume(None)),
            ["config", "reload"] => change(Mutation::Reload),
            ["services", name, ref rest @ ..] if !name.is_empty() => {
                let name = name.to_owned();
                match *rest {
                    [] => read(Resource::Service(name)),
                    ["stats"] => read(Resource::Stats(name)),
                    ["explain"] => read(Resource::Explain(name)),
                    ["schedule"] => read(Resource::Schedule(name)),
                    ["scale"] => change(Mutation::Scale(name)),
                    ["scale", "up"] => change(Mutation::Step { service: name, up: true }),
                    ["scale", "down"] => change(Mutation::Step { service: name, up: false }),
                    ["pause"] => change(Mutation::Pause(Some(name))),
                    ["resume"] => change(Mutation::Resume(Some(name))),
                    ["restart"] => change(Mutation::Restart(name)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The path with `{name}` for a service, as a metric label and in documents.
    pub(crate) fn pattern(&self) -> &'static str {
        match self {
            Route::Read(Resource::Root) => "/",
            Route::Read(Resource::Health) => "/healthz",
            Route::Read(Resource::Ready) => "/readyz",
            Route::Read(Resource::Status) => "/status",
            Route::Read(Resource::Metrics) => "/metrics",
            Route::Read(Resource::Events) => "/events",
            Route::Read(Resource::Servers) => "/servers",
            Route::Read(Resource::History) => "/history",
            Route::Read(Resource::Services) => "/services",
            Route::Read(Resource::Service(_)) => "/services/{name}",
            Route::Read(Resource::Stats(_)) => "/services/{name}/stats",
            Route::Read(Resource::Explain(_)) => "/services/{name}/explain",
            Route::Read(Resource::Schedule(_)) => "/services/{name}/schedule",
            Route::Change(Mutation::Scale(_)) => "/services/{name}/scale",
            Route::Change(Mutation::Step { up: true, .. }) => "/services/{name}/scale/up",
            Route::Change(Mutation::Step { up: false, .. }) => "/services/{name}/scale/down",
            Route::Change(Mutation::Pause(Some(_))) => "/services/{name}/pause",
            Route::Change(Mutation::Pause(None)) => "/pause",
            Route::Change(Mutation::Resume(Some(_))) => "/services/{name}/resume",
            Route::Change(Mutation::Resume(None)) => "/resume",
            Route::Change(Mutation::Restart(_)) => "/services/{name}/restart",
            Route::Change(Mutation::Reload) => "/config/reload",
        }
    }

    /// The value of an `Allow` header.
    pub(crate) fn allow(&self) -> &'static str {
        match self {
            Route::Read(_) => "GET, HEAD",
            Route::Change(_) => "POST",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::serve::routes::Route;

    #[test]
    fn a_pattern_leads_to_its_route_and_holds_no_name() {
        let paths = "/ /healthz /readyz /status /metrics /events /servers /history \
                     /services /services/a /services/a/stats \
                     /services/a/explain /services/a/schedule \
                     /services/a/scale /services/a/scale/up \
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
            ("/", "Read(Root)"),
            ("/?x=/status", "Read(Root)"),
            ("/status?a", "Read(Status)"),
            ("/services", "Read(Services)"),
            ("/services/a", "Read(Service(\"a\"))"),
            ("/services/a/stats", "Read(Stats(\"a\"))"),
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
