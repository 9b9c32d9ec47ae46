//! Reads remote metrics on a bounded pool: one that hangs keeps one thread, for no longer than its
//! timeout.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::controller::LoopEvent;
use crate::controller::metric_poller::{AT_ONCE, MetricRead};
use crate::daemon::inbox::Incoming;
use crate::daemon::pool::{self, Pool};
use crate::observe::metric;
use crate::outside::{Clock, Net, Result};

const THREADS: usize = 4;

pub(crate) struct MetricThreads {
    pool: Pool<MetricRead>,
}

impl MetricThreads {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        inbox: &SyncSender<Incoming>,
    ) -> Result<MetricThreads> {
        let work = move |MetricRead { source, timeout }| {
            let ask = || metric::ask(&*net, &source, timeout);
            let result = pool::ask(ask, "internal error in plimsoll (please report); see the log");
            let read = LoopEvent::MetricRead { source, result, at: clock.now() };
            Some(Incoming::Loop(read))
        };
        let pool = Pool::new("metric", THREADS, AT_ONCE, inbox);
        pool.start(work)?;
        Ok(MetricThreads { pool })
    }

    pub(crate) fn send(&self, read: MetricRead) {
        // There is room for as many as the controller sends.
        self.pool.send(read);
    }
}
