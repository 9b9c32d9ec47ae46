//! The host's processors in `/metrics`, as the last evaluation saw them.

use crate::model::status::Status;

pub(super) fn idle(status: Option<&Status>) -> Option<f64> {
    status?.processor.map(|state| state.idle.hundredths() as f64 / 100_00.0)
}

pub(super) fn busy(status: Option<&Status>) -> Option<f64> {
    status?.processor.map(|state| f64::from(u8::from(state.is_busy)))
}

#[cfg(test)]
mod tests {
    use crate::model::host_cpu::ProcessorState;
    use crate::model::service::Percent;
    use crate::model::status::Status;
    use crate::report::problems::tests as problems;
    use crate::report::processor_series::{busy, idle};

    #[test]
    fn they_are_shown_once_they_are_known() {
        let percent = Percent::from_hundredths;
        let state = |is_busy| ProcessorState {
            idle: percent(2_50),
            pressure: None,
            is_busy,
            reserve: percent(5_00),
            cores: 2,
        };
        let shown = |processor| {
            let status = Status { processor, ..problems::status(0, Vec::new()) };
            (idle(Some(&status)), busy(Some(&status)))
        };
        assert_eq!(shown(None), (None, None));
        assert_eq!(shown(Some(state(true))), (Some(0.025), Some(1.0)));
        assert_eq!(shown(Some(state(false))), (Some(0.025), Some(0.0)));
    }
}
