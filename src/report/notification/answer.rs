//! What a receiver's answer means, and its reason in words that hold no secret.

use std::time::Duration;

use serde_json::Value;

use crate::model::endpoint::Endpoint;
use crate::model::notification::{BodyTemplate, TemplatePart, WebhookFormat};
use crate::model::terminal;

/// Characters of an answer that are shown.
const REASON_CHARS_MAX: usize = 200;
/// Shorter parts of an address are words, not keys.
const KEY_BYTES_MIN: usize = 8;
/// The longest pause that a receiver may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WebhookAnswer {
    Taken,
    /// A retry would be refused again.
    Refused(String),
    /// A retry may succeed, not before this pause is over.
    Failed(String, Option<Duration>),
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct RawAnswer<'a> {
    pub(crate) status: u16,
    /// The header `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    /// As much as was read of it.
    pub(crate) body: &'a [u8],
}

pub(crate) fn read(to: &Endpoint, format: &WebhookFormat, raw: &RawAnswer) -> WebhookAnswer {
    let mut secrets = secrets(to);
    if let WebhookFormat::Template(template) = format {
        secrets.extend(keys(template));
    }
    let text = String::from_utf8_lossy(raw.body);
    let json = serde_json::from_str::<Value>(&text).ok();
    let is_ok = json.as_ref().and_then(|json| json.get("ok")).and_then(Value::as_bool);
    let reason = shown(secrets, &reason(&text, json.as_ref()));
    let status = raw.status;
    let words = match reason.as_str() {
        "" => format!("it answered {status}"),
        reason => format!("it answered {status} ({reason})"),
    };
    match (status, format) {
        (200..=299, WebhookFormat::Telegram { .. } | WebhookFormat::Slack)
            if is_ok == Some(false) =>
        {
            WebhookAnswer::Refused(words)
        }
        // A connector answers 200 though Teams refused the message.
        (200..=299, WebhookFormat::Teams) if text.contains("delivery failed") => {
            WebhookAnswer::Failed(words, None)
        }
        (200..=299, _) => WebhookAnswer::Taken,
        // Not in time, too many at once: that may be otherwise soon.
        (408 | 429 | 500..=599, _) => {
            WebhookAnswer::Failed(words, pause(raw.retry_after, json.as_ref()))
        }
        (300..=399, _) => {
            let hint = "redirects are not followed; write the address that it leads to";
            WebhookAnswer::Refused(format!("it answered {status}: {hint}"))
        }
        // With the other formats the key is a part of the path.
        (401 | 403, WebhookFormat::Gotify | WebhookFormat::Ntfy | WebhookFormat::Alertmanager)
            if !has_credentials(to) =>
        {
            let hint = "is a key missing in `headers` or in the url?";
            WebhookAnswer::Refused(format!("{words}; {hint}"))
        }
        _ => WebhookAnswer::Refused(words),
    }
}

fn has_credentials(to: &Endpoint) -> bool {
    !to.headers.is_empty() || to.url.expose().contains(['@', '?'])
}

/// Seconds, by the header or by the bodies of Discord and Telegram.
fn pause(header: Option<Duration>, body: Option<&Value>) -> Option<Duration> {
    let of_body = body.and_then(|body| {
        let direct = body.get("retry_after");
        direct.or_else(|| body.pointer("/parameters/retry_after")).and_then(Value::as_f64)
    });
    let of_body = of_body.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let span = of_body.or(header)?;
    (!span.is_zero()).then(|| span.min(PAUSE_MAX))
}

/// What the receiver says itself. A page of HTML is of no use.
fn reason(text: &str, json: Option<&Value>) -> String {
    match json {
        Some(Value::String(text)) => text.clone(),
        Some(json) => {
            let found = ["/description", "/errorDescription", "/error/message", "/message"];
            let found = found.iter().chain(&["/error"]).find_map(|at| json.pointer(at)?.as_str());
            found.map_or_else(|| json.to_string(), str::to_owned)
        }
        None if text.trim_start().starts_with('<') => String::new(),
        None => text.to_owned(),
    }
}

/// On one line, cut, and without what the address and the headers keep secret: a receiver may
/// repeat them.
fn shown(mut secrets: Vec<String>, text: &str) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        text = text.replace(&secret, "***");
    }
    let plain: String = text.chars().filter(|c| terminal::is_plain(*c)).collect();
    match plain.char_indices().nth(REASON_CHARS_MAX) {
        Some((at, _)) => format!("{}…", plain.get(..at).unwrap_or_default()),
        None => plain,
    }
}

fn secrets(to: &Endpoint) -> Vec<String> {
    let url = to.url.expose();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, _) = place.rsplit_once('@').unwrap_or_default();
    // Of Telegram's `bot1:KEY`, the key alone too.
    let parts = path.split(['/', '?', '&', '=', '#']);
    let parts = parts.flat_map(|part| part.split(':').chain([part])).chain(user.split(':'));
    let parts = parts.filter(|part| KEY_BYTES_MIN <= part.len() && *part != "sendMessage");
    // Of `Bearer KEY`, the key alone too.
    let values = to.headers.iter().map(|(_, value)| value.expose());
    let values = values.flat_map(|value| [value, value.rsplit(' ').next().unwrap_or_default()]);
    let values = values.filter(|value| 4 <= value.len());
    let whole = Some(url).into_iter().chain((1 < path.len()).then_some(path));
    whole.chain(parts).chain(values).map(str::to_owned).collect()
}

/// What may be a key in the text of a template: it is long, and no word.
fn keys(template: &BodyTemplate) -> Vec<String> {
    let text = |part: &TemplatePart| match part {
        TemplatePart::Text(text) => text.clone(),
        TemplatePart::Field(_) => " ".to_owned(),
    };
    let text: String = template.parts.iter().map(text).collect();
    let is_key = |part: &&str| {
        KEY_BYTES_MIN <= part.len() && part.contains(|c: char| !c.is_ascii_lowercase())
    };
    let parts = text.split(|c: char| !c.is_alphanumeric() && !"-_.:+/=".contains(c));
    parts.filter(is_key).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::endpoint::Endpoint;
    use crate::model::notification::{BodyTemplate, TemplateContent, TemplatePart, WebhookFormat};
    use crate::model::secret::Secret;
    use crate::report::notification::answer::{RawAnswer, WebhookAnswer, read};

    fn telegram() -> WebhookFormat {
        WebhookFormat::Telegram { chat_id: Secret::new("1".to_owned()) }
    }

    fn taken() -> WebhookAnswer {
        WebhookAnswer::Taken
    }

    fn refused(words: &str) -> WebhookAnswer {
        WebhookAnswer::Refused(words.to_owned())
    }

    fn failed(words: &str, ms: Option<u64>) -> WebhookAnswer {
        WebhookAnswer::Failed(words.to_owned(), ms.map(Duration::from_millis))
    }

    #[track_caller]
    fn check(format: &WebhookFormat, raw: (u16, Option<u64>, &str), want: &WebhookAnswer) {
        let to = Endpoint::new("https://chat.example/bot123456:ABCDEF/?token=s3cretkey");
        let (status, retry_after, body) = raw;
        let retry_after = retry_after.map(Duration::from_secs);
        let raw = RawAnswer { status, retry_after, body: body.as_bytes() };
        assert_eq!(read(&to, format, &raw), *want, "{body}");
    }

    #[test]
    fn each_provider_is_read_as_it_answers() {
        check(&WebhookFormat::Slack, (200, None, "ok"), &taken());
        check(&WebhookFormat::Slack, (404, None, "no_team"), &refused("it answered 404 (no_team)"));
        check(&WebhookFormat::Slack, (429, Some(7), ""), &failed("it answered 429", Some(7000)));
        check(&WebhookFormat::Discord, (204, None, ""), &taken());
        let limited = r#"{"message":"You are being rate limited.","retry_after":0.376}"#;
        let words = "it answered 429 (You are being rate limited.)";
        check(&WebhookFormat::Discord, (429, Some(1), limited), &failed(words, Some(376)));
        let long = r#"{"content":["Must be 2000 or fewer in length."]}"#;
        let words = refused(&format!("it answered 400 ({long})"));
        check(&WebhookFormat::Discord, (400, None, long), &words);
        check(&WebhookFormat::Teams, (202, None, ""), &taken());
        let old = "Webhook message delivery failed with error: 413";
        let words = failed(&format!("it answered 200 ({old})"), None);
        check(&WebhookFormat::Teams, (200, None, old), &words);
        let good = r#"{"ok":true,"result":{}}"#;
        check(&telegram(), (200, None, good), &taken());
        let no = r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#;
        let words = refused("it answered 400 (Bad Request: chat not found)");
        check(&telegram(), (400, None, no), &words);
        let words = refused("it answered 200 (Bad Request: chat not found)");
        check(&telegram(), (200, None, no), &words);
        let limited = r#"{"ok":false,"description":"Too Many","parameters":{"retry_after":5}}"#;
        check(&telegram(), (429, None, limited), &failed("it answered 429 (Too Many)", Some(5000)));
        let ntfy = r#"{"code":40301,"http":403,"error":"forbidden","link":"x"}"#;
        check(&WebhookFormat::Ntfy, (403, None, ntfy), &refused("it answered 403 (forbidden)"));
        let gotify = r#"{"error":"Unauthorized","errorCode":401,"errorDescription":"no token"}"#;
        check(&WebhookFormat::Gotify, (401, None, gotify), &refused("it answered 401 (no token)"));
        let alerts = r#""bad end time""#;
        let words = refused("it answered 400 (bad end time)");
        check(&WebhookFormat::Alertmanager, (400, None, alerts), &words);
    }

    #[test]
    fn what_may_be_otherwise_soon_is_tried_again_within_bounds() {
        let json = &WebhookFormat::Json;
        for (status, retry_after, want) in [
            (407, None, refused("it answered 407")),
            (408, None, failed("it answered 408", None)),
            (409, None, refused("it answered 409")),
            (499, None, refused("it answered 499")),
            (500, None, failed("it answered 500", None)),
            (503, Some(300), failed("it answered 503", Some(300_000))),
            (503, Some(301), failed("it answered 503", Some(300_000))),
            (429, Some(0), failed("it answered 429", None)),
            (429, Some(u64::MAX), failed("it answered 429", Some(300_000))),
        ] {
            check(json, (status, retry_after, ""), &want);
        }
        let moved = "it answered 301: redirects are not followed; write the address that it \
                     leads to";
        check(json, (301, None, "<html>"), &refused(moved));
    }

    #[test]
    fn a_receiver_that_repeats_a_secret_or_writes_much_is_shown_without() {
        let json = &WebhookFormat::Json;
        let path = "/bot123456:ABCDEF/?token=s3cretkey";
        let page = format!("no {path}, nor bot123456:ABCDEF nor s3cretkey\n\u{1b}[31m");
        check(json, (404, None, &page), &refused("it answered 404 (no ***, nor *** nor *** [31m)"));
        check(json, (404, None, "<html>s3cretkey</html>"), &refused("it answered 404"));
        let long = "x".repeat(201);
        let cut = format!("it answered 404 ({}…)", "x".repeat(200));
        check(json, (404, None, &long), &refused(&cut));
        let to = Endpoint {
            headers: vec![("Authorization".to_owned(), Secret::new("Bearer tk_1".to_owned()))],
            ..Endpoint::new("http://a/b")
        };
        let raw = RawAnswer { status: 403, retry_after: None, body: b"not tk_1 nor Bearer tk_1" };
        assert_eq!(read(&to, json, &raw), refused("it answered 403 (not *** nor ***)"));
    }

    #[test]
    fn a_key_in_a_template_is_not_shown_either() {
        let text = r#"{"routing_key":"R0UTINGKEY1","event":"trigger"}"#.to_owned();
        let parts = vec![TemplatePart::Text(text)];
        let template = BodyTemplate { parts, content: TemplateContent::Json };
        let format = WebhookFormat::Template(template);
        let body = b"bad R0UTINGKEY1 of the trigger";
        let raw = RawAnswer { status: 400, retry_after: None, body };
        let want = refused("it answered 400 (bad *** of the trigger)");
        assert_eq!(read(&Endpoint::new("http://a/b"), &format, &raw), want);
    }

    #[test]
    fn a_missing_key_is_asked_for() {
        let raw = RawAnswer { status: 401, retry_after: None, body: b"" };
        let hint = refused("it answered 401; is a key missing in `headers` or in the url?");
        assert_eq!(read(&Endpoint::new("http://a/message"), &WebhookFormat::Gotify, &raw), hint);
        let wrong = refused("it answered 401");
        assert_eq!(read(&Endpoint::new("http://a/bot1:A"), &telegram(), &raw), wrong);
    }
}
