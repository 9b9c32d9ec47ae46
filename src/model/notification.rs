//! Webhooks: where events are sent, in which format, and what one message consists of.

use std::fmt;
use std::time::Duration;

use crate::model::endpoint::Endpoint;
use crate::model::event::{Event, is_meant};
use crate::model::secret::Secret;

/// One entry of `notifications`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    pub(crate) endpoint: Endpoint,
    pub(crate) format: WebhookFormat,
    /// Kinds of events, or beginnings that end in `*`; none is all.
    pub(crate) events: Vec<String>,
    /// Events of a lower level are not sent.
    pub(crate) min_level: log::Level,
    /// At most one message for each service and kind in this span. Zero: one for each event.
    pub(crate) every: Duration,
}

impl Webhook {
    /// The end of a condition counts with the level of its beginning, so that both are sent or
    /// neither.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        let level = event.kind.ends(event).unwrap_or(event.kind).level();
        let kind = event.kind.word();
        let is_asked_for =
            self.events.is_empty() || self.events.iter().any(|pattern| is_meant(kind, pattern));
        is_asked_for && level <= self.min_level
    }
}

/// What the receiver expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WebhookFormat {
    /// The event as one JSON object.
    Json,
    /// Also Mattermost's, and Discord's at its path `/slack`.
    Slack,
    Discord,
    /// A workflow of Teams that posts a card.
    Teams,
    Ntfy,
    Gotify,
    Telegram {
        chat_id: Secret,
    },
    /// Version 2 of Alertmanager's API.
    Alertmanager,
    Template(BodyTemplate),
}

impl WebhookFormat {
    pub(crate) const WORDS: [&str; 9] = [
        "json",
        "slack",
        "discord",
        "teams",
        "ntfy",
        "gotify",
        "telegram",
        "alertmanager",
        "template",
    ];

    pub(crate) fn word(&self) -> &'static str {
        match self {
            WebhookFormat::Json => "json",
            WebhookFormat::Slack => "slack",
            WebhookFormat::Discord => "discord",
            WebhookFormat::Teams => "teams",
            WebhookFormat::Ntfy => "ntfy",
            WebhookFormat::Gotify => "gotify",
            WebhookFormat::Telegram { .. } => "telegram",
            WebhookFormat::Alertmanager => "alertmanager",
            WebhookFormat::Template(_) => "template",
        }
    }
}

/// A body with places for fields. Its text may hold a key of the receiver's.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BodyTemplate {
    pub(crate) parts: Vec<TemplatePart>,
    pub(crate) content: TemplateContent,
}

impl fmt::Debug for BodyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum TemplatePart {
    Text(String),
    Field(TemplateField),
}

/// How a field is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TemplateContent {
    /// As a part of a JSON string.
    Json,
    /// As a value of a form (`application/x-www-form-urlencoded`).
    Form,
    /// Not at all.
    Text,
}

impl TemplateContent {
    /// Without a `Content-Type` of its own, a body that begins like JSON is JSON.
    pub(crate) fn of(content_type: Option<&str>, text: &str) -> TemplateContent {
        let Some(content_type) = content_type else {
            let is_json = text.trim_start().starts_with(['{', '[']) && !opens_with_word(text);
            return if is_json { TemplateContent::Json } else { TemplateContent::Text };
        };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        if essence.ends_with("/json") || essence.ends_with("+json") {
            TemplateContent::Json
        } else if essence == "application/x-www-form-urlencoded" {
            TemplateContent::Form
        } else {
            TemplateContent::Text
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            TemplateContent::Json => "application/json",
            TemplateContent::Form => "application/x-www-form-urlencoded",
            TemplateContent::Text => "text/plain; charset=utf-8",
        }
    }
}

/// As `{service} failed` and `[plimsoll] {text}` do, which are no JSON.
fn opens_with_word(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_whitespace() || "[{".contains(c));
    rest.starts_with(|c: char| c.is_alphabetic())
}

macro_rules! template_fields {
    ($($field:ident $word:literal)*) => {
        /// What a template may name in braces.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum TemplateField {
            $($field,)*
        }

        impl TemplateField {
            pub(crate) const ALL: &[TemplateField] = &[$(TemplateField::$field,)*];

            pub(crate) fn word(self) -> &'static str {
                match self {
                    $(TemplateField::$field => $word,)*
                }
            }
        }
    };
}

template_fields! {
    Text "text"
    At "at"
    Kind "kind"
    Level "level"
    Phase "phase"
    Service "service"
    Replica "replica"
    Reason "reason"
    Message "message"
    Log "log"
    From "from"
    To "to"
    More "more"
    Since "since"
}

/// An event on its way to one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) event: Event,
    /// The event as it is stored and served.
    pub(crate) json: String,
    /// Events of the same service and kind that this message stands for as well.
    pub(crate) more: u32,
    /// When the first of those happened, in milliseconds since 1970.
    pub(crate) since_ms: u64,
}

impl Notice {
    pub(crate) fn new(at_ms: u64, event: Event, json: String) -> Notice {
        Notice { at_ms, event, json, more: 0, since_ms: at_ms }
    }
}
