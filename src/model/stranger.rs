//! Containers that look like replicas and are not.

use crate::model::replica::ContainerId;

/// A container that carries labels of a service and is not its replica. Reported once, never
/// touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stranger {
    pub(crate) id: ContainerId,
    /// Docker's name for it.
    pub(crate) name: String,
    /// The service that its labels name.
    pub(crate) service: String,
    /// Why it is not taken for a replica.
    pub(crate) why: String,
}
