//! What becomes of a container that does not run, from who or what ended it.

use crate::model::replica::{ContainerState, Ending, Replica};

/// What becomes of a container that exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterExit {
    /// It may be started again in a moment.
    Waits,
    /// Its owner did not stop it: it is started again.
    Restarts,
    /// Its owner stopped it.
    LeftAlone,
    /// It is removed, and another one replaces it.
    Replaced,
}

pub(crate) fn after_exit(replica: &Replica) -> AfterExit {
    let Some(ended) = replica.ended else {
        let is_own = !replica.owner.is_composed();
        return if is_own { AfterExit::Replaced } else { AfterExit::Waits };
    };
    let is_composed = replica.owner.is_composed();
    // Only compose kills all of a service together.
    if ended.is_fresh && (is_composed || ended.by != Ending::Killed) {
        return AfterExit::Waits;
    }
    match ended.by {
        _ if !is_composed => AfterExit::Replaced,
        Ending::Stopped | Ending::Killed => AfterExit::LeftAlone,
        Ending::Crashed | Ending::Shutdown => AfterExit::Restarts,
    }
}

/// Its owner stopped or paused it: it neither counts nor is it touched until its owner acts.
pub(crate) fn is_away(replica: &Replica) -> bool {
    match replica.state {
        ContainerState::Exited => after_exit(replica) == AfterExit::LeftAlone,
        // Compose creates containers before it starts them, and pauses them on request.
        ContainerState::Created => !replica.owner.may_be_replaced(),
        ContainerState::Paused => !replica.is_held && !replica.owner.may_be_replaced(),
        // Somebody removes it and so lowers the number; our own removals have a drain entry.
        ContainerState::Removing => replica.owner.is_composed(),
        ContainerState::Running | ContainerState::Restarting => false,
    }
}
