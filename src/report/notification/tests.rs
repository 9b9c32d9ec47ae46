//! Each format's request against what its receiver has published: required keys, types, limits.

use std::time::Duration;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use crate::model::endpoint::Endpoint;
use crate::model::event::{Event, Kind};
use crate::model::notification::{
    BodyTemplate, Notice, TemplateContent, TemplateField, TemplatePart, Webhook, WebhookFormat,
};
use crate::model::secret::Secret;
use crate::report::notification::{WebhookPost, address, post, topic};

const AT: u64 = 1_795_662_000_000;
/// What a container may log.
const EVIL: &str = "@everyone <!channel> <@U1> a_b_c *x* [x](http://e/) & {{DATE(1)}} naïve 😀";

fn telegram() -> WebhookFormat {
    WebhookFormat::Telegram { chat_id: Secret::new("-1001234567890".to_owned()) }
}

fn webhook(format: WebhookFormat) -> Webhook {
    let url = match &format {
        WebhookFormat::Ntfy => "https://ntfy.example/plimsoll-1",
        WebhookFormat::Telegram { .. } => "https://api.telegram.org/bot1:A",
        _ => "https://a.example/hook",
    };
    Webhook {
        endpoint: Endpoint::new(url),
        format,
        events: Vec::new(),
        min_level: log::Level::Info,
        every: Duration::ZERO,
    }
}

fn notice(event: Event) -> Notice {
    Notice::new(AT, event, r#"{"kind":"x"}"#.to_owned())
}

fn exited(log: &str) -> Notice {
    let message = format!("exit code 137; its last log lines:\nfirst line\n{log}");
    notice(Event::new(Kind::ReplicaExited, message).service("web").replica("web-2".to_owned()))
}

fn capped() -> Notice {
    let words = "a replica needs 512 MiB; only 90 MiB is free above memory_reserve";
    notice(Event::new(Kind::ScaleCapped, words).service("web"))
}

fn uncapped() -> Notice {
    notice(Event::resolved(Kind::ScaleCapped, "the host has memory for more").service("web"))
}

fn sent(format: WebhookFormat, notice: &Notice) -> Value {
    let WebhookPost { body, content_type, .. } = post(&webhook(format), notice, None);
    assert_eq!(content_type, "application/json");
    serde_json::from_str(&body).unwrap()
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn text(max: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": max })
}

/// Of the published description of each request: what is required, and of which type.
fn schema(format: &WebhookFormat) -> Value {
    match format {
        WebhookFormat::Slack => {
            object(&["text"], &json!({ "text": text(40_000), "mrkdwn": { "type": "boolean" } }))
        }
        WebhookFormat::Discord => {
            let kinds = json!({ "enum": ["roles", "users", "everyone"] });
            let parse = json!({ "type": "array", "items": kinds });
            let mentions = object(&["parse"], &json!({ "parse": parse }));
            let flags = json!({ "type": "integer" });
            let keys =
                json!({ "content": text(2000), "flags": flags, "allowed_mentions": mentions });
            object(&["content"], &keys)
        }
        WebhookFormat::Teams => schema_of_teams(),
        WebhookFormat::Ntfy => {
            let texts = json!({ "type": "array", "items": { "type": "string" } });
            let keys = json!({
                "topic": { "type": "string", "pattern": "^[-_A-Za-z0-9]{1,64}$" },
                "title": { "type": "string" },
                "message": { "type": "string" },
                "priority": { "type": "integer", "minimum": 1, "maximum": 5 },
                "tags": texts,
            });
            object(&["topic"], &keys)
        }
        WebhookFormat::Gotify => {
            let priority = json!({ "type": "integer", "minimum": 0, "maximum": 10 });
            let message = text(1 << 20);
            let keys = json!({ "title": text(250), "message": message, "priority": priority });
            object(&["message"], &keys)
        }
        WebhookFormat::Telegram { .. } => {
            let preview = object(&[], &json!({ "is_disabled": { "type": "boolean" } }));
            let keys = json!({
                "chat_id": { "type": ["integer", "string"] },
                "text": text(4096),
                "link_preview_options": preview,
            });
            object(&["chat_id", "text"], &keys)
        }
        WebhookFormat::Alertmanager => schema_of_alerts(),
        WebhookFormat::Json | WebhookFormat::Template(_) => json!(true),
    }
}

fn schema_of_teams() -> Value {
    let kind = |word: &str| json!({ "const": word });
    let some = |item: &Value| json!({ "type": "array", "minItems": 1, "items": item });
    let keys = json!({ "type": kind("TextRun"), "text": { "type": "string" } });
    let run = object(&["type", "text"], &keys);
    let keys = json!({ "type": kind("RichTextBlock"), "inlines": some(&run) });
    let block = object(&["type", "inlines"], &keys);
    let keys = json!({
        "$schema": kind("http://adaptivecards.io/schemas/adaptive-card.json"),
        "type": kind("AdaptiveCard"),
        // Text runs came with 1.2.
        "version": { "enum": ["1.2", "1.3", "1.4", "1.5"] },
        "msteams": { "type": "object" },
        "body": some(&block),
    });
    let card = object(&["type", "version", "body"], &keys);
    let keys = json!({
        "contentType": kind("application/vnd.microsoft.card.adaptive"),
        "contentUrl": { "type": "null" },
        "content": card,
    });
    let attachment = object(&["contentType", "content"], &keys);
    let keys = json!({ "type": kind("message"), "attachments": some(&attachment) });
    object(&["type", "attachments"], &keys)
}

fn schema_of_alerts() -> Value {
    let set = json!({
        "type": "object",
        "propertyNames": { "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$" },
        "additionalProperties": { "type": "string", "minLength": 1 },
    });
    let pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$";
    let time = json!({ "type": "string", "pattern": pattern });
    let keys = json!({ "labels": set, "annotations": set, "startsAt": time, "endsAt": time });
    json!({ "type": "array", "minItems": 1, "items": object(&["labels"], &keys) })
}

fn formats() -> [WebhookFormat; 7] {
    [
        WebhookFormat::Slack,
        WebhookFormat::Discord,
        WebhookFormat::Teams,
        WebhookFormat::Ntfy,
        WebhookFormat::Gotify,
        telegram(),
        WebhookFormat::Alertmanager,
    ]
}

#[test]
fn every_request_is_one_that_its_receiver_documents() {
    let long = "ä😀_".repeat(3000);
    let all = Kind::ALL.iter().map(|kind| notice(Event::new(*kind, "why").service("web")));
    let notices: Vec<Notice> =
        [exited(EVIL), exited(&long), capped(), uncapped()].into_iter().chain(all).collect();
    for format in formats() {
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler.add_resource("http://plimsoll/body", schema(&format)).unwrap();
        let index = compiler.compile("http://plimsoll/body", &mut schemas).unwrap();
        for notice in &notices {
            let body = sent(format.clone(), notice);
            let valid = schemas.validate(&body, index).map_err(|err| err.to_string());
            assert_eq!(valid, Ok(()), "{} {body}", format.word());
        }
        // The check can fail.
        assert!(schemas.validate(&json!({ "x": 1 }), index).is_err(), "{}", format.word());
    }
}

/// The text that a person reads.
fn text_of(format: &WebhookFormat, body: &Value) -> String {
    let at = match format {
        WebhookFormat::Slack | WebhookFormat::Telegram { .. } => "/text",
        WebhookFormat::Discord => "/content",
        WebhookFormat::Teams => "/attachments/0/content/body/0/inlines/0/text",
        WebhookFormat::Ntfy | WebhookFormat::Gotify => "/message",
        WebhookFormat::Alertmanager => "/0/annotations/summary",
        WebhookFormat::Json | WebhookFormat::Template(_) => "",
    };
    body.pointer(at).and_then(Value::as_str).unwrap().to_owned()
}

#[test]
fn a_message_is_one_sentence_with_the_reason_and_the_last_log_line() {
    let mut several = exited("boom");
    several.more = 4;
    several.since_ms = AT - 90_000;
    let scaled = Event {
        change: Some((2, 3)),
        reason: Some("above_band"),
        ..Event::new(Kind::ScaleUp, "cpu 82% >= 70%").service("web")
    };
    for (notice, want) in [
        (exited("boom"), "web-2 ended: exit code 137; its last log line: boom"),
        (
            several,
            "web-2 ended: exit code 137 (and 4 more since 02:58 UTC); its last log line: boom",
        ),
        (
            capped(),
            "web gets no more replicas: a replica needs 512 MiB; only 90 MiB is free above \
             memory_reserve",
        ),
        (uncapped(), "resolved (web gets no more replicas): the host has memory for more"),
        (notice(scaled), "web scales up from 2 to 3: cpu 82% >= 70%"),
        (notice(Event::new(Kind::DockerBack, "")), "Docker answers again"),
        (
            notice(Event::new(Kind::DockerLost, "cannot\nreach it")),
            "Docker does not answer: cannot reach it",
        ),
    ] {
        for format in [WebhookFormat::Ntfy, WebhookFormat::Teams, WebhookFormat::Alertmanager] {
            assert_eq!(text_of(&format, &sent(format.clone(), &notice)), want);
        }
    }
}

#[test]
fn what_a_container_logs_mentions_nobody_and_formats_nothing() {
    let start = "web-2 ended: exit code 137; its last log line: ";
    let shown = |format: WebhookFormat| {
        let body = sent(format.clone(), &exited(EVIL));
        let text = text_of(&format, &body);
        text.strip_prefix(start).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert_eq!(
        shown(WebhookFormat::Slack),
        "@\u{200b}everyone &lt;!channel&gt; &lt;@\u{200b}U1&gt; a_b_c *x* \
         [x]\u{200b}(http://e/) &amp; {{DATE(1)}} naïve 😀"
    );
    let discord = shown_discord(start);
    assert_eq!(
        discord,
        r"\@everyone \<!channel\> \<\@U1\> a\_b\_c \*x\* \[x\](http://e/) & {{DATE(1)}} naïve 😀"
    );
    assert!(shown(WebhookFormat::Teams).contains("{\u{200b}{DATE(1)}}"));
    assert!(shown(telegram()).starts_with("@\u{200b}everyone <!channel>"));
    for plain in [WebhookFormat::Ntfy, WebhookFormat::Gotify, WebhookFormat::Alertmanager] {
        assert_eq!(shown(plain), EVIL);
    }
    // An address of mail is no mention.
    let mail = sent(WebhookFormat::Slack, &exited("to me@example.com: @here"));
    let text = text_of(&WebhookFormat::Slack, &mail);
    assert!(text.ends_with("to me@example.com: @\u{200b}here"), "{text}");
}

fn shown_discord(start: &str) -> String {
    let body = sent(WebhookFormat::Discord, &exited(EVIL));
    assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
    let text = text_of(&WebhookFormat::Discord, &body);
    text.strip_prefix(start).unwrap().to_owned()
}

#[test]
fn a_long_message_is_cut_and_stays_whole_until_the_limit() {
    let start = "web-2 ended: exit code 137; its last log line: ".len();
    for (format, max) in [
        (WebhookFormat::Discord, 2000),
        (telegram(), 4096),
        (WebhookFormat::Slack, 4000),
        (WebhookFormat::Ntfy, 4096),
    ] {
        let most = "x".repeat(max - start);
        let text = text_of(&format, &sent(format.clone(), &exited(&most)));
        assert!(text.ends_with('x') && text.len() == max, "{}: {}", format.word(), text.len());
        let text = text_of(&format, &sent(format.clone(), &exited(&format!("{most}x"))));
        assert!(text.ends_with("x…"), "{}: {text}", format.word());
    }
    let text =
        text_of(&WebhookFormat::Ntfy, &sent(WebhookFormat::Ntfy, &exited(&"é".repeat(5000))));
    assert!(text.len() <= 4096, "{} bytes", text.len());
}

#[test]
fn urgency_is_that_of_the_event() {
    let of = |event: Event| {
        let ntfy = sent(WebhookFormat::Ntfy, &notice(event.clone()));
        let gotify = sent(WebhookFormat::Gotify, &notice(event));
        (ntfy["priority"].clone(), ntfy["tags"][0].clone(), gotify["priority"].clone())
    };
    for (event, want) in [
        (Event::new(Kind::DockerLost, ""), (4, "rotating_light", 8)),
        (Event::new(Kind::DockerBack, ""), (3, "white_check_mark", 4)),
        (Event::new(Kind::CrashLoop, ""), (3, "warning", 5)),
        (Event::resolved(Kind::CrashLoop, ""), (3, "white_check_mark", 4)),
        (Event::new(Kind::ScaleUp, ""), (2, "information_source", 2)),
    ] {
        assert_eq!(of(event), (want.0.into(), want.1.into(), want.2.into()));
    }
}

#[test]
fn the_end_of_a_condition_is_sent_to_whom_its_beginning_was() {
    let wants = |min_level, event: &Event| {
        Webhook { min_level, ..webhook(WebhookFormat::Slack) }.wants(event)
    };
    for (event, warn, error) in [
        (Event::new(Kind::ScaleUp, ""), false, false),
        (Event::new(Kind::ScaleCapped, ""), true, false),
        (Event::resolved(Kind::ScaleCapped, ""), true, false),
        (Event::new(Kind::DockerLost, ""), true, true),
        (Event::new(Kind::DockerBack, ""), true, true),
        (Event::new(Kind::MetricRecovered, ""), true, false),
        (Event::new(Kind::HealthReplaced, ""), false, false),
        // Every reload has it, most after nothing that was wrong.
        (Event::new(Kind::ConfigReloaded, ""), false, false),
    ] {
        assert!(wants(log::Level::Info, &event), "{event:?}");
        assert_eq!(wants(log::Level::Warn, &event), warn, "{event:?}");
        assert_eq!(wants(log::Level::Error, &event), error, "{event:?}");
    }
}

#[test]
fn json_is_as_it_is_stored_unless_it_stands_for_several() {
    let mut several = notice(Event::new(Kind::ScaleUp, ""));
    let body = |notice: &Notice| post(&webhook(WebhookFormat::Json), notice, None).body;
    assert_eq!(body(&several), r#"{"kind":"x"}"#);
    several.more = 2;
    assert_eq!(body(&several), r#"{"kind":"x","more":2,"since":"2026-11-26T03:00:00Z"}"#);
}

#[test]
fn a_template_is_escaped_as_its_content_needs() {
    let field = |field| vec![TemplatePart::Text("<".to_owned()), TemplatePart::Field(field)];
    let body = |content, part| {
        let template = BodyTemplate { parts: field(part), content };
        let format = WebhookFormat::Template(template);
        post(&webhook(format), &exited("say \"hi\"\\ & é"), None).body
    };
    let log = TemplateField::Log;
    assert_eq!(body(TemplateContent::Json, log), "<say \\\"hi\\\"\\\\ & é");
    assert_eq!(body(TemplateContent::Form, log), "<say%20%22hi%22%5C%20%26%20%C3%A9");
    assert_eq!(body(TemplateContent::Text, log), "<say \"hi\"\\ & é");
    for (part, want) in [
        (TemplateField::At, "<2026-11-26T03:00:00Z"),
        (TemplateField::Kind, "<replica.exited"),
        (TemplateField::Level, "<warn"),
        (TemplateField::Phase, "<started"),
        (TemplateField::Service, "<web"),
        (TemplateField::Replica, "<web-2"),
        (TemplateField::Reason, "<"),
        (TemplateField::Message, "<exit code 137"),
        (TemplateField::From, "<"),
        (TemplateField::To, "<"),
        (TemplateField::More, "<0"),
        (TemplateField::Since, "<2026-11-26T03:00:00Z"),
    ] {
        assert_eq!(body(TemplateContent::Text, part), want);
    }
}

#[test]
fn an_address_is_taken_as_people_copy_it() {
    for (format, url, want) in [
        (WebhookFormat::Slack, "https://s/a/b?c", "https://s/a/b?c"),
        (WebhookFormat::Gotify, "https://g", "https://g/message"),
        (WebhookFormat::Gotify, "https://g/sub/", "https://g/sub/message"),
        (WebhookFormat::Gotify, "https://g/message?token=x", "https://g/message?token=x"),
        (WebhookFormat::Gotify, "https://g?token=x", "https://g/message?token=x"),
        (telegram(), "https://t/bot1:A", "https://t/bot1:A/sendMessage"),
        (telegram(), "https://t/bot1:A/sendMessage", "https://t/bot1:A/sendMessage"),
        (WebhookFormat::Alertmanager, "http://a:9093", "http://a:9093/api/v2/alerts"),
        (WebhookFormat::Alertmanager, "http://a/p/api/v2/alerts", "http://a/p/api/v2/alerts"),
        (WebhookFormat::Ntfy, "https://n/topic", "https://n/"),
        (WebhookFormat::Ntfy, "https://n/sub/topic/?auth=x", "https://n/sub/?auth=x"),
    ] {
        assert_eq!(address(&format, url), want, "{url}");
    }
    for (url, want) in [
        ("https://n/topic", Some("topic")),
        ("https://n/sub/t-1_A/?auth=x", Some("t-1_A")),
        ("https://n/", None),
        ("https://n", None),
        ("https://n/a.b", None),
        ("https://n/?x=/a", None),
    ] {
        assert_eq!(topic(url), want, "{url}");
    }
    let long = format!("https://n/{}", "a".repeat(65));
    assert_eq!(topic(&long), None);
    assert!(topic(&long[..long.len() - 1]).is_some());
}
