//! Whose a container is, and thereby what may be done to it.

/// Who made a container that serves as a replica. Everything destructive asks it. A container of
/// anybody else is a `Stranger`, to which nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// Made by plimsoll from the config.
    Ours,
    /// Made by plimsoll as one more of docker compose's replicas.
    Clone,
    /// Made by docker compose.
    Compose,
}

impl Owner {
    /// Docker compose's containers are known by compose's labels, clones of them too.
    pub(crate) fn is_composed(self) -> bool {
        match self {
            Owner::Ours => false,
            Owner::Clone | Owner::Compose => true,
        }
    }

    /// Whether it may be removed although its service needs as many replicas as before: because it
    /// is unhealthy, old, or ended. Docker compose's own containers go only when there are too
    /// many.
    pub(crate) fn may_be_replaced(self) -> bool {
        match self {
            Owner::Ours | Owner::Clone => true,
            Owner::Compose => false,
        }
    }

    /// Whether its anonymous volumes go with it. Only plimsoll's own containers have such that
    /// nobody can miss.
    pub(crate) fn volumes_go(self) -> bool {
        match self {
            Owner::Ours | Owner::Clone => true,
            Owner::Compose => false,
        }
    }
}
