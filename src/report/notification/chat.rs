//! Messages of chats: Slack, Discord, Teams, Telegram. What a container logged mentions nobody,
//! formats nothing and links to nothing under another name.

use serde_json::{Value, json};

use crate::model::notification::Notice;
use crate::report::notification::sentence::{EscapeChar, bytes, fitted, text, unescaped, utf16};

/// Slack recommends at most so many characters; Mattermost takes 16,383.
const SLACK_MAX: usize = 4000;
const DISCORD_MAX: usize = 2000;
const TELEGRAM_MAX: usize = 4096;
/// Teams takes a message of 28 KB, with everything around the text.
const TEAMS_BYTES_MAX: usize = 16 << 10;
/// Without width: between two characters that would mean something together.
const APART: char = '\u{200b}';

pub(super) fn slack(notice: &Notice) -> Value {
    let text = fitted(&text(notice), escape_slack as EscapeChar, SLACK_MAX, utf16);
    // Mattermost and Discord ignore `mrkdwn`; Mattermost mentions without any brackets.
    json!({ "text": text, "mrkdwn": false })
}

fn escape_slack(before: Option<char>, c: char, after: Option<char>) -> String {
    match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        _ => apart(before, c, after),
    }
}

pub(super) fn discord(notice: &Notice) -> Value {
    /// `SUPPRESS_EMBEDS`: no previews of links.
    const FLAGS: u32 = 4;
    let content = fitted(&text(notice), escape_discord, DISCORD_MAX, utf16);
    json!({ "content": content, "allowed_mentions": { "parse": [] }, "flags": FLAGS })
}

fn escape_discord(_: Option<char>, c: char, _: Option<char>) -> String {
    if "\\*_~`|<>[]#@".contains(c) { format!("\\{c}") } else { c.to_string() }
}

pub(super) fn teams(notice: &Notice) -> Value {
    let text = fitted(&text(notice), escape_teams, TEAMS_BYTES_MAX, bytes);
    // A text run is shown as it is, unlike a text block, which is Markdown.
    let body = json!([{
        "type": "RichTextBlock",
        "inlines": [{ "type": "TextRun", "text": text }],
    }]);
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "msteams": { "width": "Full" },
                "body": body,
            },
        }],
    })
}

/// `{{DATE(...)}}` is a function of cards.
fn escape_teams(_: Option<char>, c: char, after: Option<char>) -> String {
    if c == '{' && after == Some('{') { format!("{c}{APART}") } else { c.to_string() }
}

pub(super) fn telegram(notice: &Notice, chat_id: &str) -> Value {
    let text = fitted(&text(notice), apart, TELEGRAM_MAX, utf16);
    let chat_id = chat_id.parse::<i64>().map_or_else(|_| json!(chat_id), |number| json!(number));
    // Without `parse_mode` nothing in the text is markup.
    json!({
        "chat_id": chat_id,
        "text": text,
        "link_preview_options": { "is_disabled": true },
    })
}

/// Keeps apart what would mention somebody, as `@channel` does but `me@example.com` does not, and
/// what would be a link with a text of its own.
fn apart(before: Option<char>, c: char, after: Option<char>) -> String {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    if (c == '@' && !is_word(before) && is_word(after)) || (c == ']' && after == Some('(')) {
        return format!("{c}{APART}");
    }
    unescaped(before, c, after)
}
