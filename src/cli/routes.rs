//! `plimsoll routes`: the routes of the shared frontends, or where one URL leads. Needs no daemon.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::args::cli_command::RoutesArgs;
use crate::cli::effective;
use crate::cli::output::{USAGE, complain, say};
use crate::cli::table::{ended, table};
use crate::cli::width;
use crate::config::host_name;
use crate::model::config::Config;
use crate::model::front_door::{FrontDoor, Frontend};
use crate::model::route::{HostPattern, HttpRoute, RouteTable};

pub(crate) fn routes(asked: &RoutesArgs) -> ExitCode {
    let config = match effective::config(&asked.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if config.front_door.frontends.is_empty() {
        return say("no frontends: `load_balancer.frontends` of the config names none\n");
    }
    let Some(url) = &asked.url else {
        return say(&if asked.json { json_of_all(&config) } else { table_of_all(&config) });
    };
    let found = Url::parse(url).and_then(|url| {
        let frontend = frontend_of(&url, &config.front_door)?;
        Ok(Destination::of(&url, frontend, &config))
    });
    match found {
        Ok(found) if asked.json => say(&format!("{:#}\n", found.json())),
        Ok(found) => say(&found.text(url)),
        Err(message) => {
            complain(&format!("{message}; see `plimsoll help routes`"));
            ExitCode::from(USAGE)
        }
    }
}

/// What a route leads to.
#[derive(Clone)]
struct Target<'c> {
    service: &'c str,
    /// In the config.
    place: String,
    route: &'c HttpRoute,
}

fn targets<'c>(config: &'c Config, frontend: &Frontend) -> RouteTable<Target<'c>> {
    let mut found = RouteTable::new();
    for service in config.services.values() {
        for (at, route) in service.routes.iter().enumerate().filter(|(_, r)| frontend.has(r)) {
            let name = service.name.as_str();
            let place = format!("services.{name}.routes[{at}]");
            found.add(route, Target { service: name, place, route });
        }
    }
    found
}

/// In the order in which they are tried: by host, then the longer path first.
fn in_order<'t, 'c>(table: &'t RouteTable<Target<'c>>) -> Vec<&'t Target<'c>> {
    let mut all: Vec<&Target> = table.iter().map(|(_, target)| target).collect();
    all.sort_by_key(|target| {
        let length = target.route.path.len();
        (&target.route.host, std::cmp::Reverse(length), &target.route.path)
    });
    all
}

fn shown_path(route: &HttpRoute) -> &str {
    if route.path.is_empty() { "/" } else { &route.path }
}

fn shown_host(route: &HttpRoute) -> String {
    match &route.host {
        HostPattern::Any => "any".to_owned(),
        host => host.to_string(),
    }
}

fn table_of_all(config: &Config) -> String {
    let mut rows: Vec<[String; 5]> = Vec::new();
    for frontend in &config.front_door.frontends {
        let listen = frontend.listen.to_string();
        let row = |host: String, path: &str, to: String| {
            [frontend.name.clone(), listen.clone(), host, path.to_owned(), to]
        };
        if frontend.redirects {
            rows.push(row("any".to_owned(), "any", "redirect to https".to_owned()));
            continue;
        }
        for target in in_order(&targets(config, frontend)) {
            let to = match target.route.stripped() {
                0 => target.service.to_owned(),
                _ => format!("{}, without {}", target.service, target.route.path),
            };
            rows.push(row(shown_host(target.route), shown_path(target.route), to));
        }
        let rest = frontend.default.as_ref().map_or("404", |name| name.as_str());
        rows.push(row("else".to_owned(), "", rest.to_owned()));
    }
    let lines = table(["frontend", "listen", "host", "path", "service"], &rows, width::of_stdout());
    ended(&lines.concat())
}

fn json_of_all(config: &Config) -> String {
    let one = |frontend: &Frontend| {
        let table = targets(config, frontend);
        let route = |target: &&Target| {
            json!({
                "host": shown_host(target.route),
                "path": shown_path(target.route),
                "strip_path": target.route.strip_path,
                "service": target.service,
                "place": target.place,
            })
        };
        json!({
            "frontend": frontend.name,
            "listen": frontend.listen.to_string(),
            "redirect": frontend.redirects.then_some("https"),
            "default": frontend.default.as_ref().map(|name| name.as_str()),
            "routes": in_order(&table).iter().map(route).collect::<Vec<_>>(),
        })
    };
    let all: Vec<Value> = config.front_door.frontends.iter().map(one).collect();
    format!("{:#}\n", Value::Array(all))
}

#[derive(Debug, PartialEq, Eq)]
struct Url {
    /// `None`: it names no scheme.
    is_tls: Option<bool>,
    host: String,
    port: Option<u16>,
    path: String,
}

impl Url {
    fn parse(text: &str) -> Result<Url, String> {
        let wrong = || format!("{text:?} is not a URL like https://shop.example/path");
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(false), rest),
            Some(("https", rest)) => (Some(true), rest),
            Some(_) => return Err(wrong()),
            None => (None, text),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (authority, None),
        };
        let host = host_name::ascii(host.strip_suffix('.').unwrap_or(host)).ok_or_else(wrong)?;
        if !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("{path:?} has letters that are percent-encoded in a URL"));
        }
        Ok(Url { is_tls, host, port, path: path.to_owned() })
    }
}

/// The frontend that a client of this URL connects to.
fn frontend_of<'c>(url: &Url, door: &'c FrontDoor) -> Result<&'c Frontend, String> {
    let is_tls = url.is_tls.unwrap_or_else(|| door.frontends.iter().any(Frontend::is_tls));
    let scheme = if is_tls { "https" } else { "http" };
    let of_scheme: Vec<&Frontend> =
        door.frontends.iter().filter(|frontend| frontend.is_tls() == is_tls).collect();
    let port = url.port.unwrap_or(if is_tls { 443 } else { 80 });
    let at_port = of_scheme.iter().find(|frontend| frontend.listen.port == port);
    match (at_port, of_scheme.as_slice(), url.port) {
        (Some(frontend), _, _) | (None, [frontend], None) => Ok(frontend),
        _ => {
            let known = door.frontends.iter().map(|f| format!("{} at {}", f.name, f.listen));
            let known: Vec<String> = known.collect();
            Err(format!(
                "no frontend serves {scheme} on port {port}; there are: {}",
                known.join(", ")
            ))
        }
    }
}

/// Where a URL leads.
struct Destination<'c> {
    frontend: &'c Frontend,
    redirect: Option<String>,
    target: Option<Target<'c>>,
    /// That the replica gets.
    path: String,
}

impl<'c> Destination<'c> {
    fn of(url: &Url, frontend: &'c Frontend, config: &'c Config) -> Destination<'c> {
        if frontend.redirects {
            let port = config.front_door.https_suffix();
            let to = format!("https://{}{port}{}", url.host, url.path);
            return Destination { frontend, redirect: Some(to), target: None, path: String::new() };
        }
        let table = targets(config, frontend);
        let target = table.find(&url.host, &url.path).cloned();
        let stripped = target.as_ref().map_or(0, |target| target.route.stripped());
        let path = url.path.splitn(stripped + 2, '/').nth(stripped + 1).unwrap_or_default();
        let path = format!("/{path}");
        Destination { frontend, redirect: None, target, path }
    }

    fn service(&self) -> Option<&str> {
        let default = self.frontend.default.as_ref().map(|name| name.as_str());
        self.target.as_ref().map(|target| target.service).or(default)
    }

    fn text(&self, url: &str) -> String {
        let frontend = format!("frontend {} at {}", self.frontend.name, self.frontend.listen);
        if let Some(to) = &self.redirect {
            return format!("{url} is redirected to {to}\n  by {frontend}\n");
        }
        let Some(service) = self.service() else {
            return format!(
                "{url} reaches no service: 404\n  {frontend} has no route for it, and no \
                 `default`\n"
            );
        };
        let path = &self.path;
        match &self.target {
            Some(Target { place, route, .. }) => format!(
                "{url} reaches service {service}\n  {frontend}\n  route {route} of {place}\n  \
                 the replica gets {path}\n"
            ),
            None => format!(
                "{url} reaches service {service}\n  {frontend}\n  its `default`, as no route \
                 matches\n  the replica gets {path}\n"
            ),
        }
    }

    fn json(&self) -> Value {
        json!({
            "frontend": self.frontend.name,
            "redirect": self.redirect,
            "service": self.service().filter(|_| self.redirect.is_none()),
            "route": self.target.as_ref().map(|target| target.route.to_string()),
            "place": self.target.as_ref().map(|target| &target.place),
            "path": self.redirect.is_none().then_some(&self.path),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::routes::Url;

    #[test]
    fn a_url_has_a_host_and_maybe_the_rest() {
        let url = |is_tls, host: &str, port, path: &str| Url {
            is_tls,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        for (text, want) in [
            ("https://a.example", url(Some(true), "a.example", None, "/")),
            ("http://A.example.:81/b?c#d", url(Some(false), "a.example", Some(81), "/b")),
            ("bücher.example/x", url(None, "xn--bcher-kva.example", None, "/x")),
            ("a?b", url(None, "a", None, "/")),
        ] {
            assert_eq!(Url::parse(text), Ok(want), "{text}");
        }
        for text in ["", "https://", "ftp://a", "a:b", "a:70000", "a b", "a/ü", "/x"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
