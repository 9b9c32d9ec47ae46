//! `image_updates`: how often the registry is asked for a new image, and when it may be rolled.

use std::time::Duration;

use crate::config::cursor::Section;
use crate::config::hours;
use crate::model::image::ImageUpdates;
use crate::model::service::{Origin, Platform};

const CHECK_MIN: Duration = Duration::from_secs(10);
const CHECK_MAX: Duration = Duration::from_secs(24 * 3600);
const CHECK: Duration = Duration::from_secs(600);

/// The outer `None`: a key is wrong.
pub(crate) fn image_updates(section: &Section) -> Option<Option<ImageUpdates>> {
    if section.get("image_updates").is_none() {
        return Some(None);
    }
    let keys = section.section("image_updates")?;
    let check = keys.get("check").map(|n| n.duration(CHECK_MIN..=CHECK_MAX));
    let hours = keys.get("hours").map(|n| hours::business_hours(&n));
    keys.done();
    let hours = match hours {
        None => None,
        Some(hours) => Some(hours?),
    };
    Some(Some(ImageUpdates { check: check.unwrap_or(Some(CHECK))?, hours }))
}

/// Refuses it where there is no tag of plimsoll's own to watch.
pub(crate) fn beside(section: &Section, origin: Option<&Origin>, runs: Option<&Platform>) {
    let Some(node) = section.get("image_updates") else { return };
    if matches!(runs, Some(Platform::Swarm(_))) {
        node.error("cannot be used with engine swarm: `docker service update --image` rolls it");
        return;
    }
    match origin {
        Some(Origin::Compose { project, service }) => node.error(format!(
            "cannot be used with `compose`, whose own containers only docker compose may replace: \
             `docker compose -p {project} pull {service}`, then `up -d {service}`"
        )),
        Some(Origin::Image(image)) if image.contains('@') => node.error(
            "has nothing to watch: `image` names a digest, which never changes; name a tag instead",
        ),
        Some(Origin::Image(_)) | None => (),
    }
}
