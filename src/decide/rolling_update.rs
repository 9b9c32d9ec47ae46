//! How many to start and how many to let go, from how many there are of each kind. Arithmetic
//! alone: who it is, is chosen in `reconcile.rs`.
//!
//! A seat is one of the wanted number. An old or ill replica keeps its seat until a new one that is
//! ready takes it, so that what serves is never fewer because of us.

/// How many there are. Those on their way out count only as `leaving`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupSizes {
    pub(crate) wanted: usize,
    /// Made from what they should be made from, and ready.
    pub(crate) ready: usize,
    /// The same, not ready yet; starts that nothing shows for yet among them.
    pub(crate) pending: usize,
    /// Those of `pending` whose start is under way: it is let finish.
    pub(crate) starting: usize,
    /// Made from something else, and ready or not known not to be.
    pub(crate) outdated: usize,
    /// Made from something else, and known not to serve.
    pub(crate) outdated_idle: usize,
    /// Ill, whatever they are made from.
    pub(crate) unhealthy: usize,
    /// Draining or released, and still running.
    pub(crate) leaving: usize,
    /// Some are made from something else, be it that they are on their way out.
    pub(crate) has_outdated: bool,
    /// Some of `leaving` are ill.
    pub(crate) unhealthy_leave: bool,
    pub(crate) max_surge: usize,
    pub(crate) max_unavailable: usize,
    /// How many more the host has memory for, as far as that is known.
    pub(crate) room: Option<usize>,
}

/// What may be done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StartsAndStops {
    /// New ones to start, as far as there is room.
    pub(crate) start: usize,
    /// How many of `start` the host has no memory for.
    pub(crate) lacks_memory: usize,
    pub(crate) stop_unhealthy: usize,
    pub(crate) stop_outdated_idle: usize,
    pub(crate) stop_outdated: usize,
    /// Of those that are as they should be: there are too many.
    pub(crate) stop_new: usize,
}

impl GroupSizes {
    pub(crate) fn moves(&self) -> StartsAndStops {
        let stop_unhealthy = self.unhealthy_to_stop();
        let stop_outdated_idle = self.outdated_idle;
        let floor = self.wanted.saturating_sub(self.max_unavailable);
        let stop_outdated = self.outdated.min((self.ready + self.outdated).saturating_sub(floor));
        let stop_new =
            (self.ready + self.pending).saturating_sub(self.wanted).saturating_sub(self.starting);
        let dropped = stop_unhealthy + stop_outdated_idle + stop_outdated;
        let left = self.total() - dropped - stop_new;
        // What is replaced runs until it has drained; more than `max_surge` above the wanted
        // number is nowhere planned for.
        let is_at_surge_limit = self.has_outdated || self.unhealthy_leave || 0 < stop_unhealthy;
        let surge = match (self.has_outdated, is_at_surge_limit || 0 < self.unhealthy) {
            (true, _) => self.max_surge,
            // One ill replica is replaced at a time: a check that is wrong would have them all.
            (false, true) => self.max_surge.min(1),
            (false, false) => 0,
        };
        let above = (self.wanted + surge).saturating_sub(left + self.leaving + dropped);
        let empty = self.wanted.saturating_sub(left);
        let missing = self.wanted.saturating_sub(self.ready + self.pending);
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

    /// An ill one goes when another sits in its place. Where no more than the wanted number may
    /// be there, one of them makes room first, and no second before its successor is ready.
    fn unhealthy_to_stop(&self) -> usize {
        let replaced = (self.unhealthy + self.ready + self.outdated).saturating_sub(self.wanted);
        let is_full = self.max_surge == 0 || self.room == Some(0);
        let makes_room = is_full && self.pending == 0 && self.wanted <= self.total();
        self.unhealthy.min(replaced.max(usize::from(makes_room)))
    }
}

#[cfg(test)]
mod tests {
    use crate::decide::rolling_update::{GroupSizes, StartsAndStops};

    /// `wanted: ready pending old outdated_idle ill leaving` with the surge and what may be missing.
    fn sizes(counts: [usize; 7], max_surge: usize, max_unavailable: usize) -> GroupSizes {
        let [wanted, ready, pending, outdated, outdated_idle, unhealthy, leaving] = counts;
        let (starting, has_outdated, room) = (0, 0 < outdated + outdated_idle, None);
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
            wanted,
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
        let floor = sizes.wanted - sizes.max_unavailable.min(sizes.wanted);
        assert!(serve.min(floor) <= left, "fewer serve because of us: {told}");
        let dropped = moves.stop_unhealthy + moves.stop_outdated_idle + moves.stop_outdated;
        let there = sizes.total() - dropped - moves.stop_new + moves.start;
        let most = sizes.wanted + sizes.max_surge;
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
                    ready: world.wanted,
                    ..sizes([world.wanted, 0, 0, 0, 0, 0, 0], max_surge, max_unavailable)
                };
                assert_eq!(end, want, "from {world:?}");
                worlds += 1;
            }
        }
        assert_eq!(worlds, 16_384 * 5);
    }
}
