//! Reads remote metrics on a bounded pool: one that hangs keeps one thread, for no longer than its
//! timeout.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::controller::LoopEvent;
use crate::controller::metric_poller::{AT_ONCE, MetricRead};
use crate::daemon::inbox::Incoming;
use crate::daemon::pool;
use crate::observe::metric;
use crate::outside::{Clock, Net, Result};

const THREADS: usize = 4;

pub(crate) struct MetricThreads {
    queue: SyncSender<MetricRead>,
}

impl MetricThreads {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        inbox: SyncSender<Incoming>,
    ) -> Result<MetricThreads> {
        let work = move |MetricRead { source, timeout }| {
            let ask = || metric::ask(&*net, &source, timeout);
            let result = pool::ask(ask, "internal error in plimsoll (please report); see the log");
            Incoming::Loop(LoopEvent::MetricRead { source, result, at: clock.now() })
        };
        let names = (0..THREADS).map(|n| format!("gauge-{n}"));
        Ok(MetricThreads { queue: pool::start(names, AT_ONCE, &inbox, work)? })
    }

    pub(crate) fn send(&self, read: MetricRead) {
        // There is room for as many as the controller sends; its threads end with the daemon.
        drop(self.queue.try_send(read));
    }
}
