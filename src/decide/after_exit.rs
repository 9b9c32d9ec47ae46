//! What becomes of a container that does not run, from who or what ended it.

use crate::model::replica::{ContainerState, Ending, Replica};

/// What becomes of a container that exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterExit {
    /// Whoever stopped it may be about to start it again.
    Waits,
    /// Its owner did not mean it to end: it is started again.
    Restarts,
    /// Its owner stopped it.
    LeftAlone,
    /// Another one takes its place, and it is removed.
    Replaced,
}

pub(crate) fn after_exit(replica: &Replica) -> AfterExit {
    let Some(ended) = replica.ended else {
        let is_own = !replica.owner.is_composed();
        return if is_own { AfterExit::Replaced } else { AfterExit::Waits };
    };
    if ended.is_fresh {
        return AfterExit::Waits;
    }
    match ended.by {
        _ if !replica.owner.is_composed() => AfterExit::Replaced,
        Ending::Stopped | Ending::Killed => AfterExit::LeftAlone,
        Ending::Crashed | Ending::Shutdown => AfterExit::Restarts,
    }
}

/// Nothing is done to it and nothing is expected of it until its owner does something.
pub(crate) fn is_away(replica: &Replica) -> bool {
    match replica.state {
        ContainerState::Exited => after_exit(replica) == AfterExit::LeftAlone,
        // Compose makes containers before it starts them, and freezes them when it is told to.
        ContainerState::Created => !replica.owner.may_be_replaced(),
        ContainerState::Paused => !replica.is_held && !replica.owner.may_be_replaced(),
        // Whoever removes it made it fewer; where it is us, it is on its way out already.
        ContainerState::Removing => replica.owner.is_composed(),
        ContainerState::Running | ContainerState::Restarting => false,
    }
}
