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

const ASKING: usize = 2;
const PULLING: usize = 2;

pub(crate) struct ImageThreads {
    asking: Pool<ImageRequest>,
    /// A pull may take long, and does not hold up the questions about other images.
    pulling: Pool<ImageRequest>,
}

impl ImageThreads {
    pub(crate) fn new(
        engine: Arc<Docker>,
        clock: Arc<dyn Clock>,
        inbox: &SyncSender<Incoming>,
    ) -> Result<ImageThreads> {
        let work = Arc::new(move |request: ImageRequest| {
            let ask = || engine.watch_image(&request);
            let result = pool::ask(ask, "internal error in plimsoll (please report); see the log");
            if let ImageStep::Ask(_) = request.step {
                log::debug!("image={} {}", request.image, found(&result));
            }
            Some(Incoming::Loop(LoopEvent::ImageSeen { request, result, at: clock.now() }))
        });
        let asking = Pool::new("image", ASKING, 2 * AT_ONCE, inbox);
        let pulling = Pool::new("pull", PULLING, AT_ONCE, inbox);
        for pool in [&asking, &pulling] {
            let work = work.clone();
            pool.start(move |request| work(request))?;
        }
        Ok(ImageThreads { asking, pulling })
    }

    pub(crate) fn send(&self, request: ImageRequest) {
        let pool = match request.step {
            ImageStep::Pull(_) => &self.pulling,
            ImageStep::Ask(_) | ImageStep::Tag(_) => &self.asking,
        };
        // There is room for as many as the controller sends.
        pool.send(request);
    }
}

fn found(result: &std::result::Result<Option<ImageAnswer>, String>) -> String {
    match result {
        Ok(answer) => format!("registry_digest={}", answer.as_ref().map_or("", |a| &a.digest)),
        Err(why) => format!("registry_error={why:?}"),
    }
}
