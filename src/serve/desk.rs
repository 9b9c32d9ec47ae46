//! What is answered to whom: reads the board, sends orders on. Every route ends here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::command::{Command, Refusal};
use crate::model::status::{ServiceStatus, Status};
use crate::outside::Clock;
use crate::serve::annals::Wish;
use crate::serve::guard::Guard;
use crate::serve::reply::{JSON, Reply};
use crate::serve::routes::{Change, Route, Show};
use crate::serve::{Sources, bodies, page, wire};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Orders that wait for the daemon at once.
const ORDERS: usize = 3;
/// A good look counts for so many intervals, but for so long at least.
const YOUNG_INTERVALS: u32 = 3;
const YOUNG_LEAST: Duration = Duration::from_secs(10);

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Tcp,
    /// By a socket that only those whom its mode lets in can use.
    Control,
}

impl Via {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Via::Tcp => "tcp",
            Via::Control => "control",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Via> {
        [Via::Tcp, Via::Control].into_iter().find(|via| via.word() == word)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) via: Via,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: Option<String>,
    pub(crate) accept: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) fetch_site: Option<String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Desk {
    sources: Sources,
    clock: Arc<dyn Clock>,
    guard: Guard,
    orders: AtomicUsize,
}

impl Desk {
    pub(crate) fn new(sources: Sources, clock: Arc<dyn Clock>, guard: Guard) -> Desk {
        Desk { sources, clock, guard, orders: AtomicUsize::new(0) }
    }

    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        if let Err(reply) = self.guard.host(asked) {
            return reply;
        }
        let Some(route) = Route::of(&asked.target) else {
            return Reply::error(404, "there is nothing at this path")
                .detail("/status, /services and /services/NAME are good ones to begin with");
        };
        match (route, asked.method.as_str()) {
            (Route::Show(show), "GET" | "HEAD") => {
                self.show(asked, &show).unwrap_or_else(|reply| reply)
            }
            (Route::Change(change), "POST") => {
                self.change(asked, change).unwrap_or_else(|reply| reply)
            }
            (route, _) => Reply::error(405, format!("{} is not for this path", asked.method))
                .header("Allow", route.allow()),
        }
    }

    fn show(&self, asked: &Asked, show: &Show) -> Result<Reply, Reply> {
        let seen = || {
            let status = self.sources.board.read();
            status.ok_or_else(|| Reply::busy("no look at the services was made yet"))
        };
        // Monitors need a yes or no, and the page asks for the token before it shows anything.
        let may_read = match show {
            Show::Health | Show::Ready => self.guard.read(asked).is_ok(),
            Show::Root if page::is_wanted(asked) => return Ok(page::page()),
            Show::Root
            | Show::Status
            | Show::Metrics
            | Show::Events
            | Show::Servers
            | Show::Course
            | Show::Services
            | Show::Service(_)
            | Show::Stats(_)
            | Show::Explain(_) => self.guard.read(asked).map(|()| true)?,
        };
        let body = match show {
            Show::Health => json!({ "status": "alive" }),
            // There is something to count before there is something to show.
            Show::Metrics => return Ok(Reply::plain(PROMETHEUS, (self.sources.metrics)())),
            Show::Events => {
                let wish = Wish::of(&asked.target, self.clock.wall())?;
                return Ok(Reply::plain(JSON, self.sources.annals.read(&wish)));
            }
            Show::Servers => {
                let host = (self.sources.host)();
                Value::Array(wire::hosts(&host, self.sources.board.read().as_deref()))
            }
            Show::Root => json!({
                "status": "running",
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": self.clock.now().since(seen()?.started).as_secs(),
            }),
            Show::Ready => self.ready(&*seen()?, may_read)?,
            Show::Status => wire::status(&*seen()?),
            Show::Course => wire::courses(&*seen()?),
            Show::Services => {
                let status = seen()?;
                let all = status.services.iter().map(|s| wire::service(status.now, s));
                Value::Array(all.collect())
            }
            Show::Service(name) => {
                let status = seen()?;
                wire::service(status.now, named(&status, name)?)
            }
            Show::Stats(name) => {
                let status = seen()?;
                wire::service_with_replicas(status.now, named(&status, name)?)
            }
            Show::Explain(name) => {
                let status = seen()?;
                let explained = wire::explanation(status.now, named(&status, name)?);
                explained.ok_or_else(|| unexplained(&status, name))?
            }
        };
        Ok(Reply::new(200, body))
    }

    /// Docker answered, not long ago, and HAProxy serves what it should.
    fn ready(&self, status: &Status, may_read: bool) -> Result<Value, Reply> {
        if let Some(error) = &status.proxy_error {
            let reply = Reply::error(503, "not ready");
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
        Err(Reply::error(503, "not ready").detail(since + &why.unwrap_or_default()))
    }

    fn change(&self, asked: &Asked, change: Change) -> Result<Reply, Reply> {
        self.guard.change(asked)?;
        let command = bodies::command(change, &asked.body)?;
        let status = match &command {
            Command::Reload => 200,
            Command::Order { .. } => 202,
        };
        let waiting = Waiting::begin(&self.orders);
        let waiting = waiting.ok_or_else(|| {
            let what = "other orders are being taken; try again";
            Reply::error(429, what).header("Retry-After", "1")
        })?;
        let answer = (self.sources.ask)(command);
        drop(waiting);
        answer.map(|words| Reply::new(status, json!({ "done": words }))).map_err(refused)
    }
}

fn named<'a>(status: &'a Status, name: &str) -> Result<&'a ServiceStatus, Reply> {
    let service = status.services.iter().find(|service| service.name == name);
    service.ok_or_else(|| {
        let known: Vec<&str> = status.services.iter().map(|s| s.name.as_str()).collect();
        let known = known.join(", ");
        Reply::error(404, format!("the config has no service {name}; it has: {known}"))
    })
}

fn unexplained(status: &Status, name: &str) -> Reply {
    let reply = Reply::busy(format!("no look at the load of {name} yet"));
    match &status.docker_error {
        Some(error) => reply.detail(format!("docker does not answer: {error}")),
        None => reply,
    }
}

fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Unknown(words) => Reply::error(404, words),
        Refusal::Conflict(words) => Reply::error(409, words),
        Refusal::Invalid(words) => Reply::error(422, words),
        Refusal::Unavailable(words) => Reply::busy(words),
        Refusal::BadConfig(problems) => {
            Reply::error(422, "the daemon keeps the config it has").detail(problems)
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
