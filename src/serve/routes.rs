//! Paths and what they stand for.

/// What is asked for. Names are as they were sent; nobody looked them up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Resource(Resource),
    Mutation(Mutation),
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
    /// `None`: there is nothing at this path.
    pub(crate) fn of(target: &str) -> Option<Route> {
        let path = target.split('?').next().unwrap_or(target);
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let show = |show: Resource| Some(Route::Resource(show));
        let change = |change: Mutation| Some(Route::Mutation(change));
        match *parts.as_slice() {
            [""] => show(Resource::Root),
            ["healthz"] => show(Resource::Health),
            ["readyz"] => show(Resource::Ready),
            ["status"] => show(Resource::Status),
            ["metrics"] => show(Resource::Metrics),
            ["events"] => show(Resource::Events),
            ["servers"] => show(Resource::Servers),
            ["course"] => show(Resource::History),
            ["services"] => show(Resource::Services),
            ["pause"] => change(Mutation::Pause(None)),
            ["resume"] => change(Mutation::Resume(None)),
            ["config", "reload"] => change(Mutation::Reload),
            ["services", name, ref rest @ ..] if !name.is_empty() => {
                let name = name.to_owned();
                match *rest {
                    [] => show(Resource::Service(name)),
                    ["stats"] => show(Resource::Stats(name)),
                    ["explain"] => show(Resource::Explain(name)),
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

    /// As documents write it: one word for all that it may stand for.
    pub(crate) fn pattern(&self) -> &'static str {
        match self {
            Route::Resource(Resource::Root) => "/",
            Route::Resource(Resource::Health) => "/healthz",
            Route::Resource(Resource::Ready) => "/readyz",
            Route::Resource(Resource::Status) => "/status",
            Route::Resource(Resource::Metrics) => "/metrics",
            Route::Resource(Resource::Events) => "/events",
            Route::Resource(Resource::Servers) => "/servers",
            Route::Resource(Resource::History) => "/course",
            Route::Resource(Resource::Services) => "/services",
            Route::Resource(Resource::Service(_)) => "/services/{name}",
            Route::Resource(Resource::Stats(_)) => "/services/{name}/stats",
            Route::Resource(Resource::Explain(_)) => "/services/{name}/explain",
            Route::Mutation(Mutation::Scale(_)) => "/services/{name}/scale",
            Route::Mutation(Mutation::Step { up: true, .. }) => "/services/{name}/scale/up",
            Route::Mutation(Mutation::Step { up: false, .. }) => "/services/{name}/scale/down",
            Route::Mutation(Mutation::Pause(Some(_))) => "/services/{name}/pause",
            Route::Mutation(Mutation::Pause(None)) => "/pause",
            Route::Mutation(Mutation::Resume(Some(_))) => "/services/{name}/resume",
            Route::Mutation(Mutation::Resume(None)) => "/resume",
            Route::Mutation(Mutation::Restart(_)) => "/services/{name}/restart",
            Route::Mutation(Mutation::Reload) => "/config/reload",
        }
    }

    /// Methods that it takes.
    pub(crate) fn allow(&self) -> &'static str {
        match self {
            Route::Resource(_) => "GET, HEAD",
            Route::Mutation(_) => "POST",
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
            ("/", "Resource(Root)"),
            ("/?x=/status", "Resource(Root)"),
            ("/status?a", "Resource(Status)"),
            ("/services", "Resource(Services)"),
            ("/services/a", "Resource(Service(\"a\"))"),
            ("/services/a/stats", "Resource(Stats(\"a\"))"),
            ("/services/scale/scale", "Mutation(Scale(\"scale\"))"),
            ("/services/a/scale/down", "Mutation(Step { service: \"a\", up: false })"),
            ("/services/a/pause", "Mutation(Pause(Some(\"a\")))"),
            ("/resume", "Mutation(Resume(None))"),
            ("/config/reload", "Mutation(Reload)"),
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
