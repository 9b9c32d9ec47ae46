//! The event file `events.jsonl`: one JSON object for each line, appended in one write. At 4 MiB it
//! is renamed to `events.jsonl.1`, which replaces the one before. It is read at the start only.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::model::event::{Entry, Event, Kind, Phase};
use crate::model::reason::REASONS;
use crate::model::status::LastScale;
use crate::model::time::Wall;
use crate::regular_file;

const FILE_BYTES_MAX: u64 = 4 << 20;
/// Bytes of the end that are read at the start.
const TAIL_BYTES: u64 = 1 << 20;
/// Messages may quote long output, as of HAProxy.
const MESSAGE_CHARS_MAX: usize = 4000;

pub(crate) struct EventFile {
    path: PathBuf,
    bytes_max: u64,
    /// The last write may be incomplete, so the next one starts with a line break.
    torn: bool,
}

impl EventFile {
    /// `dir` must exist. Also returns the events in the files, oldest first; incomplete lines are
    /// skipped.
    pub(crate) fn open(dir: &Path) -> (EventFile, Vec<Entry>) {
        let path = dir.join("events.jsonl");
        let (entries, torn) = both(&path, TAIL_BYTES);
        (EventFile { path, bytes_max: FILE_BYTES_MAX, torn }, entries)
    }

    /// Opens the file each time, so that others may move or truncate it.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let line = format!("{}{}\n", if self.torn { "\n" } else { "" }, entry.json);
        let mut file = regular_file::append(&self.path)?;
        let have = file.metadata()?.len();
        if 0 < have && self.bytes_max < have.saturating_add(line.len() as u64) {
            fs::rename(&self.path, older(&self.path))?;
            file = regular_file::append(&self.path)?;
        }
        self.torn = true;
        file.write_all(line.as_bytes())?;
        self.torn = false;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

/// Every event that the files in this folder have, oldest first.
pub(crate) fn stored(dir: &Path) -> Vec<Entry> {
    both(&dir.join("events.jsonl"), FILE_BYTES_MAX).0
}

/// The events at the ends of both files, and whether the last line is incomplete.
fn both(path: &Path, bytes: u64) -> (Vec<Entry>, bool) {
    let (newer, torn) = tail(path, bytes);
    let (mut entries, _) = tail(&older(path), bytes);
    entries.extend(newer);
    (entries, torn)
}

fn tail(path: &Path, bytes_max: u64) -> (Vec<Entry>, bool) {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = regular_file::open_own(path)?;
        let start = file.metadata()?.len().saturating_sub(bytes_max);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        // Another process may be appending.
        file.take(2 * bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let torn = bytes.last().is_some_and(|last| *last != b'\n');
    // The first line may be cut, so that it is no valid JSON; it is skipped.
    let entries = bytes.split(|byte| *byte == b'\n').filter_map(parse);
    (entries.collect(), torn)
}

fn parse(line: &[u8]) -> Option<Entry> {
    let json = std::str::from_utf8(line).ok()?;
    let value: Value = serde_json::from_str(json).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let at = DateTime::parse_from_rfc3339(text("at")?).ok()?;
    Some(Entry {
        at_ms: u64::try_from(at.timestamp_millis()).ok()?,
        kind: text("kind")?.to_owned(),
        service: text("service").map(str::to_owned),
        json: json.to_owned(),
    })
}

/// The last change of each service's number.
pub(crate) fn changes(entries: &[Entry]) -> BTreeMap<String, LastScale> {
    let scales = [Kind::ScaleUp.word(), Kind::ScaleDown.word()];
    let scaled = entries.iter().filter(|entry| scales.contains(&entry.kind.as_str()));
    scaled.filter_map(|entry| Some((entry.service.clone()?, change(entry)?))).collect()
}

fn change(entry: &Entry) -> Option<LastScale> {
    let json: Value = serde_json::from_str(&entry.json).ok()?;
    let count = |key: &str| u32::try_from(json.get(key)?.as_u64()?).ok();
    let word = json.get("reason")?.as_str()?;
    Some(LastScale {
        at: Wall(i64::try_from(entry.at_ms / 1000).ok()?),
        from: count("from")?,
        to: count("to")?,
        reason: REASONS.into_iter().find(|reason| *reason == word)?,
        words: json.get("message")?.as_str()?.to_owned(),
    })
}

/// As it is stored, shown and sent. The same eight keys always; `phase` is a ninth, only where a
/// condition has ended.
pub(crate) fn entry(at_ms: u64, event: &Event) -> Entry {
    let at = i64::try_from(at_ms).ok().and_then(DateTime::from_timestamp_millis);
    let message: String = event.message.chars().take(MESSAGE_CHARS_MAX).collect();
    let mut json = json!({
        "at": at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        "kind": event.kind.word(),
        "service": event.service,
        "replica": event.replica,
        "reason": event.reason,
        "message": message,
        "from": event.change.map(|(from, _)| from),
        "to": event.change.map(|(_, to)| to),
    });
    match event.phase {
        Phase::Started => (),
        Phase::Resolved => json["phase"] = json!("resolved"),
    }
    let kind = event.kind.word().to_owned();
    let service = event.service.clone();
    Entry { at_ms, kind, service, json: json.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use crate::model::event::{Entry, Event, Kind};
    use crate::store::events::{EventFile, MESSAGE_CHARS_MAX, entry};

    /// Gone when it is dropped.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("plimsoll-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Dir(dir)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap_or_default()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn sample(at_ms: u64) -> Entry {
        entry(at_ms, &Event::new(Kind::HoldSet, "a\n\"b\"").service("web"))
    }

    #[test]
    fn an_event_has_its_eight_keys() {
        let mut event = Event::new(Kind::ScaleUp, "x").service("web");
        event.change = Some((1, 2));
        let want = r#"{"at":"2026-11-26T03:00:00.007Z","from":1,"kind":"scale.up","#.to_owned()
            + r#""message":"x","reason":null,"replica":null,"service":"web","to":2}"#;
        assert_eq!(entry(1_795_662_000_007, &event).json, want);
        let resolved = entry(0, &Event::resolved(Kind::ScaleCapped, "x")).json;
        assert!(resolved.contains(r#""phase":"resolved""#), "{resolved}");
        let long = Event::new(Kind::DockerLost, "ä".repeat(MESSAGE_CHARS_MAX + 1));
        assert_eq!(entry(0, &long).json.matches('ä').count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn what_was_appended_comes_back_and_what_broke_off_does_not() {
        let dir = Dir::new("events-torn");
        let (mut file, none) = EventFile::open(&dir.0);
        assert!(none.is_empty());
        [1, 2].iter().for_each(|at| file.append(&sample(*at)).unwrap());
        let whole = dir.text("events.jsonl");
        fs::write(dir.0.join("events.jsonl"), format!("{whole}{}", &whole[..40])).unwrap();
        let (mut file, entries) = EventFile::open(&dir.0);
        assert_eq!(entries, [sample(1), sample(2)]);
        file.append(&sample(3)).unwrap();
        let (_, entries) = EventFile::open(&dir.0);
        assert_eq!(entries, [sample(1), sample(2), sample(3)]);
        assert_eq!(dir.text("events.jsonl").lines().count(), 4);
        for odd in ["{}\n[]\nnull\n\n", "{\"at\":\"x\",\"kind\":\"y\"}", "\u{fffd}\0"] {
            fs::write(dir.0.join("events.jsonl"), odd).unwrap();
            assert_eq!(EventFile::open(&dir.0).1, [], "{odd}");
        }
    }

    #[test]
    fn it_is_put_aside_at_its_size_and_both_are_read() {
        let dir = Dir::new("events-size");
        let (mut file, _) = EventFile::open(&dir.0);
        let line = sample(1).json.len() as u64 + 1;
        file.bytes_max = 3 * line;
        (1..=3).for_each(|at| file.append(&sample(at)).unwrap());
        assert_eq!(dir.text("events.jsonl.1"), "");
        (4..=7).for_each(|at| file.append(&sample(at)).unwrap());
        let entries = EventFile::open(&dir.0).1;
        let times: Vec<u64> = entries.iter().map(|entry| entry.at_ms).collect();
        assert_eq!(times, [4, 5, 6, 7], "the older file has three, the first three are gone");
        assert_eq!(dir.text("events.jsonl").lines().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_each_time_and_then_none() {
        let dir = Dir::new("events-full");
        let (mut file, _) = EventFile::open(&dir.0);
        let path = dir.0.join("events.jsonl");
        fs::create_dir(&path).unwrap();
        assert!(file.append(&sample(1)).is_err() && file.append(&sample(2)).is_err());
        fs::remove_dir(&path).unwrap();
        // Nobody reads from it.
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(file.append(&sample(1)).is_err() && EventFile::open(&dir.0).1.is_empty());
        fs::remove_file(&path).unwrap();
        file.append(&sample(3)).unwrap();
        assert_eq!(EventFile::open(&dir.0).1, [sample(3)]);
    }
}
