//! What docker compose does to its own services by itself. The notation is in `mod.rs`.

use crate::decide::tests::table;

#[test]
fn what_compose_took_away_comes_back_after_a_cooldown() {
    table(
        "
        RR     50          1..9  3                    | 3 [start 3] inside(50%)
        RR     50          1..9  3  compose given=3   | 2 [] composed(2) inside(50%)
        R      50          2..9  2  compose given=2   | 1 [] composed(1) cooling(30000)
        R      50          2..9  1  compose given=2 changed=29999 | 1 [] cooling(1)
        R      50          2..9  1  compose given=2 changed=30000 | 2 [start 3] min(2)
    ",
    );
}

#[test]
fn what_compose_added_stays_for_a_cooldown() {
    table(
        "
        RRRR   50          1..9  2  compose given=2   | 4 [] composed(4) inside(50%)
        RRRR   50          1..9  2  compose given=4   | 2 [drain 4, drain 3] inside(50%) draining(2)
        RRRR   50          1..3  2  compose given=2   | 4 [] composed(4) cooling(60000)
        RRRR   50          1..3  4  compose given=4 changed=60000 | 3 [drain 4] max(3)
    ",
    );
}

#[test]
fn what_this_daemon_does_is_not_taken_for_composes() {
    table(
        "
        RR     50          1..9  3  compose given=3 starting=3      | 3 [] inside(50%)
        RR     50          1..9  3  compose given=3 failures=1/5000 | 3 [start 4] inside(50%)
        RRX    50          1..9  3  compose given=3 | 3 [exited 3, remove 3, start 4] inside(50%)
        RRD    50          1..9  3  compose given=3 | 3 [back 3] inside(50%)
    ",
    );
}

#[test]
fn the_last_container_of_compose_comes_back_from_its_drain() {
    table(
        "
        G   50 1..9 1 compose clones=9 given=2  | 1 [] no_sample
        D   50 1..9 1 compose clones=9 given=2  | 1 [] inside(50%)
        L   50 1..9 1 compose clones=9 given=2  | 1 [] no_sample
        RG  50 1..9 1 compose clones=9 given=2  | 1 [remove 2] inside(50%)
        RG  50 1..9 1 compose clones=1 given=2  | 1 [drain 1] inside(50%) draining(1)
        RG  50 1..9 1 compose clones=2 given=2  | 1 [remove 2] inside(50%)
        GG  50 1..9 1 compose clones=9 given=2  | 1 [remove 2] no_sample
        B   50 1..9 1 compose clones=9 given=2  | 1 [] no_sample stopped
        G   50 1..9 1 given=2                   | 1 [remove 1, start 3] no_sample none_ready(1)
    ",
    );
}
