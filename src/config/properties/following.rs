//! Metrics and behaviors that are right.

use crate::config::properties::Random;
use crate::config::properties::valid::{
    HOUR, Keys, SECOND, Spec, URLS, any_text, hundredths, ms, number, one_of, span, text,
    thousandths,
};

/// What is sent with a request, beside its address.
fn endpoint(keys: &mut Keys) {
    keys.or("headers", Spec::Ordered(Vec::new()), |_| {
        Spec::Ordered(vec![("X-Key!".to_owned(), Spec::Secret("a b~".to_owned()))])
    });
    keys.may("bearer", |_| Spec::Secret("token".to_owned()));
}

/// `fields` are those of HAProxy that none before it has; no two may measure the same.
fn metric(random: &mut Random, source: &str, fields: &mut Vec<&str>) -> Spec {
    let mut keys = Keys::new(random);
    keys.need("source", |_| text(source));
    keys.need("target", |r| thousandths(r, 1, 1_000_000_000_000));
    match source {
        "haproxy" => {
            let field = fields.pop().unwrap();
            keys.need("field", |_| text(field));
        }
        "http" => {
            keys.need("url", |r| one_of(r, &URLS));
            endpoint(&mut keys);
            keys.may("pointer", |r| one_of(r, &["/", "/jobs/waiting", "/a~1b~0/é", "//"]));
        }
        "prometheus" => {
            keys.need("url", |r| one_of(r, &URLS));
            endpoint(&mut keys);
            keys.need("query", any_text);
        }
        _ => (),
    }
    keys.done()
}

/// Of each source as many as can differ.
pub(super) fn metrics(random: &mut Random, is_swarm: bool) -> Spec {
    let mut fields = vec!["sessions", "queue", "request_rate", "response_time_ms"];
    let mut sources = vec!["haproxy", "haproxy", "haproxy", "haproxy", "http", "prometheus"];
    if !is_swarm {
        sources.extend(["cpu", "memory"]);
    }
    let count = usize::try_from(random.within(1, 6)).unwrap();
    let mut list = Vec::new();
    for _ in 0..count {
        let source = sources.swap_remove(random.below(sources.len()));
        list.push(metric(random, source, &mut fields));
    }
    Spec::List(list)
}

fn policy(kind: &str, value: u64, period: Spec) -> Spec {
    let keys = [("type", text(kind)), ("value", number(value)), ("period", period)];
    Spec::Object(keys.map(|(key, spec)| (key.to_owned(), spec)).to_vec())
}

fn rules(random: &mut Random, is_up: bool) -> Spec {
    let mut keys = Keys::new(random);
    let stabilization = if is_up { 0 } else { 300 * SECOND };
    keys.or("stabilization", ms(stabilization), |r| span(r, 0, HOUR));
    let disabled = keys.random.one_in(4);
    let mut default = vec![policy("percent", 100, ms(15 * SECOND))];
    if is_up {
        default.insert(0, policy("replicas", 4, ms(15 * SECOND)));
    }
    keys.or("policies", Spec::List(default), |r| {
        let least = if disabled { 0 } else { 1 };
        let most = *r.of(&[2, 15]);
        let count = least + r.below(most);
        let kind = |r: &mut Random| *r.of(&["percent", "replicas"]);
        let make = |_| policy(kind(r), r.within(1, 100_000), span(r, SECOND, HOUR / 2));
        Spec::List((0..count).map(make).collect())
    });
    if disabled {
        keys.need("select", |_| text("disabled"));
    } else {
        keys.or("select", text("max"), |r| one_of(r, &["max", "min"]));
    }
    keys.done()
}

pub(super) fn behavior(random: &mut Random) -> Spec {
    let mut keys = Keys::new(random);
    keys.or("tolerance", Spec::Number("0.1".to_owned()), |r| hundredths(r, 0, 100));
    keys.may("scale_up", |r| rules(r, true));
    keys.may("scale_down", |r| rules(r, false));
    keys.done()
}
