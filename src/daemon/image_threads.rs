//! Asks registries about watched images, on a bounded pool: one that hangs keeps one thread.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::controller::LoopEvent;
use crate::controller::image_watch::AT_ONCE;
use crate::daemon::inbox::Incoming;
use crate::daemon::pool::{self, Pool};
use crate::docker::Docker;
use crate::model::image::{ImageAnswer, ImageRequest, ImageStep};
use crate::outside::{Clock, Result};

/// A pull may take long, and does not hold up the questions about other images.
const THREADS: usize = 2;

pub(crate) struct ImageThreads {
    pool: Pool<ImageRequest>,
}

impl ImageThreads {
    pub(crate) fn new(
        engine: Arc<Docker>,
        clock: Arc<dyn Clock>,
        inbox: &SyncSender<Incoming>,
    ) -> Result<ImageThreads> {
        let work = move |request: ImageRequest| {
            let ask = || engine.watch_image(&request);
            let result = pool::ask(ask, "internal error in plimsoll (please report); see the log");
            let ImageRequest { image, step } = request;
            if let ImageStep::Ask(_) = step {
                log::debug!("image={image} {}", found(&result));
            }
            Some(Incoming::Loop(LoopEvent::ImageSeen { image, result, at: clock.now() }))
        };
        let pool = Pool::new("image", THREADS, 2 * AT_ONCE, inbox);
        pool.start(work)?;
        Ok(ImageThreads { pool })
    }

    pub(crate) fn send(&self, request: ImageRequest) {
        // There is room for as many as the controller sends.
        self.pool.send(request);
    }
}

fn found(result: &std::result::Result<Option<ImageAnswer>, String>) -> String {
    match result {
        Ok(answer) => format!("registry_digest={}", answer.as_ref().map_or("", |a| &a.digest)),
        Err(why) => format!("registry_error={why:?}"),
    }
}
