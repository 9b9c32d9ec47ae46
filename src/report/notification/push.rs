//! Messages to phones: ntfy and Gotify. Title and text stand in JSON, because a header could not
//! hold every character.

use serde_json::{Value, json};

use crate::model::notification::Notice;
use crate::report::notification::sentence::{bytes, fitted, headline, text, unescaped};

/// ntfy makes a file of a longer message.
const NTFY_BYTES_MAX: usize = 4096;
const TITLE_BYTES_MAX: usize = 250;
const GOTIFY_BYTES_MAX: usize = 16 << 10;

/// How urgent a message is to each of them.
struct Urgency {
    ntfy: u8,
    gotify: u8,
    /// ntfy shows an emoji for it.
    tag: &'static str,
}

fn urgency(notice: &Notice) -> Urgency {
    let event = &notice.event;
    if event.kind.ends(event).is_some() {
        return Urgency { ntfy: 3, gotify: 4, tag: "white_check_mark" };
    }
    match event.level() {
        log::Level::Error => Urgency { ntfy: 4, gotify: 8, tag: "rotating_light" },
        log::Level::Warn => Urgency { ntfy: 3, gotify: 5, tag: "warning" },
        log::Level::Info | log::Level::Debug | log::Level::Trace => {
            Urgency { ntfy: 2, gotify: 2, tag: "information_source" }
        }
    }
}

pub(super) fn ntfy(notice: &Notice, topic: &str) -> Value {
    let Urgency { ntfy: priority, tag, .. } = urgency(notice);
    json!({
        "topic": topic,
        "title": title(notice),
        "message": fitted(&text(notice), unescaped, NTFY_BYTES_MAX, bytes),
        "priority": priority,
        "tags": [tag],
    })
}

pub(super) fn gotify(notice: &Notice) -> Value {
    json!({
        "title": title(notice),
        "message": fitted(&text(notice), unescaped, GOTIFY_BYTES_MAX, bytes),
        "priority": urgency(notice).gotify,
    })
}

/// The service, else the program.
fn title(notice: &Notice) -> String {
    let title = notice.event.service.clone().unwrap_or_else(|| headline(&notice.event));
    fitted(&title, unescaped, TITLE_BYTES_MAX, bytes)
}
