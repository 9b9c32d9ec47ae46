//! Answers every route: reads the published status, and sends commands to the controller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::command::{Command, Refusal};
use crate::model::status::{ServiceStatus, Status};
use crate::model::units;
use crate::outside::Clock;
use crate::serve::auth::Auth;
use crate::serve::event_log::EventQuery;
use crate::serve::request::ApiRequest;
use crate::serve::response::{JSON, Response};
use crate::serve::routes::{Mutation, Resource, Route};
use crate::serve::sources::Sources;
use crate::serve::{history_query, page, request_body, status_json};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Commands under way at once.
const COMMANDS_MAX: usize = 3;
/// The daemon is ready while the last good tick is at most this many check intervals old, or
/// `READY_AGE_MIN` if that is longer.
const READY_INTERVALS: u32 = 3;
const READY_AGE_MIN: Duration = Duration::from_secs(10);

pub(crate) struct ApiHandler {
    sources: Sources,
    clock: Arc<dyn Clock>,
    auth: Auth,
    commands: AtomicUsize,
}

impl ApiHandler {
    pub(crate) fn new(sources: Sources, clock: Arc<dyn Clock>, auth: Auth) -> ApiHandler {
        ApiHandler { sources, clock, auth, commands: AtomicUsize::new(0) }
    }

    pub(crate) fn answer(&self, request: &ApiRequest) -> Response {
        if let Err(reply) = self.auth.check_host(request) {
            return reply;
        }
        let Some(route) = Route::of(&request.target) else {
            return Response::error(404, "no such path")
                .detail("try /status, /services or /services/NAME");
        };
        match (route, request.method.as_str()) {
            (Route::Read(resource), "GET" | "HEAD") => {
                self.read(request, &resource).unwrap_or_else(|reply| reply)
            }
            (Route::Change(mutation), "POST") => {
                self.change(request, mutation).unwrap_or_else(|reply| reply)
            }
            (route, _) => {
                Response::error(405, format!("method {} is not allowed here", request.method))
                    .header("Allow", route.allow())
            }
        }
    }

    fn read(&self, request: &ApiRequest, resource: &Resource) -> Result<Response, Response> {
        let seen = || {
            let status = self.sources.status_cell.read();
            status.ok_or_else(|| Response::busy("the first tick is not over yet; try again"))
        };
        // Monitors get a yes or no without the token. The page itself holds no data.
        let may_read = match resource {
            Resource::Health | Resource::Ready => self.auth.check_read(request).is_ok(),
            Resource::Root if page::is_wanted(request) => return Ok(page::page()),
            Resource::Root
            | Resource::Status
            | Resource::Metrics
            | Resource::Events
            | Resource::Servers
            | Resource::History
            | Resource::Services
            | Resource::Service(_)
            | Resource::Stats(_)
            | Resource::Schedule(_)
            | Resource::Explain(_) => self.auth.check_read(request).map(|()| true)?,
        };
        let body = match resource {
            Resource::Health => json!({ "status": "alive" }),
            // Available before the first tick.
            Resource::Metrics => return Ok(Response::plain(PROMETHEUS, (self.sources.metrics)())),
            Resource::Events => {
                let query = EventQuery::of(&request.target, self.clock.wall())?;
                return Ok(Response::plain(JSON, self.sources.event_ring.read(&query)));
            }
            Resource::Servers => {
                let host = (self.sources.host)();
                Value::Array(status_json::hosts(&host, self.sources.status_cell.read().as_deref()))
            }
            Resource::Root => json!({
                "status": "running",
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": self.clock.now().since(seen()?.started).as_secs(),
            }),
            Resource::Ready => self.ready(&*seen()?, may_read)?,
            Resource::Status => status_json::status(&*seen()?),
            Resource::History => history_query::answer(&request.target, &*seen()?, &self.sources)?,
            Resource::Services => {
                let status = seen()?;
                let all = status.services.iter().map(|s| status_json::service(status.now, s));
                Value::Array(all.collect())
            }
            Resource::Service(name) => {
                let status = seen()?;
                status_json::service(status.now, named(&status, name)?)
            }
            Resource::Stats(name) => {
                let status = seen()?;
                status_json::service_with_replicas(status.now, status.at, named(&status, name)?)
            }
            Resource::Schedule(name) => {
                let status = seen()?;
                Value::Array(status_json::schedule(status.at, named(&status, name)?))
            }
            Resource::Explain(name) => {
                let status = seen()?;
                let explained = status_json::explanation(&status, named(&status, name)?);
                explained.ok_or_else(|| unexplained(&status, name))?
            }
        };
        Ok(Response::new(200, body))
    }

    /// The last good tick is recent, and HAProxy serves the desired configuration.
    fn ready(&self, status: &Status, may_read: bool) -> Result<Value, Response> {
        if let Some(error) = &status.proxy_error {
            let reply = Response::error(503, "not ready");
            return Err(if may_read { reply.detail(error.clone()) } else { reply });
        }
        let age_max = (READY_INTERVALS * status.check_interval).max(READY_AGE_MIN);
        let age = status.last_good.map(|at| self.clock.now().since(at));
        if let Some(age) = age.filter(|age| *age < age_max) {
            return Ok(json!({ "status": "ready", "last_good_s": age.as_secs_f64() }));
        }
        let since = match age {
            Some(age) => format!("the last good tick was {} s ago", age.as_secs()),
            None => "there was no good tick yet".to_owned(),
        };
        let why = status.docker_error.as_ref().filter(|_| may_read);
        let why = why.map(|error| format!(": {error}"));
        Err(Response::error(503, "not ready").detail(since + &why.unwrap_or_default()))
    }

    fn change(&self, request: &ApiRequest, mutation: Mutation) -> Result<Response, Response> {
        self.auth.check_change(request)?;
        let command = request_body::command(mutation, &request.body)?;
        let status = match &command {
            Command::Reload => 200,
            Command::Order { .. } => 202,
        };
        let slot = CommandSlot::take(&self.commands);
        let slot = slot.ok_or_else(|| {
            let what = "too many commands at once; try again";
            Response::error(429, what).header("Retry-After", "1")
        })?;
        let answer = (self.sources.ask)(command);
        drop(slot);
        answer.map(|done| Response::new(status, json!({ "done": done }))).map_err(refused)
    }
}

fn named<'a>(status: &'a Status, name: &str) -> Result<&'a ServiceStatus, Response> {
    let service = status.services.iter().find(|service| service.name == name);
    service.ok_or_else(|| {
        let known = status.services.iter().map(|s| s.name.as_str());
        Response::error(404, units::no_service(name, known))
    })
}

fn unexplained(status: &Status, name: &str) -> Response {
    let reply = Response::busy(format!("{name} has not been evaluated yet; try again"));
    match &status.docker_error {
        Some(error) => reply.detail(format!("docker does not answer: {error}")),
        None => reply,
    }
}

fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Unknown(words) => Response::error(404, words),
        Refusal::Conflict(words) => Response::error(409, words),
        Refusal::Invalid(words) => Response::error(422, words),
        Refusal::Unavailable(words) => Response::busy(words),
        Refusal::BadConfig(problems) => {
            Response::error(422, "the new config is bad; the daemon keeps the old one")
                .detail(problems)
        }
    }
}

/// One of `COMMANDS_MAX`, until it is dropped.
struct CommandSlot<'a>(&'a AtomicUsize);

impl CommandSlot<'_> {
    fn take(commands: &AtomicUsize) -> Option<CommandSlot<'_>> {
        // If there are too many, its drop counts it back.
        let slot = CommandSlot(commands);
        (commands.fetch_add(1, Ordering::Relaxed) < COMMANDS_MAX).then_some(slot)
    }
}

impl Drop for CommandSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
