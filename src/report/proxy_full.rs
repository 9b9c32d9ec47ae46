//! Whether HAProxy has reached its connection limit: further clients wait until one ends.

use crate::model::event::{Event, Kind};
use crate::model::proxy::Connections;

/// Percent of the most below which it is resolved: around the most it goes up and down.
const OVER_BELOW: u64 = 90;

#[derive(Debug, Default)]
pub(crate) struct ProxyFull {
    is_reported: bool,
}

impl ProxyFull {
    pub(crate) fn update(&mut self, connections: Connections) -> Option<Event> {
        let Connections { now, most } = connections;
        let is_full = 0 < most && most <= now;
        let is_over = now.saturating_mul(100) < most.saturating_mul(OVER_BELOW);
        match (self.is_reported, is_full, is_over) {
            (false, true, _) => {
                self.is_reported = true;
                let message = format!(
                    "HAProxy has reached its limit of {most} connections, and further clients \
                     wait; raise load_balancer.max_connections, or the limit of open files"
                );
                Some(Event::new(Kind::ProxyFull, message))
            }
            (true, _, true) => {
                self.is_reported = false;
                Some(Event::resolved(Kind::ProxyFull, "HAProxy accepts new connections again"))
            }
            (true, _, false) | (false, false, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::proxy::Connections;
    use crate::report::proxy_full::ProxyFull;

    #[test]
    fn it_is_reported_when_no_connection_is_left_and_when_a_tenth_is_again() {
        let mut full = ProxyFull::default();
        for (now, most, want) in [
            (99, 100, "-"),
            (100, 100, "WARN haproxy.full HAProxy has reached its limit of 100 connections"),
            (100, 100, "-"),
            (90, 100, "-"),
            (89, 100, "INFO haproxy.full resolved: HAProxy accepts new"),
            (89, 100, "-"),
            // A version without this number.
            (5, 0, "-"),
        ] {
            let event = full.update(Connections { now, most });
            let line = event.map(|e| format!("{} {} {}", e.level(), e.kind.word(), e.message));
            let line = line.unwrap_or("-".to_owned());
            assert!(line.starts_with(want), "{now} of {most}: {line}");
        }
    }
}
