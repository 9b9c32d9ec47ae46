//! Counts what services that sleep do: how long they slept, what woke them, and how long requests
//! waited for that.

use crate::model::sleep::{SleepState, WakeCause};
use crate::model::status::ServiceStatus;
use crate::model::time::Moment;
use crate::report::series::Series;
use crate::report::telemetry::{Labels, Telemetry};

impl Telemetry {
    /// After each tick.
    pub(crate) fn slept(&self, now: Moment, services: &[ServiceStatus]) {
        let mut kept = self.kept();
        for service in services {
            let Some(sleep) = &service.sleep else { continue };
            let own: Labels = vec![("service", service.name.clone())];
            let of =
                |cause: WakeCause| [own.clone(), vec![("cause", cause.word().to_owned())]].concat();
            WakeCause::ALL.into_iter().for_each(|cause| kept.begin(Series::WakeUps, of(cause)));
            if let Some(cause) = sleep.woken {
                kept.add(Series::WakeUps, of(cause), 1);
            }
            for took in &sleep.answered {
                kept.took(Series::WakeUp, own.clone(), *took);
            }
            let is_asleep = sleep.state == SleepState::Asleep;
            let total = kept.asleep(&service.name, now, is_asleep);
            kept.set(Series::Asleep, own, total.as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::model::bounds::Bounds;
    use crate::model::memory::ServiceMemory;
    use crate::model::schedule::Timetable;
    use crate::model::service::{ContainerSpec, Origin, Service, ServiceName};
    use crate::model::sleep::{SleepState, WakeCause};
    use crate::model::status::{ServiceStatus, SleepStatus};
    use crate::model::time::{Moment, Wall};
    use crate::report::series::Series;
    use crate::report::status::StatusHistory;
    use crate::report::telemetry::Telemetry;

    fn status(state: SleepState, woken: Option<WakeCause>, answered: &[u64]) -> ServiceStatus {
        let container = ContainerSpec::new(Origin::Image(String::new()));
        let always = Timetable::always(Bounds::exactly(1));
        let service = Service::new(ServiceName::new("web").unwrap(), container, 80, always);
        let memory = ServiceMemory::default();
        let bare = StatusHistory::default().unseen(&Arc::new(service), Wall(0), &memory);
        let answered = answered.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let sleep = SleepStatus { state, since: None, waiting: 0, held: 0, woken, answered };
        ServiceStatus { sleep: Some(sleep), ..bare }
    }

    #[test]
    fn time_asleep_wake_ups_and_first_answers_add_up() {
        let telemetry = Telemetry::new();
        telemetry.services(&["web"]);
        for (ms, state, woken, answered) in [
            (1_000, SleepState::Awake, None, &[][..]),
            (5_000, SleepState::Asleep, None, &[]),
            (6_600, SleepState::Asleep, None, &[]),
            (7_200, SleepState::Waking, None, &[]),
            (7_300, SleepState::Awake, Some(WakeCause::Request), &[300, 400]),
            (9_000, SleepState::Asleep, None, &[]),
            (9_200, SleepState::Waking, Some(WakeCause::Metric), &[]),
        ] {
            telemetry.slept(Moment(ms), &[status(state, woken, answered)]);
        }
        let kept = telemetry.read();
        let own = vec![("service", "web".to_owned())];
        let by = |cause: &str| [own.clone(), vec![("cause", cause.to_owned())]].concat();
        let number = |series, labels| kept.numbers.get(&(series, labels)).copied();
        // 5.0 to 7.2 and 9.0 to 9.2.
        assert_eq!(number(Series::Asleep, own.clone()), Some(2));
        assert_eq!(number(Series::WakeUps, by("request")), Some(1));
        assert_eq!(number(Series::WakeUps, by("metric")), Some(1));
        assert_eq!(number(Series::WakeUps, by("operator")), Some(0));
        let times = &kept.times[&(Series::WakeUp, own)];
        assert_eq!((times.count, times.sum), (2, Duration::from_millis(700)));
    }
}
