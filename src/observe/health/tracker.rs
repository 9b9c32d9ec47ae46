//! Health of a replica by its probe results: passes or failures in a row, and patience
//! with one that starts.

use std::time::Duration;

use crate::model::health::{HealthCheck, HealthKind};
use crate::model::replica::{DockerHealth, Health};
use crate::model::time::Moment;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthTracker {
    passes: u32,
    failures: u32,
    has_passed: bool,
    pub(crate) health: Health,
}

impl HealthTracker {
    /// A replica that passed for an earlier daemon gets no new start period.
    pub(crate) fn new(has_passed: bool) -> HealthTracker {
        HealthTracker { passes: 0, failures: 0, has_passed, health: Health::Unknown }
    }

    /// It never passed and is in its start period: a failure means nothing yet.
    pub(crate) fn is_excused(&self, check: &HealthCheck, age: Duration) -> bool {
        !self.has_passed && age < check.start_period
    }

    pub(crate) fn passed(&mut self, check: &HealthCheck) {
        self.has_passed = true;
        self.failures = 0;
        self.passes = self.passes.saturating_add(1);
        if check.healthy_after <= self.passes {
            self.health = Health::Healthy;
        } else if self.health == Health::Unknown {
            self.health = Health::Starting;
        }
    }

    /// `age` is how long it runs.
    pub(crate) fn failed(
        &mut self,
        check: &HealthCheck,
        now: Moment,
        age: Duration,
        error: String,
    ) {
        self.passes = 0;
        if self.is_excused(check, age) {
            self.health = Health::Starting;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if check.unhealthy_after <= self.failures {
            self.fall(now, error);
        } else if self.health == Health::Unknown {
            self.health = Health::Starting;
        }
    }

    /// Health without a probe, for the check types `docker` and `none`. Docker counts failures.
    pub(crate) fn note_docker_health(
        &mut self,
        kind: &HealthKind,
        own: Option<&DockerHealth>,
        now: Moment,
    ) {
        match (kind, own) {
            (HealthKind::Http(_) | HealthKind::Tcp, _) => (),
            (HealthKind::None, _) | (HealthKind::Docker, Some(DockerHealth::Healthy)) => {
                self.health = Health::Healthy;
            }
            (HealthKind::Docker, Some(DockerHealth::Starting) | None) => {
                self.health = Health::Starting;
            }
            // One that serves goes on to, one that does not is not let in by it.
            (HealthKind::Docker, Some(DockerHealth::Stale(_))) => {
                if self.health == Health::Unknown {
                    let is_old = self.has_passed;
                    self.health = if is_old { Health::Healthy } else { Health::Starting };
                }
            }
            (HealthKind::Docker, Some(DockerHealth::Unhealthy(complaint))) => {
                self.fall(now, format!("the image's own check fails: {complaint}"));
            }
        }
    }

    fn fall(&mut self, now: Moment, error: String) {
        let since = match self.health {
            Health::Unhealthy { since, .. } => since,
            Health::Unknown | Health::Starting | Health::AwaitsHook | Health::Healthy => now,
        };
        self.health = Health::Unhealthy { since, error };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::health::{HealthCheck, HealthKind};
    use crate::model::replica::{DockerHealth, Health};
    use crate::model::time::Moment;
    use crate::observe::health::tracker::HealthTracker;

    fn shown(streak: &HealthTracker) -> String {
        match &streak.health {
            Health::Unknown => "?".to_owned(),
            Health::Starting => "s".to_owned(),
            Health::AwaitsHook => "h".to_owned(),
            Health::Healthy => "H".to_owned(),
            Health::Unhealthy { since, error } => format!("U{}:{error}", since.0 / 1000),
        }
    }

    /// One probe a second, `+` passes and `-` fails.
    #[track_caller]
    fn check(rises: u32, falls: u32, start_s: u64, before: bool, answers: &str, want: &str) {
        let check = HealthCheck {
            healthy_after: rises,
            unhealthy_after: falls,
            start_period: Duration::from_secs(start_s),
            ..HealthCheck::default()
        };
        let mut streak = HealthTracker::new(before);
        let mut got = Vec::new();
        for (answer, second) in answers.chars().zip(0..) {
            let now = Moment(second * 1000);
            match answer {
                '+' => streak.passed(&check),
                _ => streak.failed(&check, now, now.since(Moment(0)), second.to_string()),
            }
            got.push(shown(&streak));
        }
        assert_eq!(got.join(" "), want, "{rises} {falls} {start_s} {before} {answers}");
    }

    #[test]
    fn so_many_answers_in_a_row_make_it_healthy_or_ill() {
        check(1, 1, 0, false, "+-+", "H U1:1 H");
        check(1, 3, 0, false, "+--+---", "H H H H H H U6:6");
        check(2, 1, 0, false, "+-++-", "s U1:1 U1:1 H U4:4");
        check(3, 2, 0, false, "++-+++", "s s s s s H");
        // It stays unhealthy until it passes often enough; since when does not change.
        check(2, 2, 0, false, "--+-++", "s U1:1 U1:1 U1:1 U1:1 H");
        check(1, 2, 0, false, "----", "s U1:1 U1:2 U1:3");
    }

    #[test]
    fn failures_in_the_start_period_count_only_after_the_first_pass() {
        check(1, 2, 3, false, "-----", "s s s s U4:4");
        check(1, 2, 3, false, "-+--", "s H H U3:3");
        // One pass ends it, also when it takes more of them to be healthy.
        check(2, 1, 60, false, "-+-", "s s U2:2");
        // Somebody else saw it pass before.
        check(1, 2, 60, true, "--", "s U1:1");
    }

    #[test]
    fn who_is_not_asked_is_what_docker_says() {
        let ill = |text: &str| Some(DockerHealth::Unhealthy(text.to_owned()));
        let mut streak = HealthTracker::new(false);
        for (second, kind, own, want) in [
            (1, HealthKind::Tcp, ill("no"), "?"),
            (2, HealthKind::None, ill("no"), "H"),
            (3, HealthKind::Docker, None, "s"),
            (4, HealthKind::Docker, Some(DockerHealth::Starting), "s"),
            (4, HealthKind::Docker, Some(DockerHealth::Stale(99)), "s"),
            (5, HealthKind::Docker, Some(DockerHealth::Healthy), "H"),
            (6, HealthKind::Docker, ill("a"), "U6:the image's own check fails: a"),
            (7, HealthKind::Docker, ill("b"), "U6:the image's own check fails: b"),
            (8, HealthKind::Docker, Some(DockerHealth::Healthy), "H"),
            (9, HealthKind::Docker, Some(DockerHealth::Stale(99)), "H"),
        ] {
            streak.note_docker_health(&kind, own.as_ref(), Moment(second * 1000));
            assert_eq!(shown(&streak), want, "{second}");
        }
        for (has_passed, want) in [(false, "s"), (true, "H")] {
            let mut streak = HealthTracker::new(has_passed);
            streak.note_docker_health(
                &HealthKind::Docker,
                Some(&DockerHealth::Stale(99)),
                Moment(0),
            );
            assert_eq!(shown(&streak), want, "Docker's old word, has it passed: {has_passed}");
        }
    }
}
