//! Labels of the containers that plimsoll creates.

pub(crate) const LABEL_SERVICE: &str = "io.plimsoll.service";
pub(crate) const LABEL_REPLICA: &str = "io.plimsoll.replica";
pub(crate) const LABEL_SPEC: &str = "io.plimsoll.spec";
/// The digest of its image, where that was pinned.
pub(crate) const LABEL_DIGEST: &str = "io.plimsoll.digest";
pub(crate) const LABEL_PORT: &str = "io.plimsoll.port";
