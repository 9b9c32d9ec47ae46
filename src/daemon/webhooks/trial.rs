//! One message to each webhook, sent by `plimsoll notify --test`. Needs no daemon.

use std::thread;
use std::time::Duration;

use crate::clock;
use crate::daemon::host;
use crate::daemon::webhooks::delivery;
use crate::model::event::{Event, Kind};
use crate::model::notification::{Notice, Webhook};
use crate::model::url;
use crate::net::SystemNet;
use crate::report::notification::answer::WebhookAnswer;
use crate::report::notification::{self};
use crate::store::events;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Webhooks that are tried at once.
const AT_ONCE: usize = 8;

/// What one webhook answered.
pub(crate) struct WebhookTrial {
    /// Its place in `notifications`.
    pub(crate) at: usize,
    pub(crate) format: &'static str,
    /// Of its address: the rest may be secret.
    pub(crate) host: String,
    /// The status of the answer, or why it did not take the message.
    pub(crate) result: Result<u16, String>,
}

/// In the order of the config.
pub(crate) fn try_all(webhooks: &[Webhook]) -> Vec<WebhookTrial> {
    let notice = test_notice();
    let notice = &notice;
    let mut results = Vec::new();
    for some in webhooks.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let mut running = Vec::new();
            for webhook in some {
                running.push(scope.spawn(move || one(webhook, notice)));
            }
            let failed = || Err("plimsoll failed; its stderr says more".to_owned());
            results.extend(
                running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())),
            );
        });
    }
    let trial = |(at, (webhook, result)): (usize, (&Webhook, Result<u16, String>))| WebhookTrial {
        at,
        format: webhook.format.word(),
        host: url::host(webhook.endpoint.url.expose()).to_owned(),
        result,
    };
    webhooks.iter().zip(results).enumerate().map(trial).collect()
}

fn one(webhook: &Webhook, notice: &Notice) -> Result<u16, String> {
    let post = notification::post(webhook, notice, None);
    match delivery::once(&SystemNet::new(), webhook, &post, TIMEOUT) {
        (status, WebhookAnswer::Taken) => Ok(status.unwrap_or_default()),
        (_, WebhookAnswer::Refused(why) | WebhookAnswer::Failed(why, _)) => Err(why),
    }
}

fn test_notice() -> Notice {
    let host = host::name().map(|name| format!(" on {name}")).unwrap_or_default();
    let message = format!("sent by `plimsoll notify --test`{host}");
    let event = Event::new(Kind::WebhookTest, message);
    let at_ms = clock::unix_ms();
    let json = events::entry(at_ms, &event).json;
    Notice::new(at_ms, event, json)
}
