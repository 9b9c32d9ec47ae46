//! Webhooks: each event to each hook that wants it, by a POST. Every hook has a thread and a
//! bounded queue, so that one which is slow or dead delays nothing but itself.

mod delivery;
mod outbox;
#[cfg(test)]
mod tests;
pub(crate) mod trial;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{self, SystemClock};
use crate::daemon::spawn::spawn;
use crate::daemon::webhooks::outbox::Outbox;
use crate::model::event::{Entry, Event, Kind};
use crate::model::notification::{Notice, Webhook, WebhookFormat};
use crate::model::time::Moment;
use crate::model::{units, url};
use crate::net::SystemNet;
use crate::outside::{Clock, Result};
use crate::report::notification::alertmanager::StandingAlerts;
use crate::report::notification::answer::WebhookAnswer;
use crate::report::notification::{self, WebhookPost};
use crate::report::telemetry::Telemetry;

const PATIENCE: RetryPolicy = RetryPolicy {
    tries: 8,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    timeout: Duration::from_secs(10),
};
/// How long the end of the daemon waits for what was not sent yet.
const LAST_POSTS: Duration = Duration::from_secs(3);

/// How often an event is sent, and what lies between two tries: twice as long each time, and as
/// long as the receiver asks for.
#[derive(Clone, Copy, Debug)]
struct RetryPolicy {
    tries: u32,
    first: Duration,
    longest: Duration,
    timeout: Duration,
}

/// Takes an event that is to be recorded.
pub(crate) type ReportEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// Dropped, it sends what waits once each, until one fails.
pub(crate) struct WebhookSender {
    /// Its place in `notifications`.
    at: usize,
    webhook: Arc<Webhook>,
    mailbox: Arc<WebhookMailbox>,
    ended: Receiver<()>,
}

impl WebhookSender {
    pub(crate) fn start(
        at: usize,
        webhook: &Webhook,
        telemetry: &Arc<Telemetry>,
        report: &ReportEvent,
    ) -> Result<WebhookSender> {
        WebhookSender::with(PATIENCE, at, webhook, telemetry, report)
    }

    fn with(
        patience: RetryPolicy,
        at: usize,
        webhook: &Webhook,
        telemetry: &Arc<Telemetry>,
        report: &ReportEvent,
    ) -> Result<WebhookSender> {
        let webhook = Arc::new(webhook.clone());
        let mailbox = Arc::new(WebhookMailbox::new(webhook.every));
        let (ends, ended) = mpsc::sync_channel(1);
        let mut hook = WebhookThread {
            at,
            webhook: webhook.clone(),
            mailbox: mailbox.clone(),
            net: SystemNet::new(),
            patience,
            telemetry: telemetry.clone(),
            report: report.clone(),
            standing: StandingAlerts::default(),
            failing: None,
        };
        spawn(&format!("webhook-{at}"), move || {
            hook.run();
            drop(ends);
        })?;
        Ok(WebhookSender { at, webhook, mailbox, ended })
    }

    /// False when there was no room for it. A webhook gets no event about itself: one that refuses
    /// just these would cause the next.
    pub(crate) fn tell(&self, event: &Event, entry: &Entry) -> bool {
        if event.webhook == Some(self.at) || !self.webhook.wants(event) {
            return true;
        }
        self.mailbox.add(Notice::new(entry.at_ms, event.clone(), entry.json.clone()))
    }
}

impl Drop for WebhookSender {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

/// Waits for all of them together, within reason.
pub(crate) fn end(hooks: Vec<WebhookSender>) {
    hooks.iter().for_each(|hook| hook.mailbox.close());
    let share = LAST_POSTS / u32::try_from(hooks.len().max(1)).unwrap_or(u32::MAX);
    for hook in hooks {
        // Ended or out of time: either way the daemon ends.
        let _ = hook.ended.recv_timeout(share);
    }
}

/// What the recorder leaves for the hook's thread. The lock is never held during a call.
struct WebhookMailbox {
    clock: SystemClock,
    state: Mutex<WebhookState>,
    changed: Condvar,
}

struct WebhookState {
    outbox: Outbox,
    /// The hook is gone: what waits is sent once each.
    is_closing: bool,
}

/// What the thread does next.
enum WebhookStep {
    Send(Box<Notice>),
    /// Alerts that stand.
    SendAgain,
    End,
}

impl WebhookMailbox {
    fn new(every: Duration) -> WebhookMailbox {
        let state = WebhookState { outbox: Outbox::new(every), is_closing: false };
        WebhookMailbox {
            clock: SystemClock::new(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, WebhookState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, notice: Notice) -> bool {
        let is_taken = self.lock().outbox.add(self.clock.now(), notice);
        self.changed.notify_all();
        is_taken
    }

    fn close(&self) {
        self.lock().is_closing = true;
        self.changed.notify_all();
    }

    fn is_closing(&self) -> bool {
        self.lock().is_closing
    }

    /// Waits until there is something to do; `due` is when alerts are sent again.
    fn next(&self, due: Option<Moment>) -> WebhookStep {
        let mut state = self.lock();
        loop {
            let now = self.clock.now();
            if state.is_closing {
                state.outbox.flush();
            }
            if let Some(notice) = state.outbox.next(now) {
                return WebhookStep::Send(Box::new(notice));
            }
            if state.is_closing {
                return WebhookStep::End;
            }
            if due.is_some_and(|due| due <= now) {
                return WebhookStep::SendAgain;
            }
            let until = state.outbox.due().into_iter().chain(due).min();
            let span = until.map_or(Duration::from_secs(3600), |until| until.since(now));
            let waited = self.changed.wait_timeout(state, span);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives whether the hook is gone, which ends the pause.
    fn pause(&self, span: Duration) -> bool {
        let open = |state: &mut WebhookState| !state.is_closing;
        let waited = self.changed.wait_timeout_while(self.lock(), span, open);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }
}

struct WebhookThread {
    at: usize,
    webhook: Arc<Webhook>,
    mailbox: Arc<WebhookMailbox>,
    net: SystemNet,
    patience: RetryPolicy,
    telemetry: Arc<Telemetry>,
    report: ReportEvent,
    standing: StandingAlerts,
    /// Events that were given up since it works no more.
    failing: Option<u64>,
}

impl WebhookThread {
    fn run(&mut self) {
        loop {
            match self.mailbox.next(self.standing.due()) {
                WebhookStep::Send(notice) => self.send(&notice),
                WebhookStep::SendAgain => self.send_again(),
                WebhookStep::End => return,
            }
        }
    }

    /// Once an event was given up, those after it are tried once each, until one is taken.
    fn send(&mut self, notice: &Notice) {
        let count = u64::from(notice.more) + 1;
        let is_lost = self.failing.is_some_and(|lost| 0 < lost);
        if is_lost && self.mailbox.is_closing() {
            return self.give_up(count);
        }
        let started_ms = match self.webhook.format {
            WebhookFormat::Alertmanager => self.standing.note(self.mailbox.clock.now(), notice),
            _ => None,
        };
        let post = notification::post(&self.webhook, notice, started_ms);
        let tries = if is_lost { 1 } else { self.patience.tries };
        let mut pause = if is_lost { self.patience.longest } else { self.patience.first };
        for left in (0..tries).rev() {
            let mut asked = Duration::ZERO;
            match self.once(&post) {
                WebhookAnswer::Taken => return self.works(),
                WebhookAnswer::Refused(why) => {
                    self.fails(&why);
                    return self.give_up(count);
                }
                WebhookAnswer::Failed(why, wait) => {
                    self.fails(&why);
                    asked = wait.unwrap_or(asked);
                }
            }
            if left == 0 && !is_lost {
                break;
            }
            if self.mailbox.pause(pause.max(asked)) {
                break;
            }
            pause = (pause * 2).min(self.patience.longest);
        }
        self.give_up(count);
    }

    /// Tried once: the next time is in a minute.
    fn send_again(&mut self) {
        let now_ms = clock::unix_ms();
        let body = self.standing.body(self.mailbox.clock.now(), now_ms);
        let Some(post) = body.map(|body| notification::again(&self.webhook, body)) else { return };
        match self.once(&post) {
            WebhookAnswer::Taken => self.works(),
            WebhookAnswer::Refused(why) | WebhookAnswer::Failed(why, _) => self.fails(&why),
        }
    }

    fn once(&self, post: &WebhookPost) -> WebhookAnswer {
        delivery::once(&self.net, &self.webhook, post, self.patience.timeout).1
    }

    fn give_up(&mut self, events: u64) {
        self.telemetry.dropped(events);
        *self.failing.get_or_insert(0) += events;
    }

    /// Reported once when it begins.
    fn fails(&mut self, why: &str) {
        if self.failing.is_none() {
            self.failing = Some(0);
            let message = format!("{} takes no events: {why}", self.name());
            self.report(Event::new(Kind::WebhookFailed, message));
        }
    }

    fn works(&mut self) {
        if let Some(lost) = self.failing.take() {
            let lost = units::plural(lost, "event");
            let how = format!("{} takes events again; dropped: {lost}", self.name());
            self.report(Event::resolved(Kind::WebhookFailed, &how));
        }
    }

    /// Not once the hook is gone: its place may be another's by then.
    fn report(&self, event: Event) {
        if !self.mailbox.is_closing() {
            (self.report)(Event { webhook: Some(self.at), ..event });
        }
    }

    /// The URL's path often contains a secret, so only its host is shown.
    fn name(&self) -> String {
        format!("notifications[{}] at {}", self.at, url::host(self.webhook.endpoint.url.expose()))
    }
}
