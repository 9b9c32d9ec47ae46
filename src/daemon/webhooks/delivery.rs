//! One try of one POST, and what came of it. Errors name the host and never the whole address.

use std::time::Duration;

use crate::model::notification::Webhook;
use crate::net::SystemNet;
use crate::report::notification::WebhookPost;
use crate::report::notification::answer::{self, RawAnswer, WebhookAnswer};

/// How much of an answer is read for its reason.
const ANSWER_BYTES_MAX: u64 = 4096;

/// How `SystemNet` says that the answer is another protocol's.
const NO_HTTP: &str = "the answer is not valid HTTP";

/// The status, if there was an answer, and what it means.
pub(super) fn once(
    net: &SystemNet,
    webhook: &Webhook,
    post: &WebhookPost,
    timeout: Duration,
) -> (Option<u16>, WebhookAnswer) {
    let to = webhook.endpoint.at(post.url.clone());
    let body = (post.content_type, post.body.as_bytes());
    match net.post(&to, body, ANSWER_BYTES_MAX, timeout) {
        Ok(answer) => {
            let raw = RawAnswer {
                status: answer.status,
                retry_after: answer.retry_after,
                body: &answer.body,
            };
            (Some(answer.status), answer::read(&webhook.endpoint, &webhook.format, &raw))
        }
        Err(err) => {
            let mut words = err.to_string();
            if post.url.starts_with("http://") && words.starts_with(NO_HTTP) {
                words = format!("{NO_HTTP}; if the server uses TLS, write https://");
            }
            (None, WebhookAnswer::Failed(words, None))
        }
    }
}
