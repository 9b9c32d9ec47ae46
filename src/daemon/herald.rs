//! Tells an event to all who are told of events: the log, what counts them.

use std::sync::Arc;

use crate::daemon::logger;
use crate::model::event::Event;
use crate::report::telemetry::Telemetry;

pub(crate) struct Herald {
    telemetry: Arc<Telemetry>,
}

impl Herald {
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Herald {
        Herald { telemetry }
    }

    pub(crate) fn tell(&self, event: &Event) {
        logger::event(event);
        self.telemetry.event(event);
    }
}
