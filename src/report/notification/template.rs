//! Fills a body template with the fields of an event.

use serde_json::Value;

use crate::model::event::Phase;
use crate::model::notification::{
    BodyTemplate, Notice, TemplateContent, TemplateField, TemplatePart,
};
use crate::model::time::wall_of_ms;
use crate::model::url;
use crate::report::notification::sentence::{one_line, text};

pub(super) fn fill(template: &BodyTemplate, notice: &Notice) -> String {
    let mut out = String::new();
    for part in &template.parts {
        match part {
            TemplatePart::Text(text) => out += text,
            TemplatePart::Field(field) => {
                append(&value(*field, notice), template.content, &mut out);
            }
        }
    }
    out
}

/// A field that an event lacks is empty.
fn value(field: TemplateField, notice: &Notice) -> String {
    let event = &notice.event;
    let (message, log) = event.message_and_log();
    let number = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
    match field {
        TemplateField::Text => text(notice),
        TemplateField::At => wall_of_ms(notice.at_ms).to_string(),
        TemplateField::Kind => event.kind.word().to_owned(),
        TemplateField::Level => event.level().as_str().to_ascii_lowercase(),
        TemplateField::Phase => match event.phase {
            Phase::Started => "started".to_owned(),
            Phase::Resolved => "resolved".to_owned(),
        },
        TemplateField::Service => event.service.clone().unwrap_or_default(),
        TemplateField::Replica => event.replica.clone().unwrap_or_default(),
        TemplateField::Reason => event.reason.unwrap_or_default().to_owned(),
        TemplateField::Message => one_line(message),
        TemplateField::Log => log.unwrap_or_default().to_owned(),
        TemplateField::From => number(event.change.map(|(from, _)| from)),
        TemplateField::To => number(event.change.map(|(_, to)| to)),
        TemplateField::More => notice.more.to_string(),
        TemplateField::Since => wall_of_ms(notice.since_ms).to_string(),
    }
}

fn append(value: &str, content: TemplateContent, out: &mut String) {
    match content {
        TemplateContent::Text => out.push_str(value),
        TemplateContent::Form => url::encode(value, out),
        TemplateContent::Json => {
            let quoted = Value::from(value).to_string();
            out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        }
    }
}
