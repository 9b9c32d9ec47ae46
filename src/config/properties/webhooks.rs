//! Webhooks, made up from a seed.

use crate::config::properties::Random;
use crate::config::properties::valid::{
    Keys, SECOND, Spec, URLS, list, number, one_of, span, text,
};

const EVENTS: [&str; 6] = ["scale.up", "scale.*", "*", "h*", "replica.not_ready", "config.rej*"];
const DAY: u64 = 24 * 3600 * SECOND;

pub(super) fn webhook(random: &mut Random) -> Spec {
    let formats = ["json", "slack", "discord", "teams", "gotify", "alertmanager"];
    let word = *random.of(&formats);
    match random.below(4) {
        0 => telegram(random),
        1 => template(random),
        2 => ntfy(random),
        _ => {
            let mut keys = Keys::new(random);
            keys.need("url", |r| Spec::Secret(r.word(&URLS).to_owned()));
            if word == "json" {
                keys.or("format", text(word), |_| text(word));
            } else {
                keys.need("format", |_| text(word));
            }
            if word == "json" {
                keys.or("every", Spec::Milliseconds(0), |r| span(r, 0, DAY));
            } else if word != "alertmanager" {
                common(&mut keys);
            }
            rest(&mut keys);
            keys.done()
        }
    }
}

fn telegram(random: &mut Random) -> Spec {
    let mut keys = Keys::new(random);
    keys.need("url", |_| Spec::Secret("http://127.0.0.1/bot1:A".to_owned()));
    keys.need("format", |_| text("telegram"));
    keys.need("chat_id", |r| {
        r.of(&[number(7), Spec::Secret("-100".to_owned()), Spec::Secret("@a_1".to_owned())]).clone()
    });
    common(&mut keys);
    rest(&mut keys);
    keys.done()
}

fn template(random: &mut Random) -> Spec {
    let bodies = ["{text}", "{\"a\": \"{service}\"}", "{{kind}} $", "é {more}{since}"];
    let mut keys = Keys::new(random);
    keys.need("url", |r| Spec::Secret(r.word(&URLS).to_owned()));
    keys.need("format", |_| text("template"));
    keys.need("template", |r| Spec::Secret(r.word(&bodies).to_owned()));
    common(&mut keys);
    rest(&mut keys);
    keys.done()
}

fn ntfy(random: &mut Random) -> Spec {
    let mut keys = Keys::new(random);
    keys.need("url", |_| Spec::Secret("http://127.0.0.1:9000/topic_-1".to_owned()));
    keys.need("format", |_| text("ntfy"));
    common(&mut keys);
    rest(&mut keys);
    keys.done()
}

fn common(keys: &mut Keys) {
    keys.or("every", Spec::Milliseconds(60 * SECOND), |r| span(r, 0, DAY));
}

fn rest(keys: &mut Keys) {
    keys.or("events", Spec::List(Vec::new()), |r| list(r, 4, |r| one_of(r, &EVENTS)));
    keys.or("min_level", text("info"), |r| one_of(r, &["info", "warn", "error"]));
    keys.or("headers", Spec::Object(Vec::new()), |_| {
        Spec::Object(vec![("X-Key".to_owned(), Spec::Secret("a ${".to_owned()))])
    });
}
