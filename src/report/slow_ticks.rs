//! Ticks that take too long: changes are seen late and acted on late.

use std::time::Duration;

use crate::model::event::{Event, Kind};

/// A tick takes milliseconds while Docker and HAProxy answer.
const LONG: Duration = Duration::from_secs(1);
/// This many slow ticks in a row begin the condition, and as many others end it.
const IN_A_ROW: u32 = 3;

#[derive(Debug, Default)]
pub(crate) struct SlowTicks {
    /// Ticks in a row that contradict the reported state.
    others: u32,
    is_reported: bool,
}

impl SlowTicks {
    /// `slowest` is the call to Docker that took longest.
    pub(crate) fn update(
        &mut self,
        took: Duration,
        slowest: Option<(&'static str, Duration)>,
    ) -> Option<Event> {
        let is_slow = LONG < took;
        self.others = if is_slow == self.is_reported { 0 } else { self.others + 1 };
        if self.others < IN_A_ROW {
            return None;
        }
        (self.others, self.is_reported) = (0, is_slow);
        if !is_slow {
            return Some(Event::resolved(Kind::DaemonSlow, "ticks are fast again"));
        }
        let because = match slowest.filter(|(_, longest)| took / 2 <= *longest) {
            Some((op, longest)) => format!("Docker took {:.1}s for {op}", longest.as_secs_f64()),
            None => "Docker was fast; HAProxy, the disk or this host is slow".to_owned(),
        };
        let message = format!(
            "{IN_A_ROW} ticks in a row took longer than {}s, the last one {:.1}s: {because}",
            LONG.as_secs(),
            took.as_secs_f64()
        );
        Some(Event::new(Kind::DaemonSlow, message))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::report::slow_ticks::SlowTicks;

    #[test]
    fn three_in_a_row_begin_it_and_three_end_it() {
        let mut slow = SlowTicks::default();
        for (took, list, want) in [
            (1001, 900, None),
            (1001, 900, None),
            (1000, 900, None),
            (1001, 900, None),
            (1001, 900, None),
            (1001, 900, Some("Docker took 0.9s for list")),
            (1001, 900, None),
            (10, 1, None),
            (10, 1, None),
            (5000, 1, None),
            (10, 1, None),
            (10, 1, None),
            (1000, 1, Some("resolved: ")),
            (5000, 1, None),
            (5000, 1, None),
            (5000, 1, Some("the last one 5.0s: Docker was fast")),
        ] {
            let ms = Duration::from_millis;
            let event = slow.update(ms(took), Some(("list", ms(list))));
            match (want, &event) {
                (None, None) => (),
                (Some(words), Some(event)) => assert!(event.message.contains(words), "{event:?}"),
                (_, event) => panic!("{took}: {want:?} {event:?}"),
            }
        }
    }
}
