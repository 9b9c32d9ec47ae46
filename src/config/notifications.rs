//! `notifications`: the webhooks that events are sent to.

use std::time::Duration;

use log::Level;
use serde_json::Value;

use crate::config::cursor::{Node, Section};
use crate::config::endpoint;
use crate::config::values::secret_url;
use crate::model::endpoint::Endpoint;
use crate::model::event::{Kind, is_meant};
use crate::model::notification::{
    BodyTemplate, TemplateContent, TemplateField, TemplatePart, Webhook, WebhookFormat,
};
use crate::model::secret::Secret;
use crate::model::units;

const EVERY: Duration = Duration::from_secs(60);
const EVERY_MAX: Duration = Duration::from_secs(24 * 3600);
const FORMATS: &str =
    "json, slack, discord, teams, ntfy, gotify, telegram, alertmanager or template";

pub(crate) fn notifications(node: Option<Node>) -> Vec<Webhook> {
    let Some(node) = node else { return Vec::new() };
    let nodes = node.list().unwrap_or_default();
    nodes.iter().filter_map(webhook).collect()
}

fn webhook(node: &Node) -> Option<Webhook> {
    let section = node.section()?;
    let url_node = section.need("url", "where events are sent");
    let url = url_node.as_ref().and_then(secret_url);
    let headers = endpoint::headers(section.section("headers"));
    let ca = endpoint::ca_file(&section, url.as_ref().is_some_and(endpoint::is_plain));
    let known = |word: &str| WebhookFormat::WORDS.into_iter().find(|known| *known == word);
    let word = match section.get("format") {
        Some(node) => node.word(FORMATS, known),
        None => Some("json"),
    };
    let events = section.get("events").map(|n| events(&n));
    let min_level = match section.get("min_level") {
        Some(node) => node.word("info, warn or error", level),
        None => Some(Level::Info),
    };
    let every = every(&section, word);
    let chat_id = chat_id(&section, word);
    let template = template(&section, word, &headers);
    if let (Some(node), Some(url), Some(word)) = (&url_node, &url, word) {
        check_url(node, url, word);
    }
    section.done();
    let format = match word? {
        "slack" => WebhookFormat::Slack,
        "discord" => WebhookFormat::Discord,
        "teams" => WebhookFormat::Teams,
        "ntfy" => WebhookFormat::Ntfy,
        "gotify" => WebhookFormat::Gotify,
        "telegram" => WebhookFormat::Telegram { chat_id: chat_id? },
        "alertmanager" => WebhookFormat::Alertmanager,
        "template" => WebhookFormat::Template(template?),
        _ => WebhookFormat::Json,
    };
    let endpoint = Endpoint { url: url?, headers, ca };
    let events = events.unwrap_or(Some(Vec::new()))?;
    Some(Webhook { endpoint, format, events, min_level: min_level?, every: every? })
}

fn level(word: &str) -> Option<Level> {
    match word {
        "info" => Some(Level::Info),
        "warn" => Some(Level::Warn),
        "error" => Some(Level::Error),
        _ => None,
    }
}

/// Programs get each event, people get fewer messages.
fn every(section: &Section, word: Option<&str>) -> Option<Duration> {
    let node = section.get("every");
    if word == Some("alertmanager") {
        if let Some(node) = node {
            node.error("cannot be used with alertmanager, which groups alerts by `group_interval`");
        }
        return Some(Duration::ZERO);
    }
    match node {
        Some(node) => node.duration(Duration::ZERO..=EVERY_MAX),
        None if word == Some("json") => Some(Duration::ZERO),
        None => Some(EVERY),
    }
}

/// A number, or the name of a public channel.
fn chat_id(section: &Section, word: Option<&str>) -> Option<Secret> {
    if word != Some("telegram") {
        reject(section, "chat_id", word, "telegram");
        return None;
    }
    let node = section.need("chat_id", r#"the chat, like -1001234567890 or "@channel""#)?;
    let id = match node.number() {
        Some(number) => Secret::new(number.to_owned()),
        None => node.secret()?,
    };
    let text = id.expose();
    let is_number = text.parse::<i64>().is_ok_and(|id| id != 0);
    let is_name = text.strip_prefix('@').is_some_and(|name| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty()
    });
    if is_number || is_name {
        return Some(id);
    }
    // It may be a token in the wrong place, so the message does not show it.
    node.complain(
        r#"must be the number of a chat, like -1001234567890, or a name like "@channel""#,
    );
    None
}

fn reject(section: &Section, key: &'static str, word: Option<&str>, format: &str) {
    if let (Some(node), Some(word)) = (section.get(key), word) {
        node.error(format!("cannot be used with format {word}, only with {format}"));
    }
}

fn check_url(node: &Node, url: &Secret, word: &str) {
    let path = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        rest.split_once('/').map(|(_, path)| path.trim_end_matches('/').to_owned())
    };
    let path = path(url.expose()).unwrap_or_default();
    let topic = path.rsplit('/').next().unwrap_or_default();
    let is_topic = |text: &str| {
        let is_one = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        (1..=64).contains(&text.len()) && text.bytes().all(is_one)
    };
    match word {
        "ntfy" if !is_topic(topic) => {
            node.error(r#"must end in a topic, like "https://ntfy.sh/my-topic""#);
        }
        "telegram"
            if !path.split('/').any(|part| part.starts_with("bot") && part.contains(':')) =>
        {
            node.error(r#"must be like "https://api.telegram.org/bot${TOKEN}""#);
        }
        _ => (),
    }
}

fn template(
    section: &Section,
    word: Option<&str>,
    headers: &[(String, Secret)],
) -> Option<BodyTemplate> {
    if word != Some("template") {
        reject(section, "template", word, "template");
        return None;
    }
    let node = section.need("template", "the body of each request, with fields like {text}")?;
    let secret = node.secret()?;
    let text = secret.expose();
    if text.trim().is_empty() {
        node.complain("must not be empty");
        return None;
    }
    let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.map(|(_, value)| value.expose());
    let content = TemplateContent::of(content_type, text);
    let parts = parts(text).map_err(|why| node.error(why)).ok()?;
    // A field may be empty, and it may be a word.
    for sample in ["", "a"] {
        if content != TemplateContent::Json {
            break;
        }
        if let Err(err) = serde_json::from_str::<Value>(&filled(&parts, sample)) {
            node.error(format!(
                "is no JSON with its fields filled in (line {}, column {}); put each field in \
                 quotes, or set the header Content-Type",
                err.line(),
                err.column()
            ));
            return None;
        }
    }
    Some(BodyTemplate { parts, content })
}

fn filled(parts: &[TemplatePart], sample: &str) -> String {
    let part = |part: &TemplatePart| match part {
        TemplatePart::Text(text) => text.clone(),
        TemplatePart::Field(_) => sample.to_owned(),
    };
    parts.iter().map(part).collect()
}

/// `{word}` is a field, `{{word}}` is `{word}` itself. Other braces are text, as JSON needs them.
fn parts(text: &str) -> Result<Vec<TemplatePart>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.find('{').map(|at| rest.split_at(at)) {
        plain += before;
        if let Some((word, after)) = from.strip_prefix("{{").and_then(word)
            && let Some(after) = after.strip_prefix('}')
        {
            plain += &format!("{{{word}}}");
            rest = after;
        } else if let Some((word, after)) = from.strip_prefix('{').and_then(word) {
            let field = TemplateField::ALL.iter().find(|field| field.word() == word);
            let field = field.ok_or_else(|| unknown(word))?;
            parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
            parts.push(TemplatePart::Field(*field));
            rest = after;
        } else {
            plain.push('{');
            rest = &from[1..];
        }
    }
    parts.push(TemplatePart::Text(plain + rest));
    Ok(parts)
}

/// A word and its closing brace, and what follows.
fn word(text: &str) -> Option<(&str, &str)> {
    let (word, after) = text.split_once('}')?;
    let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_word.then_some((word, after))
}

fn unknown(word: &str) -> String {
    let words = TemplateField::ALL.iter().map(|field| field.word());
    let all: Vec<&str> = words.clone().collect();
    let near = units::did_you_mean(units::nearest(word, words, 1));
    format!(
        "unknown field {{{word}}}{near}; fields: {}; for the text itself write {{{{{word}}}}}",
        all.join(", ")
    )
}

fn events(node: &Node) -> Option<Vec<String>> {
    let nodes = node.list()?;
    let event = |node: &Node| {
        let pattern = node.text()?;
        if Kind::ALL.iter().any(|kind| is_meant(kind.word(), &pattern)) {
            return Some(pattern.into_owned());
        }
        let kinds = Kind::ALL.iter().filter(|_| node.has_room());
        let near = units::nearest(&pattern, kinds.map(|kind| kind.word()), 3);
        let near = near.map(|word| format!("; did you mean \"{word}\"?"));
        node.error(format!(
            "unknown event kind or pattern {} (patterns look like \"health.*\"){}",
            node.found(),
            near.unwrap_or_default()
        ));
        None
    };
    let events: Vec<String> = nodes.iter().filter_map(event).collect();
    (events.len() == nodes.len()).then_some(events)
}

#[cfg(test)]
mod tests {
    use crate::config::notifications::parts;
    use crate::model::notification::{TemplateContent, TemplatePart};

    /// Fields in brackets.
    fn shown(text: &str) -> Result<String, String> {
        let part = |part: TemplatePart| match part {
            TemplatePart::Text(text) => text,
            TemplatePart::Field(field) => format!("[{}]", field.word()),
        };
        Ok(parts(text)?.into_iter().map(part).collect())
    }

    #[test]
    fn only_a_word_in_braces_is_a_field() {
        for (text, want) in [
            ("", ""),
            ("{text}", "[text]"),
            ("a {service}: {message}!", "a [service]: [message]!"),
            (r#"{"a": {"b": "{kind}"}}"#, r#"{"a": {"b": "[kind]"}}"#),
            ("{{text}}", "{text}"),
            ("{{{text}}}", "{{text}}"),
            ("{ text }{}{", "{ text }{}{"),
            ("{Text}", "{Text}"),
            ("{{a}", "{[a]"),
        ] {
            let want = if text == "{{a}" { Err(()) } else { Ok(want.to_owned()) };
            assert_eq!(shown(text).map_err(drop), want, "{text}");
        }
        let why = shown("{servce}").unwrap_err();
        let start = "unknown field {servce}; did you mean `service`?; fields: text, at, kind, ";
        assert!(why.starts_with(start), "{why}");
        assert!(why.ends_with("since; for the text itself write {{servce}}"), "{why}");
    }

    #[test]
    fn what_a_body_is_decides_the_content_type_else_its_beginning() {
        use TemplateContent::{Form, Json, Text};
        for (content_type, text, want) in [
            (None, r#" {"a": 1}"#, Json),
            (None, "[1]", Json),
            (None, "{text}", Text),
            (None, "{{text}}", Text),
            (None, "[{service}] {text}", Text),
            (None, "[plimsoll] {text}", Text),
            (None, r#"[{"a": "{text}"}]"#, Json),
            (None, "plain", Text),
            (Some("application/json; charset=utf-8"), "{text}", Json),
            (Some("application/vnd.api+JSON"), "x", Json),
            (Some("application/x-www-form-urlencoded"), "{}", Form),
            (Some("text/plain"), r#"{"a": 1}"#, Text),
        ] {
            assert_eq!(TemplateContent::of(content_type, text), want, "{content_type:?} {text}");
        }
    }
}
