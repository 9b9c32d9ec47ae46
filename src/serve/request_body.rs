//! The JSON body of a change, to the command that it stands for. Unknown keys are errors, as they
//! are in the config: with a misspelt `for`, a hold would have no end.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::model::command::{Command, Count, Order};
use crate::model::metric::shortened;
use crate::model::units;
use crate::serve::response::Response;
use crate::serve::routes::Mutation;

const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
const REASON_CHARS_MAX: usize = 200;
const KEY_SHOWN: usize = 60;

pub(crate) fn command(mutation: Mutation, body: &[u8]) -> Result<Command, Response> {
    let mut body = BodyFields::read(body)?;
    let (service, order) = match mutation {
        Mutation::Reload => {
            body.done(&[])?;
            return Ok(Command::Reload);
        }
        Mutation::Scale(service) => (Some(service), scale(&mut body)?),
        Mutation::Step { service, up } => {
            body.done(&[])?;
            (Some(service), Order::Step { up })
        }
        Mutation::Pause(service) => {
            let span = body.span()?;
            body.done(&["for"])?;
            (service, Order::Pause { span })
        }
        Mutation::Resume(service) => {
            body.done(&[])?;
            (service, Order::Resume)
        }
        Mutation::Restart(service) => {
            body.done(&[])?;
            (Some(service), Order::Restart)
        }
    };
    Ok(Command::Order { service, order })
}

fn scale(body: &mut BodyFields) -> Result<Order, Response> {
    let forms = r#"one of {"replicas":4}, {"by":1} or {"by":-1}, and {"auto":true} is needed"#;
    let keys = ["replicas", "by", "auto"];
    let given = keys.iter().filter(|key| body.0.contains_key(**key)).count();
    let replicas = body.take("replicas");
    let by = body.take("by");
    let auto = body.take("auto");
    let release = match auto {
        None => false,
        Some(Value::Bool(true)) => true,
        Some(other) => return Err(wrong("auto", &other, "true")),
    };
    let count = match (replicas, by) {
        (Some(value), _) => Some(Count::Exactly(
            whole(&value)
                .ok_or_else(|| wrong("replicas", &value, "a whole number from 0 to 4294967295"))?,
        )),
        (None, Some(value)) => Some(step(&value)?),
        (None, None) => None,
    };
    let (span, reason) = if release { (None, None) } else { (body.span()?, body.reason()?) };
    body.done(if release { &["auto"] } else { &["replicas", "by", "auto", "for", "reason"] })?;
    match (count, release) {
        _ if given != 1 => Err(Response::error(422, forms)),
        (Some(count), false) => Ok(Order::Hold { count, span, reason }),
        (None, true) => Ok(Order::Release),
        (Some(_), true) | (None, false) => Err(Response::error(422, forms)),
    }
}

fn whole(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn step(value: &Value) -> Result<Count, Response> {
    let by = value.as_i64().filter(|by| *by != 0);
    let size = by.and_then(|by| u32::try_from(by.unsigned_abs()).ok());
    match (by, size) {
        (Some(by), Some(size)) if by < 0 => Ok(Count::Fewer(size)),
        (Some(_), Some(size)) => Ok(Count::More(size)),
        _ => Err(wrong("by", value, "a whole number like 1 or -1")),
    }
}

fn wrong(key: &str, found: &Value, allowed: &str) -> Response {
    Response::error(422, format!("`{key}` must be {allowed}, not {found}"))
}

/// The first key that an object has twice. JSON parsers differ in which of the two they take.
fn doubled(object: &[u8]) -> Option<String> {
    struct UniqueKeys(Option<String>);
    struct KeyVisitor;
    impl<'de> Visitor<'de> for KeyVisitor {
        type Value = UniqueKeys;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
            let mut seen = BTreeSet::new();
            let mut doubled = None;
            while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                if seen.contains(&key) {
                    doubled.get_or_insert(key);
                } else {
                    seen.insert(key);
                }
            }
            Ok(UniqueKeys(doubled))
        }
    }
    impl<'de> Deserialize<'de> for UniqueKeys {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UniqueKeys, D::Error> {
            deserializer.deserialize_map(KeyVisitor)
        }
    }
    serde_json::from_slice::<UniqueKeys>(object).ok()?.0
}

/// The keys that were not taken yet.
struct BodyFields(Map<String, Value>);

impl BodyFields {
    /// An absent body is an empty object.
    fn read(bytes: &[u8]) -> Result<BodyFields, Response> {
        if bytes.trim_ascii().is_empty() {
            return Ok(BodyFields(Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => match doubled(bytes) {
                Some(key) => {
                    let key = shortened(&key, KEY_SHOWN);
                    Err(Response::error(400, format!("the key `{key}` appears twice")))
                }
                None => Ok(BodyFields(map)),
            },
            Ok(_) => Err(Response::error(422, "the body must be a JSON object, { ... }")),
            Err(err) => Err(Response::error(400, "the body is not JSON").detail(err.to_string())),
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// As in the config: a whole number of seconds, or a text with a unit or without.
    fn span(&mut self) -> Result<Option<Duration>, Response> {
        let Some(value) = self.take("for") else { return Ok(None) };
        let seconds = value.as_u64().map(Duration::from_secs);
        let span = seconds.or_else(|| value.as_str().and_then(units::span));
        let allowed = Duration::from_secs(1)..=SPAN_MAX;
        let span = span.filter(|span| allowed.contains(span)).ok_or_else(|| {
            wrong("for", &value, r#"a time from 1s to a year, like "90s", "30m" or "2h""#)
        })?;
        Ok(Some(span))
    }

    fn reason(&mut self) -> Result<Option<String>, Response> {
        let Some(value) = self.take("reason") else { return Ok(None) };
        let is_plain = |text: &&str| {
            text.chars().count() <= REASON_CHARS_MAX && !text.chars().any(char::is_control)
        };
        let text = value
            .as_str()
            .filter(is_plain)
            .ok_or_else(|| wrong("reason", &value, "a text of one line, 200 characters at most"))?;
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    /// `known` keys may stand here; all of them were taken.
    fn done(&self, known: &[&str]) -> Result<(), Response> {
        let Some(key) = self.0.keys().next() else { return Ok(()) };
        let hint = match units::nearest_key(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "none is known here".to_owned(),
            None => format!("known here: {}", known.join(", ")),
        };
        Err(Response::error(422, format!("unknown key `{key}`; {hint}")))
    }
}

#[cfg(test)]
mod tests {
    use crate::serve::request_body::command;
    use crate::serve::routes::Mutation;

    #[track_caller]
    fn check(mutation: Mutation, rows: &[(&str, &str)]) {
        for (body, want) in rows {
            let got = match command(mutation.clone(), body.as_bytes()) {
                Ok(command) => format!("{command:?}"),
                Err(reply) => {
                    let body: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
                    format!("{} {}", reply.status, body["error"])
                }
            };
            assert!(got.contains(want), "{body}: {got}");
        }
    }

    #[test]
    fn a_number_is_ordered_in_one_of_three_ways() {
        let rows = [
            (r#"{"replicas":4}"#, "count: Exactly(4), span: None, reason: None"),
            (r#"{"replicas":0,"for":"2h"}"#, "Exactly(0), span: Some(7200s)"),
            (r#"{"replicas":1,"for":90,"reason":"sale"}"#, "Some(90s), reason: Some(\"sale\")"),
            (r#"{"replicas":1,"for":"90"}"#, "Some(90s)"),
            (r#"{"by":2}"#, "count: More(2)"),
            (r#"{"by":-1}"#, "count: Fewer(1)"),
            (r#"{"auto":true}"#, "order: Release"),
            ("", "422 \"one of"),
            ("{}", "422 \"one of"),
            (r#"{"replicas":4,"by":1}"#, "422 \"one of"),
            (r#"{"replicas":4,"auto":true}"#, "422 \"one of"),
            (r#"{"auto":false}"#, "422 \"`auto` must be true"),
            (r#"{"auto":true,"for":"2h"}"#, "422 \"unknown key `for`; known here: auto"),
            (r#"{"replicas":-1}"#, "422 \"`replicas` must be"),
            (r#"{"replicas":1.5}"#, "422 \"`replicas` must be"),
            (r#"{"replicas":4294967296}"#, "422 \"`replicas` must be"),
            (r#"{"replicas":"4"}"#, "422 \"`replicas` must be"),
            (r#"{"by":0}"#, "422 \"`by` must be"),
            (r#"{"by":9223372036854775808}"#, "422 \"`by` must be"),
            (r#"{"replicas":4,"for":"2 h"}"#, "422 \"`for` must be"),
            (r#"{"replicas":4,"for":0}"#, "422 \"`for` must be"),
            (r#"{"replicas":4,"for":"999ms"}"#, "422 \"`for` must be"),
            (r#"{"replicas":4,"for":"8785h"}"#, "422 \"`for` must be"),
            (r#"{"replicas":4,"for":"8784h"}"#, "Exactly(4)"),
            (r#"{"replicas":4,"reason":"a\nb"}"#, "422 \"`reason` must be"),
            (r#"{"replicas":4,"fro":"2h"}"#, "422 \"unknown key `fro`; did you mean `for`?"),
            (r#"{"replicas":4,"colour":1}"#, "unknown key `colour`; known here: replicas, by"),
            (r#"{"replicas":2,"replicas":3}"#, "400 \"the key `replicas` appears twice"),
            (r#"{"replicas":2,"replicas":2}"#, "400 \"the key `replicas`"),
            (r#"{"by":1,"for":9,"\u0066or":9}"#, "400 \"the key `for`"),
            (r#"{"x":1,"x":2}"#, "400 \"the key `x`"),
            (r#"{"by":1,"reason":"by"}"#, "count: More(1)"),
            ("[4]", "422 \"the body must be a JSON object"),
            ("{", "400 \"the body is not JSON"),
            ("\u{fffd}", "400 \"the body is not JSON"),
        ];
        check(Mutation::Scale("web".to_owned()), &rows);
    }

    #[test]
    fn the_other_changes_take_little() {
        let pause = [
            ("", "order: Pause { span: None }"),
            (r#"{"for":"10m"}"#, "span: Some(600s)"),
            (r#"{"replicas":1}"#, "unknown key `replicas`; known here: for"),
        ];
        check(Mutation::Pause(None), &pause);
        check(Mutation::Resume(Some("a".to_owned())), &[("{}", "Resume"), (r#"{"for":1}"#, "422")]);
        check(Mutation::Reload, &[("", "Reload"), (r#"{"a":1}"#, "none is known here")]);
        check(Mutation::Restart("a".to_owned()), &[("", "Restart"), (r#"{"for":1}"#, "422")]);
        let step = Mutation::Step { service: "a".to_owned(), up: true };
        check(step, &[(" ", "Step { up: true }"), (r#"{"by":1}"#, "422")]);
    }
}
