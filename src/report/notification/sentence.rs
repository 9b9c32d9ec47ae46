//! An event as one sentence for people, and what the formats cut and escape it by.

use crate::model::event::{Event, Kind, Phase};
use crate::model::notification::Notice;
use crate::model::time::wall_of_ms;

/// What an event of each kind says; `{r}` is the replica, else the service; `{s}` the service.
const PHRASES: &[(Kind, &str)] = &[
    (Kind::ScaleUp, "{s} scales up"),
    (Kind::ScaleDown, "{s} scales down"),
    (Kind::ScaleCapped, "{s} gets no more replicas"),
    (Kind::ScalePreempted, "{s}: one replica for another by priority"),
    (Kind::ScheduleChanged, "{s} has other bounds by its schedule"),
    (Kind::ReplicaStarted, "{r} was started"),
    (Kind::ReplicaFailed, "{r} failed"),
    (Kind::ReplicaNotReady, "{r} did not become ready"),
    (Kind::ReplicaDraining, "{r} drains"),
    (Kind::ReplicaDrainCancelled, "the drain of {r} was cancelled"),
    (Kind::ReplicaDrainTimedOut, "the drain of {r} timed out"),
    (Kind::ReplicaExited, "{r} ended"),
    (Kind::ReplicaRestarted, "{r} was restarted"),
    (Kind::ReplicaRenamed, "{r} was renamed"),
    (Kind::ReplicaRemoved, "{r} was removed"),
    (Kind::HookFailed, "a hook of {r} failed"),
    (Kind::ComposeStopped, "{r} was stopped"),
    (Kind::ComposePaused, "{r} was paused"),
    (Kind::ComposeUnpaused, "{r} was unpaused"),
    (Kind::ContainerIgnored, "a container of {s} is ignored"),
    (Kind::ImagePulling, "the image of {s} is being pulled"),
    (Kind::ImagePulled, "the image of {s} was pulled"),
    (Kind::ImageUpdated, "{s} was updated to a new image"),
    (Kind::ImageRejected, "the new image of {s} was rejected"),
    (Kind::ImageCheckFailed, "the image of {s} cannot be checked or pulled"),
    (Kind::CrashLoop, "{s} is in a crash loop"),
    (Kind::HealthUnhealthy, "{r} is unhealthy"),
    (Kind::HealthRecovered, "{r} is healthy again"),
    (Kind::HealthReplaced, "{r} was unhealthy and is replaced"),
    (Kind::HealthSuspect, "the health checks of {s} are ignored"),
    (Kind::HealthStale, "the health check of {r} does not run"),
    (Kind::HealthNotProbed, "the replicas of {s} are not probed"),
    (Kind::RolloutStarted, "the rollout of {s} has started"),
    (Kind::RolloutFinished, "the rollout of {s} has finished"),
    (Kind::RolloutStalled, "the rollout of {s} makes no progress"),
    (Kind::RolloutRolledBack, "the rollout of {s} was rolled back"),
    (Kind::HoldSet, "{s} is held at a number of replicas"),
    (Kind::HoldReleased, "{s} is no longer held"),
    (Kind::ScalingPaused, "scaling of {s} is paused"),
    (Kind::ScalingResumed, "scaling of {s} is resumed"),
    (Kind::MetricFailed, "a metric of {s} cannot be read"),
    (Kind::MetricRecovered, "a metric of {s} is read again"),
    (Kind::ProxyReloaded, "HAProxy was reloaded"),
    (Kind::ProxyReloadFailed, "HAProxy could not be reloaded"),
    (Kind::ProxyRolledBack, "HAProxy was rolled back"),
    (Kind::ProxyServersUpdated, "HAProxy's servers were updated"),
    (Kind::ProxyUpdateFailed, "HAProxy's servers could not be updated"),
    (Kind::ProxyReloadDeferred, "a reload of HAProxy is deferred"),
    (Kind::RouteDeferred, "a route or port waits for {s}"),
    (Kind::ProxyFull, "HAProxy is full"),
    (Kind::ProxyKilled, "an old process of HAProxy was killed"),
    (Kind::ProxyDied, "HAProxy died"),
    (Kind::CertificateRejected, "a certificate was rejected"),
    (Kind::CertificateRenewed, "a certificate was renewed"),
    (Kind::CertificateExpires, "a certificate expires soon"),
    (Kind::DockerLost, "Docker does not answer"),
    (Kind::DockerBack, "Docker answers again"),
    (Kind::DockerRefused, "a call of Docker is refused"),
    (Kind::SwarmDegraded, "the Swarm service {s} cannot be scaled"),
    (Kind::SwarmRecovered, "the Swarm service {s} can be scaled again"),
    (Kind::SwarmShort, "Swarm runs too few tasks of {s}"),
    (Kind::SleepUnavailable, "requests cannot wake {s}"),
    (Kind::ServiceOrphaned, "{s} has replicas but is not in the config"),
    (Kind::ServiceAsleep, "{s} is asleep"),
    (Kind::ServiceWoken, "{s} was woken"),
    (Kind::StateDamaged, "the state file is damaged"),
    (Kind::StateMissing, "the state file is missing"),
    (Kind::StateNotSaved, "the state cannot be stored"),
    (Kind::ReportWeekly, "the report of the week"),
    (Kind::HistoryNotSaved, "the load history cannot be stored"),
    (Kind::WebhookFailed, "a webhook failed"),
    (Kind::WebhookTest, "this is a test of plimsoll's notifications"),
    (Kind::ConfigReloaded, "the config was reloaded"),
    (Kind::ConfigRejected, "the config was rejected"),
    (Kind::LabelsApplied, "labels were applied"),
    (Kind::LabelsRejected, "labels were rejected"),
    (Kind::LabelsWarning, "labels have a warning"),
    (Kind::DaemonStarted, "plimsoll has started"),
    (Kind::DaemonSlow, "plimsoll is slow"),
    (Kind::DaemonStopping, "plimsoll stops"),
];

/// The whole message: what happened, why, how often, and the last line that a failed container
/// logged.
pub(super) fn text(notice: &Notice) -> String {
    let event = &notice.event;
    let (message, log) = event.message_and_log();
    let message = one_line(message);
    let mut out = match event.phase {
        Phase::Started => headline(event),
        Phase::Resolved => format!("resolved ({})", headline(event)),
    };
    let message = message.strip_prefix("resolved: ").unwrap_or(&message);
    if !message.is_empty() {
        out += ": ";
        out += message;
    }
    if let Some(more) = more(notice) {
        out += &format!(" ({more})");
    }
    if let Some(log) = log {
        out += &format!("; its last log line: {}", one_line(log));
    }
    out
}

/// What happened, without the reason.
pub(super) fn headline(event: &Event) -> String {
    let phrase = PHRASES.iter().find(|(kind, _)| *kind == event.kind);
    let phrase = phrase.map_or(event.kind.word(), |(_, phrase)| phrase);
    let service = event.service.as_deref().unwrap_or("all services");
    let replica = event.replica.as_deref().unwrap_or(service);
    let mut out = phrase.replace("{r}", replica).replace("{s}", service);
    if let Some((from, to)) = event.change {
        out += &format!(" from {from} to {to}");
    }
    out
}

/// `and 4 more since 10:31 UTC`
fn more(notice: &Notice) -> Option<String> {
    let since = wall_of_ms(notice.since_ms).to_string();
    // Of `2026-01-31T12:00:00Z`.
    let time = since.get(11..16).unwrap_or_default();
    (0 < notice.more).then(|| format!("and {} more since {time} UTC", notice.more))
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What one character becomes, by its neighbours.
pub(super) type EscapeChar = fn(before: Option<char>, c: char, after: Option<char>) -> String;

pub(super) fn unescaped(_: Option<char>, c: char, _: Option<char>) -> String {
    c.to_string()
}

/// The escaped text, cut so that it is at most `max` long as `measure` counts. Never cuts inside
/// of what one character became.
pub(super) fn fitted(
    text: &str,
    escape: EscapeChar,
    max: usize,
    measure: fn(&str) -> usize,
) -> String {
    let mut out = String::new();
    let mut length = 0;
    // As much of it as leaves room for the mark.
    let mut short = 0;
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let piece = escape(before, c, chars.peek().copied());
        length += measure(&piece);
        if max < length {
            out.truncate(short);
            return out + "…";
        }
        out += &piece;
        if length + measure("…") <= max {
            short = out.len();
        }
        before = Some(c);
    }
    out
}

pub(super) fn utf16(text: &str) -> usize {
    text.encode_utf16().count()
}

pub(super) fn bytes(text: &str) -> usize {
    text.len()
}

#[cfg(test)]
mod tests {
    use crate::model::event::Kind;
    use crate::report::notification::sentence::{PHRASES, bytes, fitted, unescaped, utf16};

    #[test]
    fn every_kind_has_one_phrase() {
        let kinds: Vec<Kind> = PHRASES.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, Kind::ALL, "in the order of the kinds");
    }

    #[test]
    fn a_text_is_cut_where_it_is_too_long_and_not_before() {
        for (text, max, measure, want) in [
            ("abcde", 5, bytes as fn(&str) -> usize, "abcde"),
            ("abcdef", 5, bytes, "ab…"),
            ("äää", 6, bytes, "äää"),
            ("äääa", 6, bytes, "ä…"),
            ("abcdef", 5, utf16, "abcd…"),
            ("😀😀", 4, utf16, "😀😀"),
            ("😀😀a", 4, utf16, "😀…"),
            ("", 5, utf16, ""),
        ] {
            assert_eq!(fitted(text, unescaped, max, measure), want, "{text} {max}");
        }
    }

    #[test]
    fn an_escaped_character_is_kept_whole_or_left_out() {
        let escape = |_: Option<char>, c: char, _: Option<char>| format!("\\{c}");
        assert_eq!(fitted("___", escape, 6, bytes), "\\_\\_\\_");
        assert_eq!(fitted("___", escape, 5, bytes), "\\_…");
    }
}
