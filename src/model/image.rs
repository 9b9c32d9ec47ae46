//! The image behind a tag: what the registry has, what is pinned, and what was rolled back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::schedule::Window;

/// Rejected digests that are remembered of one service.
const REJECTED_MAX: usize = 16;

/// `image_updates` of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageUpdates {
    /// How often the registry is asked.
    pub(crate) check: Duration,
    /// An update begins only within it. `None`: at any time.
    pub(crate) hours: Option<Window>,
}

/// One image, whatever a tag names meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImagePin {
    /// The registry's digest, `sha256:…`.
    pub(crate) digest: String,
    /// Docker's id of it on this host.
    pub(crate) id: String,
}

/// What a container was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaImage {
    /// Docker's id of the image. Empty: unknown.
    pub(crate) id: String,
    /// Of its label `io.plimsoll.digest`.
    pub(crate) digest: Option<String>,
}

impl ReplicaImage {
    /// Whether it is another image. The label outranks the id, which engines define differently.
    pub(crate) fn is_other(&self, pin: &ImagePin) -> bool {
        match &self.digest {
            Some(digest) => *digest != pin.digest,
            None => !self.id.is_empty() && self.id != pin.id,
        }
    }
}

/// A digest that made no progress with this spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RejectedImage {
    pub(crate) digest: String,
    pub(crate) spec: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageMemory {
    /// The image of the config that the rest is about.
    pub(crate) image: String,
    /// What new replicas are made from. `None`: the tag, as long as nothing is known of it.
    pub(crate) pin: Option<ImagePin>,
    /// The digest before, while an update is under way.
    pub(crate) from: Option<String>,
    /// Oldest first.
    pub(crate) rejected: Vec<RejectedImage>,
    /// A digest to pull now. Derived at each tick, and not stored.
    pub(crate) wanted: Option<String>,
}

impl ImageMemory {
    pub(crate) fn reject(&mut self, digest: String, spec: String) {
        self.rejected.push(RejectedImage { digest, spec });
        let excess = self.rejected.len().saturating_sub(REJECTED_MAX);
        self.rejected.drain(..excess);
    }

    /// A change of the spec makes it worth another try.
    pub(crate) fn is_rejected(&self, digest: &str, spec: &str) -> bool {
        self.rejected.iter().any(|one| one.digest == digest && one.spec == spec)
    }
}

/// The answer of a registry, and what this host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageAnswer {
    /// What the tag names in the registry.
    pub(crate) digest: String,
    /// Docker's id of that image. `None`: it is not on this host.
    pub(crate) id: Option<String>,
    /// The id that the tag names on this host.
    pub(crate) tagged: Option<String>,
    /// By id of an image of this host: its digests, as its registries have them.
    pub(crate) digests: BTreeMap<String, Vec<String>>,
}

impl ImageAnswer {
    /// Whether this image of the host is what the registry has.
    pub(crate) fn is_current(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
            || self.digests.get(id).is_some_and(|digests| digests.contains(&self.digest))
    }
}

/// What is known of the registry's image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegistryObservation {
    /// The last answer.
    pub(crate) answer: Option<ImageAnswer>,
    /// Why the last request or pull failed.
    pub(crate) error: Option<String>,
}

/// An image to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageTarget {
    pub(crate) image: String,
    pub(crate) every: Duration,
    /// Ids of the images that its replicas run.
    pub(crate) ids: Vec<String>,
    /// A digest to pull.
    pub(crate) wanted: Option<String>,
}

/// A call about an image, off the tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageRequest {
    pub(crate) image: String,
    pub(crate) step: ImageStep,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageStep {
    /// Asks the registry, and this host about these ids.
    Ask(Vec<String>),
    /// Pulls a digest; then asks this host.
    Pull(ImageAnswer),
    /// Makes the tag name this digest on this host.
    Tag(String),
}

/// Without its tag and digest; a colon before a slash belongs to the registry's port.
pub(crate) fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        Some(_) | None => name,
    }
}

/// The tag, `latest` where none is written.
pub(crate) fn tag(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        Some(_) | None => "latest",
    }
}

#[cfg(test)]
mod tests {
    use crate::model::image::{ImageMemory, REJECTED_MAX, repository, tag};

    #[test]
    fn an_image_has_a_repository_and_a_tag() {
        for (image, name, wanted) in [
            ("web", "web", "latest"),
            ("web:1", "web", "1"),
            ("a.example:5000/x/web", "a.example:5000/x/web", "latest"),
            ("a.example:5000/x/web:1", "a.example:5000/x/web", "1"),
            ("a.example:5000/web:1@sha256:ab", "a.example:5000/web", "1"),
        ] {
            assert_eq!((repository(image), tag(image)), (name, wanted), "{image}");
        }
    }

    #[test]
    fn rejected_digests_are_bounded_and_of_one_spec() {
        let mut memory = ImageMemory::default();
        for n in 0..=REJECTED_MAX {
            memory.reject(format!("d{n}"), "s".to_owned());
        }
        assert!(!memory.is_rejected("d0", "s"));
        assert!(memory.is_rejected("d1", "s"));
        assert!(!memory.is_rejected("d1", "other"));
    }
}
