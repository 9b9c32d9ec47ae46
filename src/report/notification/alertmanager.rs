//! Alerts of Alertmanager's API, version 2. The labels of an alert are the same when its condition
//! begins and when it ends. Alertmanager ends an alert that is not sent again; so what stands is
//! sent every minute, as Prometheus does.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::model::event::{Kind, Phase};
use crate::model::notification::Notice;
use crate::model::time::Moment;
use crate::report::notification::sentence::{bytes, fitted, text, unescaped};

const RESEND_EVERY: Duration = Duration::from_secs(60);
/// An alert ends so long after it was last sent, if the daemon is gone.
const VALID_MS: u64 = 5 * 60 * 1000;
/// Whatever ends it may never come, as when its service leaves the config.
const STANDS_AT_MOST: Duration = Duration::from_secs(24 * 3600);
const STANDING_MAX: usize = 256;
const ANNOTATION_BYTES_MAX: usize = 4096;

type AlertLabels = BTreeMap<&'static str, String>;

/// The kind is that of the condition, also in the event that ends it.
fn labels(notice: &Notice) -> AlertLabels {
    let event = &notice.event;
    let kind = event.kind.ends(event).unwrap_or(event.kind);
    let severity = match kind.level() {
        log::Level::Error => "critical",
        log::Level::Warn => "warning",
        log::Level::Info | log::Level::Debug | log::Level::Trace => "info",
    };
    let mut labels = BTreeMap::from([
        ("alertname", kind.word().to_owned()),
        ("job", "plimsoll".to_owned()),
        ("severity", severity.to_owned()),
    ]);
    let webhook = event.webhook.map(|at| format!("notifications[{at}]"));
    for (name, value) in [
        ("service", &event.service),
        ("replica", &event.replica),
        ("subject", &event.subject),
        ("webhook", &webhook),
    ] {
        labels.extend(value.clone().map(|value| (name, value)));
    }
    labels
}

/// `started_ms`: when the condition that it ends began, if that is known.
pub(super) fn alert(notice: &Notice, started_ms: Option<u64>) -> Value {
    let event = &notice.event;
    let mut alert = json!({
        "labels": labels(notice),
        "annotations": {
            "summary": fitted(&text(notice), unescaped, ANNOTATION_BYTES_MAX, bytes),
        },
    });
    if event.kind.ends(event).is_some() {
        // Alertmanager refuses an end before the beginning.
        alert["endsAt"] = json!(time(started_ms.unwrap_or(0).max(notice.at_ms)));
        if let Some(started_ms) = started_ms {
            alert["startsAt"] = json!(time(started_ms));
        }
        return alert;
    }
    alert["startsAt"] = json!(time(started_ms.unwrap_or(notice.at_ms)));
    if stands(event.kind) {
        alert["endsAt"] = json!(time(notice.at_ms.saturating_add(VALID_MS)));
    }
    alert
}

fn time(ms: u64) -> Option<String> {
    let at = DateTime::from_timestamp_millis(i64::try_from(ms).ok()?)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Whether an event says when the condition is over. One of any other kind is left to
/// Alertmanager's `resolve_timeout`.
fn stands(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ScaleCapped
            | Kind::ScalePreempted
            | Kind::CrashLoop
            | Kind::HealthStale
            | Kind::HealthNotProbed
            | Kind::HealthSuspect
            | Kind::ImageCheckFailed
            | Kind::MetricFailed
            | Kind::ProxyReloadDeferred
            | Kind::ProxyFull
            | Kind::CertificateRejected
            | Kind::CertificateExpires
            | Kind::DockerLost
            | Kind::DockerRefused
            | Kind::SwarmDegraded
            | Kind::SwarmShort
            | Kind::SleepUnavailable
            | Kind::StateNotSaved
            | Kind::HistoryNotSaved
            | Kind::WebhookFailed
            | Kind::DaemonSlow
    )
}

/// Alerts that were sent and whose condition has not ended.
#[derive(Debug, Default)]
pub(crate) struct StandingAlerts {
    alerts: BTreeMap<AlertLabels, StandingAlert>,
    due: Option<Moment>,
}

#[derive(Debug)]
struct StandingAlert {
    notice: Notice,
    since: Moment,
}

impl StandingAlerts {
    /// Takes an event that is sent; gives when its condition began, if it stands.
    pub(crate) fn note(&mut self, now: Moment, notice: &Notice) -> Option<u64> {
        let event = &notice.event;
        let key = labels(notice);
        if event.kind.ends(event).is_some() {
            return self.alerts.remove(&key).map(|standing| standing.notice.at_ms);
        }
        if event.kind == Kind::ServiceOrphaned && event.phase == Phase::Started {
            self.alerts.retain(|_, standing| standing.notice.event.service != event.service);
        }
        if !stands(event.kind) {
            return None;
        }
        if let Some(standing) = self.alerts.get_mut(&key) {
            let started_ms = standing.notice.at_ms;
            standing.notice = Notice { at_ms: started_ms, ..notice.clone() };
            return Some(started_ms);
        }
        if self.alerts.is_empty() {
            self.due = Some(now.plus(RESEND_EVERY));
        }
        if self.alerts.len() < STANDING_MAX {
            self.alerts.insert(key, StandingAlert { notice: notice.clone(), since: now });
        }
        None
    }

    /// When `body` is to be sent next.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.due.filter(|_| !self.alerts.is_empty())
    }

    /// All that stand, if it is time to send them again.
    pub(crate) fn body(&mut self, now: Moment, now_ms: u64) -> Option<String> {
        let is_old = |standing: &StandingAlert| STANDS_AT_MOST <= now.since(standing.since);
        self.alerts.retain(|_, standing| !is_old(standing));
        if self.alerts.is_empty() {
            self.due = None;
            return None;
        }
        self.due.filter(|due| *due <= now)?;
        self.due = Some(now.plus(RESEND_EVERY));
        let again = |standing: &StandingAlert| {
            let mut alert = alert(&standing.notice, None);
            alert["endsAt"] = json!(time(now_ms.saturating_add(VALID_MS)));
            alert
        };
        Some(Value::from_iter(self.alerts.values().map(again)).to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::model::event::{Event, Kind};
    use crate::model::notification::Notice;
    use crate::model::time::Moment;
    use crate::report::notification::alertmanager::{STANDING_MAX, StandingAlerts, alert, labels};

    const AT: u64 = 1_795_662_000_000;

    fn notice(event: Event) -> Notice {
        Notice::new(AT, event, String::new())
    }

    #[test]
    fn a_condition_has_the_same_labels_when_it_begins_and_when_it_ends() {
        let web = |event: Event| notice(event.service("web"));
        for (kind, end) in [
            (Kind::ScaleCapped, Event::resolved(Kind::ScaleCapped, "")),
            (Kind::MetricFailed, Event::new(Kind::MetricRecovered, "")),
            (Kind::HealthSuspect, Event::new(Kind::HealthRecovered, "")),
            (Kind::SwarmDegraded, Event::new(Kind::SwarmRecovered, "")),
            (Kind::DockerLost, Event::new(Kind::DockerBack, "")),
        ] {
            assert_eq!(labels(&web(Event::new(kind, "x"))), labels(&web(end)), "{kind:?}");
        }
        let ill = Event::new(Kind::HealthUnhealthy, "x").replica("web-1".to_owned());
        let well = Event::new(Kind::HealthRecovered, "").replica("web-1".to_owned());
        assert_eq!(labels(&web(ill)), labels(&web(well)));
    }

    #[test]
    fn an_end_is_never_before_its_beginning() {
        let end = notice(Event::resolved(Kind::ScaleCapped, ""));
        let known = alert(&end, Some(AT - 5));
        assert_eq!(known["startsAt"], "2026-11-26T02:59:59.995Z");
        assert_eq!(known["endsAt"], "2026-11-26T03:00:00.000Z");
        // The clock was set back in between.
        let stepped = alert(&end, Some(AT + 5));
        assert_eq!(stepped["startsAt"], stepped["endsAt"]);
        let unknown = alert(&end, None);
        assert_eq!(unknown["startsAt"], Value::Null);
    }

    #[test]
    fn what_stands_is_sent_again_each_minute_until_it_ends() {
        let mut standing = StandingAlerts::default();
        let start = Moment(1000);
        assert_eq!(standing.note(start, &notice(Event::new(Kind::ProxyFull, "full"))), None);
        assert_eq!(standing.note(start, &notice(Event::new(Kind::ProxyDied, "once"))), None);
        assert_eq!(standing.due(), Some(Moment(61_000)));
        assert_eq!(standing.body(Moment(60_999), AT), None);
        let again = standing.body(Moment(61_000), AT + 60_000).unwrap();
        let again: Value = serde_json::from_str(&again).unwrap();
        assert_eq!(again.as_array().unwrap().len(), 1, "{again}");
        assert_eq!(again[0]["labels"]["alertname"], "haproxy.full");
        assert_eq!(again[0]["startsAt"], "2026-11-26T03:00:00.000Z");
        assert_eq!(again[0]["endsAt"], "2026-11-26T03:06:00.000Z");
        assert_eq!(standing.due(), Some(Moment(121_000)));
        let end = notice(Event::resolved(Kind::ProxyFull, "again"));
        assert_eq!(standing.note(Moment(70_000), &end), Some(AT));
        assert_eq!((standing.due(), standing.body(Moment(999_000), AT)), (None, None));
        standing.note(Moment(1_000_000), &notice(Event::new(Kind::ProxyFull, "full")));
        assert_eq!(standing.due(), Some(Moment(1_060_000)));
    }

    #[test]
    fn what_never_ends_is_forgotten_and_their_number_is_bounded() {
        let mut standing = StandingAlerts::default();
        for number in 0..=STANDING_MAX {
            let event = Event::new(Kind::ScaleCapped, "").service(&format!("s{number}"));
            standing.note(Moment(0), &notice(event));
        }
        let sent = standing.body(Moment(60_000), AT).unwrap();
        let sent: Value = serde_json::from_str(&sent).unwrap();
        assert_eq!(sent.as_array().unwrap().len(), STANDING_MAX);
        let gone = Event::new(Kind::ServiceOrphaned, "").service("s0");
        standing.note(Moment(0), &notice(gone));
        let sent = standing.body(Moment(120_000), AT).unwrap();
        assert!(!sent.contains("\"s0\"") && sent.contains("\"s1\""));
        let day = 24 * 3600 * 1000;
        assert!(standing.body(Moment(day - 1), AT).is_some());
        assert_eq!(standing.body(Moment(day), AT), None);
    }
}
