//! How many replicas to start and to stop, from the size of each group. Arithmetic alone:
//! `reconcile.rs` chooses which replicas. It corresponds to `NewRSNewReplicas` and
//! `cleanupUnhealthyReplicas` of Kubernetes' Deployment controller.
//!
//! An outdated or unhealthy replica counts towards the desired number until a new one is ready, so
//! that the daemon never reduces the number of replicas that serve.

/// The size of each group. Replicas that drain or stop count only as `leaving`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupSizes {
    pub(crate) desired: usize,
    /// Of the desired revision, and ready.
    pub(crate) ready: usize,
    /// Of the desired revision, not ready yet; also starts without a container so far.
    pub(crate) pending: usize,
    /// The part of `pending` whose start has not ended: it is not interrupted.
    pub(crate) starting: usize,
    /// Of another revision; ready, or not probed yet.
    pub(crate) outdated: usize,
    /// Of another revision, and known not to serve.
    pub(crate) outdated_idle: usize,
    /// Unhealthy, of any revision.
    pub(crate) unhealthy: usize,
    /// Draining or drained, and still running.
    pub(crate) leaving: usize,
    /// At least one replica is outdated, including those in `leaving`.
    pub(crate) has_outdated: bool,
    /// At least one of `leaving` is unhealthy.
    pub(crate) unhealthy_leave: bool,
    pub(crate) max_surge: usize,
    pub(crate) max_unavailable: usize,
    /// How many more the host has memory for. `None`: unknown.
    pub(crate) room: Option<usize>,
}

/// What may start and stop now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StartsAndStops {
    /// New replicas to start, at most `room`.
    pub(crate) start: usize,
    /// How many more would start if the host had memory for them.
    pub(crate) lacks_memory: usize,
    pub(crate) stop_unhealthy: usize,
    pub(crate) stop_outdated_idle: usize,
    pub(crate) stop_outdated: usize,
    /// Surplus replicas of the desired revision.
    pub(crate) stop_new: usize,
}

impl GroupSizes {
    pub(crate) fn moves(&self) -> StartsAndStops {
        let stop_unhealthy = self.unhealthy_to_stop();
        let stop_outdated_idle = self.outdated_idle;
        // `max_unavailable` replicas may be missing, and no more because of us.
        let floor = self.desired.saturating_sub(self.max_unavailable);
        let stop_outdated = self.outdated.min((self.ready + self.outdated).saturating_sub(floor));
        let stop_new =
            (self.ready + self.pending).saturating_sub(self.desired).saturating_sub(self.starting);
        let dropped = stop_unhealthy + stop_outdated_idle + stop_outdated;
        let left = self.total() - dropped - stop_new;
        // A replaced replica runs until it has drained. While one does, all that runs counts
        // against the desired number and the surge.
        let is_at_surge_limit = self.has_outdated || self.unhealthy_leave || 0 < stop_unhealthy;
        let surge = match (self.has_outdated, is_at_surge_limit || 0 < self.unhealthy) {
            (true, _) => self.max_surge,
            // One unhealthy replica at a time: a wrong check would replace all of them at once.
            (false, true) => self.max_surge.min(1),
            (false, false) => 0,
        };
        // `above`: starts that keep everything that runs, also what drains, within the surge.
        // `empty`: starts that fill up the desired number, not counting what drains.
        let above = (self.desired + surge).saturating_sub(left + self.leaving + dropped);
        let empty = self.desired.saturating_sub(left);
        let missing = self.desired.saturating_sub(self.ready + self.pending);
        let asked = missing.min(if is_at_surge_limit { above } else { empty.max(above) });
        let start = self.room.map_or(asked, |room| asked.min(room));
        let lacks_memory = asked - start;
        StartsAndStops {
            start,
            lacks_memory,
            stop_unhealthy,
            stop_outdated_idle,
            stop_outdated,
            stop_new,
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.ready + self.pending + self.outdated + self.outdated_idle + self.unhealthy
    }

    /// An unhealthy replica stops when another one is ready in its place. Without surge or memory,
    /// one stops first, and the next one only after the successor is ready.
    fn unhealthy_to_stop(&self) -> usize {
        let replaced = (self.unhealthy + self.ready + self.outdated).saturating_sub(self.desired);
        let is_full = self.max_surge == 0 || self.room == Some(0);
        let makes_room = is_full && self.pending == 0 && self.desired <= self.total();
        self.unhealthy.min(replaced.max(usize::from(makes_room)))
    }
}

#[cfg(test)]
mod tests {
    use crate::decide::rolling_update::{GroupSizes, StartsAndStops};

    /// Sizes in the order of the fields, `max_surge` and `max_unavailable`.
    fn sizes(counts: [usize; 7], max_surge: usize, max_unavailable: usize) -> GroupSizes {
        let [desired, ready, pending, outdated, outdated_idle, unhealthy, leaving] = counts;
        let starting = 0;
        let has_outdated = 0 < outdated + outdated_idle;
        let room = None;
        let rest = GroupSizes {
            starting,
            has_outdated,
            room,
            max_surge,
            max_unavailable,
            ..GroupSizes::default()
        };
        let unhealthy_leave = 0 < leaving && 0 < unhealthy;
        GroupSizes {
            desired,
            ready,
            pending,
            outdated,
            outdated_idle,
            unhealthy,
            unhealthy_leave,
            leaving,
            ..rest
        }
    }

    #[track_caller]
    fn check(sizes: GroupSizes, start: usize, drops: [usize; 4]) {
        let [stop_unhealthy, stop_outdated_idle, stop_outdated, stop_new] = drops;
        let want = StartsAndStops {
            start,
            lacks_memory: 0,
            stop_unhealthy,
            stop_outdated_idle,
            stop_outdated,
            stop_new,
        };
        assert_eq!(sizes.moves(), want, "{sizes:?}");
    }

    #[test]
    fn without_old_and_ill_ones_it_is_the_difference() {
        check(sizes([3, 1, 0, 0, 0, 0, 0], 1, 0), 2, [0; 4]);
        check(sizes([3, 1, 1, 0, 0, 0, 5], 1, 0), 1, [0; 4]);
        check(sizes([1, 3, 0, 0, 0, 0, 0], 1, 0), 0, [0, 0, 0, 2]);
        check(sizes([1, 1, 2, 0, 0, 0, 0], 1, 1), 0, [0, 0, 0, 2]);
        let starting = GroupSizes { starting: 1, ..sizes([1, 2, 1, 0, 0, 0, 0], 1, 0) };
        check(starting, 0, [0, 0, 0, 1]);
    }

    #[test]
    fn a_rollout_starts_first_and_stops_when_the_new_one_is_ready() {
        check(sizes([2, 0, 0, 2, 0, 0, 0], 1, 0), 1, [0; 4]);
        check(sizes([2, 0, 1, 2, 0, 0, 0], 1, 0), 0, [0; 4]);
        check(sizes([2, 1, 0, 2, 0, 0, 0], 1, 0), 0, [0, 0, 1, 0]);
        // Not above what is planned for, while the old one still drains.
        check(sizes([2, 1, 0, 1, 0, 0, 1], 1, 0), 0, [0; 4]);
        check(sizes([2, 1, 0, 1, 0, 0, 0], 1, 0), 1, [0; 4]);
        check(sizes([2, 0, 0, 2, 0, 0, 0], 2, 0), 2, [0; 4]);
        // Without a surge one goes first.
        check(sizes([2, 0, 0, 2, 0, 0, 0], 0, 1), 0, [0, 0, 1, 0]);
        check(sizes([2, 0, 0, 1, 0, 0, 0], 0, 1), 1, [0; 4]);
        check(sizes([2, 0, 1, 1, 0, 0, 0], 0, 1), 0, [0; 4]);
        // Those that never served cost nothing.
        check(sizes([2, 0, 0, 0, 2, 0, 0], 1, 0), 1, [0, 2, 0, 0]);
        // Load took its leave meanwhile.
        check(sizes([1, 1, 1, 2, 0, 0, 0], 1, 0), 0, [0, 0, 2, 1]);
        check(sizes([4, 1, 0, 1, 0, 0, 0], 1, 0), 3, [0; 4]);
    }

    #[test]
    fn an_ill_one_goes_when_another_is_ready() {
        check(sizes([3, 2, 0, 0, 0, 1, 0], 1, 0), 1, [0; 4]);
        check(sizes([3, 2, 1, 0, 0, 1, 0], 1, 0), 0, [0; 4]);
        check(sizes([3, 3, 0, 0, 0, 1, 0], 1, 0), 0, [1, 0, 0, 0]);
        // One at a time, whatever the surge.
        check(sizes([3, 0, 0, 0, 0, 3, 0], 2, 0), 1, [0; 4]);
        check(sizes([3, 1, 0, 0, 0, 3, 0], 2, 0), 0, [1, 0, 0, 0]);
        check(sizes([3, 1, 0, 0, 0, 2, 1], 2, 0), 0, [0; 4]);
        check(sizes([3, 1, 0, 0, 0, 2, 0], 2, 0), 1, [0; 4]);
        // It recovered, or load took its leave.
        check(sizes([3, 3, 1, 0, 0, 0, 0], 1, 0), 0, [0, 0, 0, 1]);
        check(sizes([2, 2, 0, 0, 0, 1, 0], 1, 0), 0, [1, 0, 0, 0]);
        // Nowhere to put another one: it makes room itself, and only one does.
        check(sizes([3, 2, 0, 0, 0, 1, 0], 0, 1), 0, [1, 0, 0, 0]);
        check(sizes([3, 1, 0, 0, 0, 2, 0], 0, 1), 0, [1, 0, 0, 0]);
        check(sizes([3, 1, 0, 0, 0, 1, 1], 0, 1), 0, [0; 4]);
        check(sizes([3, 1, 0, 0, 0, 1, 0], 0, 1), 1, [0; 4]);
        check(sizes([3, 1, 1, 0, 0, 1, 0], 0, 1), 0, [0; 4]);
    }

    #[test]
    fn without_memory_for_another_that_is_said_and_an_ill_one_makes_room() {
        let full = |counts| GroupSizes { room: Some(0), ..sizes(counts, 1, 0) };
        let outdated = full([2, 0, 0, 2, 0, 0, 0]).moves();
        assert_eq!(outdated, StartsAndStops { lacks_memory: 1, ..StartsAndStops::default() });
        let unhealthy = full([2, 1, 0, 0, 0, 1, 0]).moves();
        assert_eq!(
            unhealthy,
            StartsAndStops { lacks_memory: 1, stop_unhealthy: 1, ..StartsAndStops::default() }
        );
        let few = GroupSizes { room: Some(1), ..sizes([3, 0, 0, 0, 0, 0, 0], 1, 0) }.moves();
        assert_eq!(few, StartsAndStops { start: 1, lacks_memory: 2, ..StartsAndStops::default() });
    }

    /// The moves are made, what goes is gone and what started is ready, again and again.
    fn settle(mut sizes: GroupSizes) -> GroupSizes {
        let mut before = None;
        for turn in 0.. {
            assert!(turn < 100, "never still: {sizes:?}");
            let moves = sizes.moves();
            hold_to_the_rules(&sizes, &moves);
            sizes.outdated -= moves.stop_outdated;
            sizes.outdated_idle -= moves.stop_outdated_idle;
            sizes.unhealthy -= moves.stop_unhealthy;
            let idle = sizes.pending.min(moves.stop_new);
            sizes.pending -= idle;
            sizes.ready -= moves.stop_new - idle;
            sizes.pending += moves.start;
            sizes.leaving += moves.stop_outdated + moves.stop_outdated_idle + moves.stop_unhealthy;
            sizes.unhealthy_leave |= 0 < moves.stop_unhealthy;
            sizes.has_outdated =
                0 < sizes.outdated + sizes.outdated_idle + sizes.leaving && sizes.has_outdated;
            if before == Some((moves, sizes)) && sizes.leaving == 0 {
                break;
            }
            before = Some((moves, sizes));
            // By turns what started gets ready, and what goes is gone.
            if turn % 2 == 0 {
                sizes.ready += std::mem::take(&mut sizes.pending);
            } else {
                sizes.leaving = 0;
                sizes.unhealthy_leave = false;
            }
        }
        sizes
    }

    fn hold_to_the_rules(sizes: &GroupSizes, moves: &StartsAndStops) {
        let told = format!("{sizes:?}: {moves:?}");
        let serve = sizes.ready + sizes.outdated;
        let idle_new = sizes.pending - sizes.starting;
        let left = serve - moves.stop_outdated - moves.stop_new.saturating_sub(idle_new);
        let floor = sizes.desired - sizes.max_unavailable.min(sizes.desired);
        assert!(serve.min(floor) <= left, "fewer serve because of us: {told}");
        let dropped = moves.stop_unhealthy + moves.stop_outdated_idle + moves.stop_outdated;
        let there = sizes.total() - dropped - moves.stop_new + moves.start;
        let most = sizes.desired + sizes.max_surge;
        assert!(moves.start == 0 || there <= most, "more than planned for: {told}");
        let with_leaving = there + sizes.leaving + dropped;
        let is_at_surge_limit =
            sizes.has_outdated || sizes.unhealthy_leave || 0 < moves.stop_unhealthy;
        assert!(
            !is_at_surge_limit || moves.start == 0 || with_leaving <= most,
            "more than planned for: {told}"
        );
    }

    #[test]
    fn every_small_world_keeps_the_rules_and_ends_with_what_is_wanted() {
        let mut worlds = 0;
        for code in 0..4_usize.pow(7) {
            let digit = |place: u32| code / 4_usize.pow(place) % 4;
            let counts = std::array::from_fn(|place| digit(place as u32));
            for (max_surge, max_unavailable) in [(1, 0), (0, 1), (1, 1), (2, 0), (3, 2)] {
                let world = sizes(counts, max_surge, max_unavailable);
                let end = settle(world);
                let want = GroupSizes {
                    ready: world.desired,
                    ..sizes([world.desired, 0, 0, 0, 0, 0, 0], max_surge, max_unavailable)
                };
                assert_eq!(end, want, "from {world:?}");
                worlds += 1;
            }
        }
        assert_eq!(worlds, 16_384 * 5);
    }
}
