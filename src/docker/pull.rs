//! Pulls an image. Docker reports progress as a stream of JSON objects, in which a failure comes
//! with status 200.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde::Deserialize;

use crate::docker::client::{Call, Client, MESSAGE_CHARS_MAX};
use crate::docker::engine_calls::Method;
use crate::docker::event_stream::is_timeout;
use crate::docker::registry_auth::RegistryAuth;
use crate::model::image::{repository, tag};
use crate::model::metric::shortened;
use crate::outside::{Clock, Error, Result};

/// A pull without any message for this long has stalled.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Longest time of a pull.
const PULL_MAX: Duration = Duration::from_secs(6 * 3600);
const LINE_MAX: u64 = 64 << 10;
const LAYERS_MAX: usize = 1000;
/// Interval between two progress reports.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Returns the final progress as text; `None` when `wanted` returned false. `report` is called with
/// the progress every REPORT_EVERY, and first with what keeps credentials from being used.
pub(crate) fn pull(
    client: &Client,
    clock: &dyn Clock,
    (image, auth): (&str, &RegistryAuth),
    report: &dyn Fn(String),
    wanted: &dyn Fn() -> bool,
) -> Result<Option<String>> {
    let failed = |reason: &str| {
        let reason = auth.explain(reason);
        Error::new(format!("image {image} could not be pulled: {reason}"))
    };
    if let Some(problem) = &auth.problem {
        let without =
            if auth.header.is_none() { "pulling without credentials, since " } else { "" };
        report(format!("{without}{problem}"));
    }
    let (name, tag) = split(image);
    let query = [("fromImage", name), ("tag", tag)];
    let call = Call {
        method: Method::Post,
        query: &query,
        registry_auth: auth.header.as_ref(),
        ..Call::get("/images/create")
    };
    let stream = client.open(call, (SILENCE_MAX, SILENCE_MAX));
    let stream = stream.map_err(|err| failed(&err.to_string()))?;
    let mut lines = BufReader::new(stream);
    let begun = clock.now();
    let mut progress = PullProgress::default();
    let mut message = begun;
    while let Some(line) = next_line(&mut lines).map_err(|err| failed(&err))? {
        progress.take(&line).map_err(|reason| failed(&reason))?;
        let now = clock.now();
        if !wanted() {
            // Docker stops the download when the connection is closed.
            return Ok(None);
        }
        if PULL_MAX <= now.since(begun) {
            return Err(failed(&format!("{progress} after {} h", PULL_MAX.as_secs() / 3600)));
        }
        if REPORT_EVERY <= now.since(message) {
            message = now;
            report(progress.to_string());
        }
    }
    Ok(Some(progress.to_string()))
}

fn next_line(lines: &mut impl BufRead) -> std::result::Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    match lines.take(LINE_MAX).read_until(b'\n', &mut line) {
        Ok(0) => Ok(None),
        Ok(_) if line.ends_with(b"\n") || (line.len() as u64) < LINE_MAX => Ok(Some(line)),
        Ok(_) => Err("a progress message of Docker is too long".to_owned()),
        Err(err) if is_timeout(&err) => Err(format!("no progress for {} s", SILENCE_MAX.as_secs())),
        Err(err) => Err(err.to_string()),
    }
}

/// Name and tag, or name and digest. Without a tag Docker would fetch every one there is.
fn split(image: &str) -> (&str, &str) {
    // A tag beside a digest says nothing, and the registry would be asked for both.
    let digest = image.split_once('@').map(|(_, digest)| digest);
    (repository(image), digest.unwrap_or_else(|| tag(image)))
}

#[derive(Debug, Default)]
struct PullProgress {
    layers: BTreeMap<String, Layer>,
}

/// Bytes.
#[derive(Debug, Default)]
struct Layer {
    here: u64,
    all: u64,
    is_done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullMessage {
    #[serde(default)]
    status: String,
    #[serde(default)]
    id: String,
    error: Option<String>,
    error_detail: Option<ErrorDetail>,
    progress_detail: Option<ProgressDetail>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    message: String,
}

#[derive(Deserialize)]
struct ProgressDetail {
    #[serde(default)]
    current: u64,
    #[serde(default)]
    total: u64,
}

impl PullProgress {
    /// An error is Docker's own message.
    fn take(&mut self, line: &[u8]) -> std::result::Result<(), String> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let Ok(message) = serde_json::from_slice::<PullMessage>(line) else {
            return Err("unexpected answer of Docker".to_owned());
        };
        if let Some(reason) = message.error_detail.map(|detail| detail.message).or(message.error) {
            return Err(shortened(&reason, MESSAGE_CHARS_MAX));
        }
        let is_layer = match message.status.as_str() {
            "Pulling fs layer" | "Waiting" | "Downloading" | "Verifying Checksum"
            | "Download complete" | "Extracting" => Some(false),
            "Pull complete" | "Already exists" => Some(true),
            _ => None,
        };
        let is_known = self.layers.contains_key(&message.id);
        let Some(is_done) = is_layer.filter(|_| is_known || self.layers.len() < LAYERS_MAX) else {
            return Ok(());
        };
        let layer = self.layers.entry(message.id).or_default();
        layer.is_done |= is_done;
        if let Some(amount) = message.progress_detail.filter(|_| message.status == "Downloading") {
            layer.here = layer.here.max(amount.current);
            layer.all = layer.all.max(amount.total);
        }
        if matches!(message.status.as_str(), "Download complete" | "Extracting") {
            layer.here = layer.all;
        }
        Ok(())
    }
}

impl std::fmt::Display for PullProgress {
    /// `2 of 5 layers, 12.3 of 40.0 MB`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let done = self.layers.values().filter(|layer| layer.is_done).count();
        write!(f, "{done} of {} layers", self.layers.len())?;
        let sum =
            |part: fn(&Layer) -> u64| self.layers.values().map(part).fold(0, u64::saturating_add);
        let here = sum(|layer| layer.here);
        let all = sum(|layer| layer.all);
        let tenths = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
        if all == 0 { Ok(()) } else { write!(f, ", {} of {} MB", tenths(here), tenths(all)) }
    }
}

#[cfg(test)]
mod tests {
    use crate::docker::pull::{LINE_MAX, PullProgress, next_line, split};

    #[test]
    fn an_image_is_a_name_and_a_tag_or_a_digest() {
        for (image, name, tag) in [
            ("web", "web", "latest"),
            ("web:1", "web", "1"),
            ("a.example:5000/x/web", "a.example:5000/x/web", "latest"),
            ("a.example:5000/x/web:1", "a.example:5000/x/web", "1"),
            ("a.example:5000/web:1@sha256:ab", "a.example:5000/web", "sha256:ab"),
            ("a.example:5000/web@sha256:ab", "a.example:5000/web", "sha256:ab"),
        ] {
            assert_eq!(split(image), (name, tag), "{image}");
        }
    }

    #[test]
    fn layers_and_bytes_are_summed_up() {
        let mut progress = PullProgress::default();
        for (line, want) in [
            (r#"{"status":"Pulling from library/web","id":"1"}"#, "0 of 0 layers"),
            (r#"{"status":"Pulling fs layer","progressDetail":{},"id":"a"}"#, "0 of 1 layers"),
            (r#"{"status":"Already exists","progressDetail":{},"id":"b"}"#, "1 of 2 layers"),
            (
                r#"{"status":"Downloading","progressDetail":{"current":1250000,"total":40000000},
                    "progress":"[=>  ]","id":"a"}"#,
                "1 of 2 layers, 1.2 of 40.0 MB",
            ),
            (
                r#"{"status":"Download complete","progressDetail":{},"id":"a"}"#,
                "1 of 2 layers, 40.0 of 40.0 MB",
            ),
            (
                r#"{"status":"Extracting","progressDetail":{"current":7,"total":9},"id":"a"}"#,
                "1 of 2 layers, 40.0 of 40.0 MB",
            ),
            (
                r#"{"status":"Pull complete","progressDetail":{},"id":"a"}"#,
                "2 of 2 layers, 40.0 of 40.0 MB",
            ),
            (r#"{"status":"Digest: sha256:00"}"#, "2 of 2 layers, 40.0 of 40.0 MB"),
            ("\r\n", "2 of 2 layers, 40.0 of 40.0 MB"),
        ] {
            progress.take(line.as_bytes()).unwrap();
            assert_eq!(progress.to_string(), want, "{line}");
        }
    }

    #[test]
    fn a_failure_is_told_in_dockers_words() {
        let take = |line: &str| PullProgress::default().take(line.as_bytes()).unwrap_err();
        let both = r#"{"errorDetail":{"message":"manifest unknown"},"error":"manifest"}"#;
        assert_eq!(take(both), "manifest unknown");
        assert_eq!(take(r#"{"error":"no such host"}"#), "no such host");
        let long = format!(r#"{{"error":"{}"}}"#, "ä".repeat(401));
        assert_eq!(take(&long), "ä".repeat(400) + "…");
        assert_eq!(take("<html>"), "unexpected answer of Docker");
        let endless = vec![b' '; usize::try_from(LINE_MAX).unwrap() + 1];
        assert!(next_line(&mut endless.as_slice()).is_err());
    }
}
