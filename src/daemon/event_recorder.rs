//! Fans each event out to the log, the metrics, `events.jsonl`, `GET /events` and webhooks.

use std::sync::Arc;

use crate::clock;
use crate::daemon::logger;
use crate::daemon::webhooks::{self, ReportEvent, WebhookSender};
use crate::model::event::{Entry, Event};
use crate::model::notification::Webhook;
use crate::report::telemetry::Telemetry;
use crate::serve::EventRing;
use crate::store::events::{self, EventFile};

/// A clock that goes back further than this was set by somebody.
const STEP_MS: u64 = 1000;

pub(crate) struct EventRecorder {
    telemetry: Arc<Telemetry>,
    event_ring: Arc<EventRing>,
    file: EventFile,
    hooks: Vec<WebhookSender>,
    /// Takes events of the webhooks.
    report: ReportEvent,
    last_ms: u64,
    /// Number of events lost since the file could last be written.
    unwritten: Option<u64>,
}

impl EventRecorder {
    /// `before` is what is in the file.
    pub(crate) fn new(
        file: EventFile,
        before: Vec<Entry>,
        telemetry: Arc<Telemetry>,
        event_ring: Arc<EventRing>,
        report: ReportEvent,
    ) -> EventRecorder {
        let last_ms = before.last().map_or(0, |entry| entry.at_ms);
        before.into_iter().for_each(|entry| event_ring.push(entry));
        EventRecorder {
            telemetry,
            event_ring,
            file,
            hooks: Vec::new(),
            report,
            last_ms,
            unwritten: None,
        }
    }

    /// From now on events go to these webhooks, and to no others.
    pub(crate) fn watch(&mut self, webhooks: &[Webhook]) {
        self.hooks.clear();
        for (at, webhook) in webhooks.iter().enumerate() {
            match WebhookSender::start(at, webhook, &self.telemetry, &self.report) {
                Ok(hook) => self.hooks.push(hook),
                Err(err) => log::error!("message={:?}", err.to_string()),
            }
        }
    }

    pub(crate) fn record(&mut self, event: &Event) {
        logger::event(event);
        self.telemetry.event(event);
        let entry = events::entry(self.stamp(), event);
        self.write(&entry);
        for hook in &self.hooks {
            self.telemetry.dropped(u64::from(!hook.tell(event, &entry)));
        }
        self.event_ring.push(entry);
    }

    /// Timestamps are unique, so that a client can ask for the events after the last one it saw.
    fn stamp(&mut self) -> u64 {
        let now = clock::unix_ms();
        let is_step = now.saturating_add(STEP_MS) < self.last_ms;
        self.last_ms = if is_step { now } else { now.max(self.last_ms + 1) };
        self.last_ms
    }

    /// A file that cannot be written keeps no event from the others.
    fn write(&mut self, entry: &Entry) {
        match (self.file.append(entry), self.unwritten) {
            (Ok(()), None) => (),
            (Ok(()), Some(lost)) => {
                self.unwritten = None;
                let message = format!("events are written again, {lost} are not in the file");
                log::info!("message={message:?}");
            }
            (Err(err), lost) => {
                if lost.is_none() {
                    let message = format!(
                        "events cannot be written to {} (see autoscaler.state_dir): {err}",
                        self.file.path().display()
                    );
                    log::error!("message={message:?}");
                }
                self.unwritten = Some(lost.unwrap_or(0) + 1);
                self.telemetry.dropped(1);
            }
        }
    }

    /// Sends what webhooks have not been sent yet, within a bound of time.
    pub(crate) fn end(&mut self) {
        webhooks::end(std::mem::take(&mut self.hooks));
    }
}
