//! What is answered to whom: reads the board, sends orders on. Every route ends here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::command::{Command, Refusal};
use crate::model::status::{ServiceStatus, Status};
use crate::outside::Clock;
use crate::serve::auth::Auth;
use crate::serve::event_log::EventQuery;
use crate::serve::request::ApiRequest;
use crate::serve::response::{JSON, Response};
use crate::serve::routes::{Mutation, Resource, Route};
use crate::serve::sources::Sources;
use crate::serve::{page, request_body, status_json};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Orders that wait for the daemon at once.
const ORDERS: usize = 3;
/// A good look counts for so many intervals, but for so long at least.
const YOUNG_INTERVALS: u32 = 3;
const YOUNG_LEAST: Duration = Duration::from_secs(10);

pub(crate) struct ApiHandler {
    sources: Sources,
    clock: Arc<dyn Clock>,
    auth: Auth,
    orders: AtomicUsize,
}

impl ApiHandler {
    pub(crate) fn new(sources: Sources, clock: Arc<dyn Clock>, auth: Auth) -> ApiHandler {
        ApiHandler { sources, clock, auth, orders: AtomicUsize::new(0) }
    }

    pub(crate) fn answer(&self, asked: &ApiRequest) -> Response {
        if let Err(reply) = self.auth.check_host(asked) {
            return reply;
        }
        let Some(route) = Route::of(&asked.target) else {
            return Response::error(404, "there is nothing at this path")
                .detail("/status, /services and /services/NAME are good ones to begin with");
        };
        match (route, asked.method.as_str()) {
            (Route::Resource(show), "GET" | "HEAD") => {
                self.show(asked, &show).unwrap_or_else(|reply| reply)
            }
            (Route::Mutation(change), "POST") => {
                self.change(asked, change).unwrap_or_else(|reply| reply)
            }
            (route, _) => Response::error(405, format!("{} is not for this path", asked.method))
                .header("Allow", route.allow()),
        }
    }

    fn show(&self, asked: &ApiRequest, show: &Resource) -> Result<Response, Response> {
        let seen = || {
            let status = self.sources.board.read();
            status.ok_or_else(|| Response::busy("no look at the services was made yet"))
        };
        // Monitors need a yes or no, and the page asks for the token before it shows anything.
        let may_read = match show {
            Resource::Health | Resource::Ready => self.auth.check_read(asked).is_ok(),
            Resource::Root if page::is_wanted(asked) => return Ok(page::page()),
            Resource::Root
            | Resource::Status
            | Resource::Metrics
            | Resource::Events
            | Resource::Servers
            | Resource::History
            | Resource::Services
            | Resource::Service(_)
            | Resource::Stats(_)
            | Resource::Explain(_) => self.auth.check_read(asked).map(|()| true)?,
        };
        let body = match show {
            Resource::Health => json!({ "status": "alive" }),
            // There is something to count before there is something to show.
            Resource::Metrics => return Ok(Response::plain(PROMETHEUS, (self.sources.metrics)())),
            Resource::Events => {
                let wish = EventQuery::of(&asked.target, self.clock.wall())?;
                return Ok(Response::plain(JSON, self.sources.annals.read(&wish)));
            }
            Resource::Servers => {
                let host = (self.sources.host)();
                Value::Array(status_json::hosts(&host, self.sources.board.read().as_deref()))
            }
            Resource::Root => json!({
                "status": "running",
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": self.clock.now().since(seen()?.started).as_secs(),
            }),
            Resource::Ready => self.ready(&*seen()?, may_read)?,
            Resource::Status => status_json::status(&*seen()?),
            Resource::History => status_json::histories(&*seen()?),
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
                status_json::service_with_replicas(status.now, named(&status, name)?)
            }
            Resource::Explain(name) => {
                let status = seen()?;
                let explained = status_json::explanation(status.now, named(&status, name)?);
                explained.ok_or_else(|| unexplained(&status, name))?
            }
        };
        Ok(Response::new(200, body))
    }

    /// Docker answered, not long ago, and HAProxy serves what it should.
    fn ready(&self, status: &Status, may_read: bool) -> Result<Value, Response> {
        if let Some(error) = &status.proxy_error {
            let reply = Response::error(503, "not ready");
            return Err(if may_read { reply.detail(error.clone()) } else { reply });
        }
        let young = (YOUNG_INTERVALS * status.check_interval).max(YOUNG_LEAST);
        let age = status.last_good.map(|at| self.clock.now().since(at));
        if let Some(age) = age.filter(|age| *age < young) {
            return Ok(json!({ "status": "ready", "last_good_s": age.as_secs_f64() }));
        }
        let since = match age {
            Some(age) => format!("the last good look was {} s ago", age.as_secs()),
            None => "there was no good look yet".to_owned(),
        };
        let why = status.docker_error.as_ref().filter(|_| may_read);
        let why = why.map(|error| format!(": {error}"));
        Err(Response::error(503, "not ready").detail(since + &why.unwrap_or_default()))
    }

    fn change(&self, asked: &ApiRequest, change: Mutation) -> Result<Response, Response> {
        self.auth.check_change(asked)?;
        let command = request_body::command(change, &asked.body)?;
        let status = match &command {
            Command::Reload => 200,
            Command::Order { .. } => 202,
        };
        let waiting = Waiting::begin(&self.orders);
        let waiting = waiting.ok_or_else(|| {
            let what = "other orders are being taken; try again";
            Response::error(429, what).header("Retry-After", "1")
        })?;
        let answer = (self.sources.ask)(command);
        drop(waiting);
        answer.map(|words| Response::new(status, json!({ "done": words }))).map_err(refused)
    }
}

fn named<'a>(status: &'a Status, name: &str) -> Result<&'a ServiceStatus, Response> {
    let service = status.services.iter().find(|service| service.name == name);
    service.ok_or_else(|| {
        let known: Vec<&str> = status.services.iter().map(|s| s.name.as_str()).collect();
        let known = known.join(", ");
        Response::error(404, format!("the config has no service {name}; it has: {known}"))
    })
}

fn unexplained(status: &Status, name: &str) -> Response {
    let reply = Response::busy(format!("no look at the load of {name} yet"));
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
            Response::error(422, "the daemon keeps the config it has").detail(problems)
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn begin(orders: &AtomicUsize) -> Option<Waiting<'_>> {
        let waiting = Waiting(orders);
        // Dropped, one too many is counted back.
        (orders.fetch_add(1, Ordering::Relaxed) < ORDERS).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
