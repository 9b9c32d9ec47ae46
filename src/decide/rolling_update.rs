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
    pub(crate) under_way: usize,
    /// Made from something else, and ready or not known not to be.
    pub(crate) old: usize,
    /// Made from something else, and known not to serve.
    pub(crate) old_idle: usize,
    /// Ill, whatever they are made from.
    pub(crate) ill: usize,
    /// Draining or released, and still running.
    pub(crate) leaving: usize,
    /// Some are made from something else, be it that they are on their way out.
    pub(crate) rolls: bool,
    /// Some of `leaving` are ill.
    pub(crate) ill_leave: bool,
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
    pub(crate) no_room: usize,
    pub(crate) drop_ill: usize,
    pub(crate) drop_old_idle: usize,
    pub(crate) drop_old: usize,
    /// Of those that are as they should be: there are too many.
    pub(crate) drop_new: usize,
}

impl GroupSizes {
    pub(crate) fn moves(&self) -> StartsAndStops {
        let drop_ill = self.ill_to_drop();
        let drop_old_idle = self.old_idle;
        let floor = self.wanted.saturating_sub(self.max_unavailable);
        let drop_old = self.old.min((self.ready + self.old).saturating_sub(floor));
        let drop_new =
            (self.ready + self.pending).saturating_sub(self.wanted).saturating_sub(self.under_way);
        let dropped = drop_ill + drop_old_idle + drop_old;
        let left = self.total() - dropped - drop_new;
        // What is replaced runs until it has drained; more than `max_surge` above the wanted
        // number is nowhere planned for.
        let is_tight = self.rolls || self.ill_leave || 0 < drop_ill;
        let surge = match (self.rolls, is_tight || 0 < self.ill) {
            (true, _) => self.max_surge,
            // One ill replica is replaced at a time: a check that is wrong would have them all.
            (false, true) => self.max_surge.min(1),
            (false, false) => 0,
        };
        let above = (self.wanted + surge).saturating_sub(left + self.leaving + dropped);
        let empty = self.wanted.saturating_sub(left);
        let missing = self.wanted.saturating_sub(self.ready + self.pending);
        let asked = missing.min(if is_tight { above } else { empty.max(above) });
        let start = self.room.map_or(asked, |room| asked.min(room));
        let no_room = asked - start;
        StartsAndStops { start, no_room, drop_ill, drop_old_idle, drop_old, drop_new }
    }

    pub(crate) fn total(&self) -> usize {
        self.ready + self.pending + self.old + self.old_idle + self.ill
    }

    /// An ill one goes when another sits in its place. Where no more than the wanted number may
    /// be there, one of them makes room first, and no second before its successor is ready.
    fn ill_to_drop(&self) -> usize {
        let replaced = (self.ill + self.ready + self.old).saturating_sub(self.wanted);
        let is_full = self.max_surge == 0 || self.room == Some(0);
        let makes_room = is_full && self.pending == 0 && self.wanted <= self.total();
        self.ill.min(replaced.max(usize::from(makes_room)))
    }
}

#[cfg(test)]
mod tests {
    use crate::decide::rolling_update::{GroupSizes, StartsAndStops};

    /// `wanted: ready pending old old_idle ill leaving` with the surge and what may be missing.
    fn seats(counts: [usize; 7], max_surge: usize, max_unavailable: usize) -> GroupSizes {
        let [wanted, ready, pending, old, old_idle, ill, leaving] = counts;
        let (under_way, rolls, room) = (0, 0 < old + old_idle, None);
        let rest = GroupSizes {
            under_way,
            rolls,
            room,
            max_surge,
            max_unavailable,
            ..GroupSizes::default()
        };
        let ill_leave = 0 < leaving && 0 < ill;
        GroupSizes { wanted, ready, pending, old, old_idle, ill, ill_leave, leaving, ..rest }
    }

    #[track_caller]
    fn check(seats: GroupSizes, start: usize, drops: [usize; 4]) {
        let [drop_ill, drop_old_idle, drop_old, drop_new] = drops;
        let want =
            StartsAndStops { start, no_room: 0, drop_ill, drop_old_idle, drop_old, drop_new };
        assert_eq!(seats.moves(), want, "{seats:?}");
    }

    #[test]
    fn without_old_and_ill_ones_it_is_the_difference() {
        check(seats([3, 1, 0, 0, 0, 0, 0], 1, 0), 2, [0; 4]);
        check(seats([3, 1, 1, 0, 0, 0, 5], 1, 0), 1, [0; 4]);
        check(seats([1, 3, 0, 0, 0, 0, 0], 1, 0), 0, [0, 0, 0, 2]);
        check(seats([1, 1, 2, 0, 0, 0, 0], 1, 1), 0, [0, 0, 0, 2]);
        let under_way = GroupSizes { under_way: 1, ..seats([1, 2, 1, 0, 0, 0, 0], 1, 0) };
        check(under_way, 0, [0, 0, 0, 1]);
    }

    #[test]
    fn a_rollout_starts_first_and_stops_when_the_new_one_is_ready() {
        check(seats([2, 0, 0, 2, 0, 0, 0], 1, 0), 1, [0; 4]);
        check(seats([2, 0, 1, 2, 0, 0, 0], 1, 0), 0, [0; 4]);
        check(seats([2, 1, 0, 2, 0, 0, 0], 1, 0), 0, [0, 0, 1, 0]);
        // Not above what is planned for, while the old one still drains.
        check(seats([2, 1, 0, 1, 0, 0, 1], 1, 0), 0, [0; 4]);
        check(seats([2, 1, 0, 1, 0, 0, 0], 1, 0), 1, [0; 4]);
        check(seats([2, 0, 0, 2, 0, 0, 0], 2, 0), 2, [0; 4]);
        // Without a surge one goes first.
        check(seats([2, 0, 0, 2, 0, 0, 0], 0, 1), 0, [0, 0, 1, 0]);
        check(seats([2, 0, 0, 1, 0, 0, 0], 0, 1), 1, [0; 4]);
        check(seats([2, 0, 1, 1, 0, 0, 0], 0, 1), 0, [0; 4]);
        // Those that never served cost nothing.
        check(seats([2, 0, 0, 0, 2, 0, 0], 1, 0), 1, [0, 2, 0, 0]);
        // Load took its leave meanwhile.
        check(seats([1, 1, 1, 2, 0, 0, 0], 1, 0), 0, [0, 0, 2, 1]);
        check(seats([4, 1, 0, 1, 0, 0, 0], 1, 0), 3, [0; 4]);
    }

    #[test]
    fn an_ill_one_goes_when_another_is_ready() {
        check(seats([3, 2, 0, 0, 0, 1, 0], 1, 0), 1, [0; 4]);
        check(seats([3, 2, 1, 0, 0, 1, 0], 1, 0), 0, [0; 4]);
        check(seats([3, 3, 0, 0, 0, 1, 0], 1, 0), 0, [1, 0, 0, 0]);
        // One at a time, whatever the surge.
        check(seats([3, 0, 0, 0, 0, 3, 0], 2, 0), 1, [0; 4]);
        check(seats([3, 1, 0, 0, 0, 3, 0], 2, 0), 0, [1, 0, 0, 0]);
        check(seats([3, 1, 0, 0, 0, 2, 1], 2, 0), 0, [0; 4]);
        check(seats([3, 1, 0, 0, 0, 2, 0], 2, 0), 1, [0; 4]);
        // It recovered, or load took its leave.
        check(seats([3, 3, 1, 0, 0, 0, 0], 1, 0), 0, [0, 0, 0, 1]);
        check(seats([2, 2, 0, 0, 0, 1, 0], 1, 0), 0, [1, 0, 0, 0]);
        // Nowhere to put another one: it makes room itself, and only one does.
        check(seats([3, 2, 0, 0, 0, 1, 0], 0, 1), 0, [1, 0, 0, 0]);
        check(seats([3, 1, 0, 0, 0, 2, 0], 0, 1), 0, [1, 0, 0, 0]);
        check(seats([3, 1, 0, 0, 0, 1, 1], 0, 1), 0, [0; 4]);
        check(seats([3, 1, 0, 0, 0, 1, 0], 0, 1), 1, [0; 4]);
        check(seats([3, 1, 1, 0, 0, 1, 0], 0, 1), 0, [0; 4]);
    }

    #[test]
    fn without_memory_for_another_that_is_said_and_an_ill_one_makes_room() {
        let full = |counts| GroupSizes { room: Some(0), ..seats(counts, 1, 0) };
        let old = full([2, 0, 0, 2, 0, 0, 0]).moves();
        assert_eq!(old, StartsAndStops { no_room: 1, ..StartsAndStops::default() });
        let ill = full([2, 1, 0, 0, 0, 1, 0]).moves();
        assert_eq!(ill, StartsAndStops { no_room: 1, drop_ill: 1, ..StartsAndStops::default() });
        let few = GroupSizes { room: Some(1), ..seats([3, 0, 0, 0, 0, 0, 0], 1, 0) }.moves();
        assert_eq!(few, StartsAndStops { start: 1, no_room: 2, ..StartsAndStops::default() });
    }

    /// The moves are made, what goes is gone and what started is ready, again and again.
    fn settle(mut seats: GroupSizes) -> GroupSizes {
        let mut before = None;
        for turn in 0.. {
            assert!(turn < 100, "never still: {seats:?}");
            let moves = seats.moves();
            hold_to_the_rules(&seats, &moves);
            seats.old -= moves.drop_old;
            seats.old_idle -= moves.drop_old_idle;
            seats.ill -= moves.drop_ill;
            let idle = seats.pending.min(moves.drop_new);
            seats.pending -= idle;
            seats.ready -= moves.drop_new - idle;
            seats.pending += moves.start;
            seats.leaving += moves.drop_old + moves.drop_old_idle + moves.drop_ill;
            seats.ill_leave |= 0 < moves.drop_ill;
            seats.rolls = 0 < seats.old + seats.old_idle + seats.leaving && seats.rolls;
            if before == Some((moves, seats)) && seats.leaving == 0 {
                break;
            }
            before = Some((moves, seats));
            // By turns what started gets ready, and what goes is gone.
            if turn % 2 == 0 {
                seats.ready += std::mem::take(&mut seats.pending);
            } else {
                seats.leaving = 0;
                seats.ill_leave = false;
            }
        }
        seats
    }

    fn hold_to_the_rules(seats: &GroupSizes, moves: &StartsAndStops) {
        let told = format!("{seats:?}: {moves:?}");
        let serve = seats.ready + seats.old;
        let idle_new = seats.pending - seats.under_way;
        let left = serve - moves.drop_old - moves.drop_new.saturating_sub(idle_new);
        let floor = seats.wanted - seats.max_unavailable.min(seats.wanted);
        assert!(serve.min(floor) <= left, "fewer serve because of us: {told}");
        let dropped = moves.drop_ill + moves.drop_old_idle + moves.drop_old;
        let there = seats.total() - dropped - moves.drop_new + moves.start;
        let most = seats.wanted + seats.max_surge;
        assert!(moves.start == 0 || there <= most, "more than planned for: {told}");
        let with_leaving = there + seats.leaving + dropped;
        let is_tight = seats.rolls || seats.ill_leave || 0 < moves.drop_ill;
        assert!(
            !is_tight || moves.start == 0 || with_leaving <= most,
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
                let world = seats(counts, max_surge, max_unavailable);
                let end = settle(world);
                let want = GroupSizes {
                    ready: world.wanted,
                    ..seats([world.wanted, 0, 0, 0, 0, 0, 0], max_surge, max_unavailable)
                };
                assert_eq!(end, want, "from {world:?}");
                worlds += 1;
            }
        }
        assert_eq!(worlds, 16_384 * 5);
    }
}
