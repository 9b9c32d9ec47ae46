//! Notices to requests: the address, the content type and the body that each format sends. Pure.

pub(crate) mod alertmanager;
pub(crate) mod answer;
mod chat;
mod push;
mod sentence;
mod template;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::model::notification::{Notice, Webhook, WebhookFormat};
use crate::model::time::wall_of_ms;
use crate::report::notification::chat::{discord, slack, teams, telegram};
use crate::report::notification::push::{gotify, ntfy};

const JSON: &str = "application/json";

/// One POST, without the headers of the config.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WebhookPost {
    pub(crate) url: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// `started_ms`: when the condition began that stands or ends, if that is known.
pub(crate) fn post(webhook: &Webhook, notice: &Notice, started_ms: Option<u64>) -> WebhookPost {
    let url = address(&webhook.format, webhook.endpoint.url.expose());
    let body = match &webhook.format {
        WebhookFormat::Json => {
            return WebhookPost { url, content_type: JSON, body: json_of(notice) };
        }
        WebhookFormat::Template(template) => {
            let content_type = template.content.content_type();
            return WebhookPost { url, content_type, body: template::fill(template, notice) };
        }
        WebhookFormat::Slack => slack(notice),
        WebhookFormat::Discord => discord(notice),
        WebhookFormat::Teams => teams(notice),
        WebhookFormat::Telegram { chat_id } => telegram(notice, chat_id.expose()),
        WebhookFormat::Ntfy => ntfy(notice, topic(webhook.endpoint.url.expose()).unwrap_or("")),
        WebhookFormat::Gotify => gotify(notice),
        WebhookFormat::Alertmanager => json!([alertmanager::alert(notice, started_ms)]),
    };
    WebhookPost { url, content_type: JSON, body: body.to_string() }
}

/// The body that `StandingAlerts` made.
pub(crate) fn again(webhook: &Webhook, body: String) -> WebhookPost {
    let url = address(&webhook.format, webhook.endpoint.url.expose());
    WebhookPost { url, content_type: JSON, body }
}

/// As stored and served; with two more keys if it stands for more than one event.
fn json_of(notice: &Notice) -> String {
    let more = (0 < notice.more).then(|| serde_json::from_str::<Value>(&notice.json).ok());
    let Some(Some(mut json)) = more else { return notice.json.clone() };
    json["more"] = json!(notice.more);
    json["since"] = json!(wall_of_ms(notice.since_ms).to_string());
    json.to_string()
}

/// Where a format's requests go, from the address that people copy for it.
pub(crate) fn address(format: &WebhookFormat, url: &str) -> String {
    match format {
        WebhookFormat::Json
        | WebhookFormat::Slack
        | WebhookFormat::Discord
        | WebhookFormat::Teams
        | WebhookFormat::Template(_) => url.to_owned(),
        WebhookFormat::Gotify => below(url, "/message"),
        WebhookFormat::Telegram { .. } => below(url, "/sendMessage"),
        WebhookFormat::Alertmanager => below(url, "/api/v2/alerts"),
        // JSON is published at the server's root; the topic is a part of it.
        WebhookFormat::Ntfy => {
            let (path, query) = split_query(url);
            let path = path.trim_end_matches('/');
            let root = path.rsplit_once('/').map_or(path, |(root, _)| root);
            format!("{root}/{query}")
        }
    }
}

/// Adds the path of the API unless it is there.
fn below(url: &str, api: &str) -> String {
    let (path, query) = split_query(url);
    let path = path.trim_end_matches('/');
    if path.ends_with(api) { format!("{path}{query}") } else { format!("{path}{api}{query}") }
}

fn split_query(url: &str) -> (&str, &str) {
    let url = url.split('#').next().unwrap_or_default();
    url.split_at(url.find('?').unwrap_or(url.len()))
}

/// The topic of an address of ntfy's: the last segment of its path.
pub(crate) fn topic(url: &str) -> Option<&str> {
    let (path, _) = split_query(url);
    let (_, rest) = path.split_once("://")?;
    let (_, topic) = rest.trim_end_matches('/').rsplit_once('/')?;
    let is_one = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    ((1..=64).contains(&topic.len()) && topic.bytes().all(is_one)).then_some(topic)
}
