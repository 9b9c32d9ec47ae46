//! Log lines: time, level, then key=value; or one JSON object each. They go to stderr; stdout is
//! for answers to people.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::{Map, Value};

use crate::clock;
use crate::model::config::LogFormat;
use crate::model::event::{Event, Phase};
use crate::model::terminal;

/// Of our own lines; what libraries say at their levels is of no use to an operator.
const OURS: &str = env!("CARGO_PKG_NAME");
/// Marks a line that is the fields of a JSON object already.
const FIELDS: &str = concat!(env!("CARGO_PKG_NAME"), "::fields");

/// A reload may change it while other threads write.
static FORMAT: AtomicU8 = AtomicU8::new(LogFormat::Text as u8);

struct Logger {
    inner: env_logger::Logger,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        self.inner.log(record);
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

pub(crate) fn start(level: LevelFilter, format: LogFormat) {
    let inner =
        env_logger::Builder::new().filter_module(OURS, LevelFilter::Trace).format(write).build();
    // Fails only when there is a logger already, which then does as well.
    if log::set_boxed_logger(Box::new(Logger { inner })).is_ok() {
        set(level, format);
    }
}

pub(crate) fn set(level: LevelFilter, format: LogFormat) {
    FORMAT.store(format as u8, Ordering::Relaxed);
    log::set_max_level(level);
}

/// To debug, and back to what the config says. That may be debug or more itself: then to info. Told
/// while debug holds, at a level that shows in either case.
pub(crate) fn toggle_debug(configured: LevelFilter) {
    if log::max_level() < LevelFilter::Debug {
        log::set_max_level(LevelFilter::Debug);
        log::info!("message=\"log level is debug until the next SIGUSR1 or reload\"");
        return;
    }
    let quiet = if configured < LevelFilter::Debug { configured } else { LevelFilter::Info };
    let word = quiet.as_str().to_ascii_lowercase();
    log::info!("message=\"log level is {word} again\"");
    log::set_max_level(quiet);
}

fn is(format: LogFormat) -> bool {
    FORMAT.load(Ordering::Relaxed) == format as u8
}

fn write(out: &mut Formatter, record: &Record) -> io::Result<()> {
    if is(LogFormat::Journal) {
        let words = record.args().to_string();
        return writeln!(out, "<{}>{}", priority(record.level()), terminal::plain_line(&words));
    }
    let level = record.level().as_str().to_ascii_lowercase();
    let at = clock::stamp();
    let words = record.args().to_string();
    // A library's message may contain anything; our own messages quote foreign text.
    let words = terminal::plain_line(&words);
    if record.target() == FIELDS {
        writeln!(out, r#"{{"at":"{at}","level":"{level}",{words}}}"#)
    } else if is(LogFormat::Json) {
        let text = record.args().to_string();
        // A library's message may not be key=value pairs.
        let told = || Map::from_iter([("message".to_owned(), Value::String(text.clone()))]);
        let object = Value::Object(pairs(&text).unwrap_or_else(told)).to_string();
        let object = terminal::plain_line(&object);
        let inner = object.strip_prefix('{').unwrap_or_default();
        writeln!(out, r#"{{"at":"{at}","level":"{level}",{inner}"#)
    } else {
        writeln!(out, "{at} {level} {words}")
    }
}

/// The fields of a line of `key=value` pairs, where what is quoted is as `{:?}` writes it.
fn pairs(line: &str) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    let mut rest = line.trim_end();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if key.is_empty() || !key.chars().all(is_key) {
            return None;
        }
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (value, left) = after.split_at(after.find(' ').unwrap_or(after.len()));
                (value.to_owned(), left)
            }
        };
        rest = left.strip_prefix(' ').or(left.is_empty().then_some(""))?;
        fields.insert(key.to_owned(), Value::String(value));
    }
    Some(fields).filter(|fields| !fields.is_empty())
}

/// Up to the closing quote, and what is behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    let (code, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    chars = rest.chars();
                    u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?
                }
                other => other,
            }),
            plain => value.push(plain),
        }
    }
}

/// Of syslog, which systemd's journal reads in api_server of a line (sd-daemon(3)).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

pub(crate) fn event(event: &Event) {
    if is(LogFormat::Json) {
        let object = Value::Object(fields(event)).to_string();
        let inner = object.strip_prefix('{').and_then(|o| o.strip_suffix('}')).unwrap_or_default();
        log::log!(target: FIELDS, event.level(), "{inner}");
    } else {
        log::log!(event.level(), "{event}");
    }
}

fn fields(event: &Event) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        out.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("kind", Some(event.kind.word().into()));
    put("phase", (event.phase == Phase::Resolved).then(|| "resolved".into()));
    put("service", event.service.clone().map(Value::String));
    put("replica", event.replica.clone().map(Value::String));
    put("reason", event.reason.map(Value::from));
    put("message", Some(event.message.clone().into()).filter(|_| !event.message.is_empty()));
    put("from", event.change.map(|(from, _)| from.into()));
    put("to", event.change.map(|(_, to)| to.into()));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::daemon::logger::{fields, pairs};
    use crate::model::event::{Event, Kind};

    #[test]
    fn an_event_has_the_same_fields_as_json() {
        let mut event = Event::new(Kind::ScaleUp, "say \"hi\" {}\n").service("web");
        event.change = Some((1, 2));
        event.reason = Some("DesiredWithinRange");
        let want = json!({
            "kind": "scale.up", "service": "web", "reason": "DesiredWithinRange",
            "message": "say \"hi\" {}\n", "from": 1, "to": 2,
        });
        assert_eq!(serde_json::Value::Object(fields(&event)), want);
        let bare = serde_json::Value::Object(fields(&Event::new(Kind::DockerBack, "")));
        assert_eq!(bare, json!({ "kind": "docker.back" }));
    }

    #[test]
    fn a_line_of_pairs_is_fields_as_json() {
        let words = "say \"hi\"\n\t\\ \u{1} a=b";
        let line = format!("service=web desired=2 message={words:?} last={:?}", "");
        let want = json!({ "service": "web", "desired": "2", "message": words, "last": "" });
        assert_eq!(pairs(&line).map(serde_json::Value::Object), Some(want));
        for other in ["", "two words", "a b=c", "a=\"open", "a=\"b\"c", "=b", "a=\"\\u{x}\""] {
            assert_eq!(pairs(other), None, "{other}");
        }
    }
}
