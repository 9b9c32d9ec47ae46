//! Which number of replicas comes out, and why. The notation is in `mod.rs`.

use crate::decide::tests::table;

#[test]
fn load_at_or_above_the_upper_threshold_adds_replicas() {
    table(
        "
        RR     75          1..9  2                  | 3 [start 3] above(75%)
        RR     74.99       1..9  2                  | 2 [] inside(74.99%)
        RR     75.01       1..9  2                  | 3 [start 3] above(75.01%)
        RR     76,74       1..9  2                  | 3 [start 3] above(75%)
        RR     75,74.99    1..9  2                  | 2 [] inside(74.99%)
        R      75          1..9  1                  | 2 [start 2] above(75%)
        RR     112.5       1..9  2                  | 3 [start 3] above(112.5%)
        RR     112.51      1..9  2                  | 4 [start 3, start 4] above(112.51%)
        R      300         1..9  1                  | 4 [start 2, start 3, start 4] above(300%)
        R      300         1..3  1                  | 3 [start 2, start 3] above(300%) max(3)
        RRP    100         1..9  3                  | 4 [start 4] above(100%)
        RR     50          1..9  2  band=20/50      | 3 [start 3] above(50%)
        RR     0           1..9  2  band=20/50      | 1 [drain 2] below(0%)
    ",
    );
}

#[test]
fn load_at_or_below_the_lower_threshold_takes_one_away() {
    table(
        "
        RRRR   30          1..9  4                  | 3 [drain 4] below(30%)
        RRRR   30.01       1..9  4                  | 4 [] inside(30.01%)
        RRRR   29.99       1..9  4                  | 3 [drain 4] below(29.99%)
        RRRR   0           1..9  4                  | 3 [drain 4] below(0%)
        RR     31,29       1..9  2                  | 1 [drain 2] below(30%)
        RR     31,29.02    1..9  2                  | 2 [] inside(30.01%)
        RRRR   0           4..9  4                  | 4 [] below(0%) min(4)
        RR     30          0..9  2                  | 1 [drain 2] below(30%)
    ",
    );
}

#[test]
fn a_step_down_never_bounces_back() {
    table(
        "
        RR     37.5        1..9  2  band=40/75      | 2 [] bounce(75%)
        RR     37.49       1..9  2  band=40/75      | 1 [drain 2] below(37.49%)
        RRR    49.99       1..9  3  band=50/75      | 2 [drain 3] below(49.99%)
        RRR    50          1..9  3  band=50/75      | 3 [] bounce(75%)
        RR     60          1..9  2  band=60/75      | 2 [] bounce(120%)
    ",
    );
}

#[test]
fn the_last_replica_stays() {
    table(
        "
        R      0           0..9  1                  | 1 [] last_one
        R      30          0..9  1                  | 1 [] last_one
        R      30.01       0..9  1                  | 1 [] inside(30.01%)
        -      -           0..9  0                  | 0 [] no_sample
    ",
    );
}

#[test]
fn a_missing_reading_never_scales_down() {
    table(
        "
        RM     10          1..9  2                  | 2 [] gaps(55%)
        RRM    0           1..9  3                  | 3 [] gaps(33.33%)
        RRRM   0           1..9  4                  | 3 [drain 4] below(0%)
        RRRM   7           1..9  4                  | 4 [] gaps(30.25%)
        RRRM   6.66        1..9  4                  | 3 [drain 4] below(6.66%)
        RRRM   0           1..9  4  band=25/200     | 4 [] gaps(50%)
        MM     -           1..9  2                  | 2 [] no_sample
        M      -           0..9  1                  | 1 [] no_sample
    ",
    );
}

#[test]
fn a_missing_reading_counts_as_idle_on_the_way_up() {
    table(
        "
        RM     100         1..9  2                  | 2 [] gaps(50%)
        RM     149.99      1..9  2                  | 2 [] gaps(74.99%)
        RM     150         1..9  2                  | 3 [start 3] above(150%)
        RM     226         1..9  2                  | 4 [start 3, start 4] above(226%)
    ",
    );
}

#[test]
fn a_replica_that_is_not_ready_counts_on_the_way_up_only() {
    table(
        "
        RU     100         1..9  2                  | 2 [] gaps(50%)
        RU     150         1..9  2                  | 3 [start 3] above(150%)
        RN     100         1..9  2                  | 2 [] gaps(50%)
        RU     10          1..9  2                  | 1 [drain 2] below(10%)
        RC     100         1..9  2                  | 2 [start 2] gaps(50%)
        R      100         1..9  2  starting=2      | 2 [] gaps(50%)
        R      150         1..9  2  starting=2      | 3 [start 3] above(150%)
        RU     149         1..9  2  starting=2      | 2 [] gaps(74.5%)
        RU     150         1..9  2  starting=2      | 3 [start 3] above(150%)
        R      100         1..9  2                  | 2 [start 2] gaps(50%)
        UU     -           1..9  2                  | 2 [] no_sample none_ready(2)
    ",
    );
}

#[test]
fn a_replica_that_leaves_carries_nothing() {
    table(
        "
        RRD    75          1..9  2                  | 3 [back 3] above(75%)
        RRL    75          1..9  2                  | 3 [start 4] above(75%)
        RRB    50          1..9  2                  | 2 [] inside(50%)
        RRX    50          1..9  2                  | 2 [exited 3, remove 3] inside(50%)
    ",
    );
}

#[test]
fn a_number_outside_the_bounds_is_put_right_at_once() {
    table(
        "
        R      50          2..4  1                  | 2 [start 2] min(2)
        R      50          2..4  1  changed=1       | 2 [start 2] min(2)
        R      50          2..4  1  between         | 2 [start 2] min(2)
        RR     50          2..4  2                  | 2 [] inside(50%)
        RRRRR  90          1..4  5                  | 4 [drain 5] max(4)
        RRRRR  90          1..4  5  changed=1       | 4 [drain 5] max(4)
        RRRRR  90          1..4  5  between         | 4 [drain 5] max(4)
        RRRR   50          1..4  4                  | 4 [] inside(50%)
        RRRR   50          1..2  4                  | 2 [drain 4, drain 3] max(2)
        MM     -           3..3  2                  | 3 [start 3] min(3)
        -      -           3..4  0                  | 3 [start 1, start 2, start 3] min(3)
    ",
    );
}

#[test]
fn a_change_by_load_waits_for_the_cooldown_of_its_direction() {
    table(
        "
        RR     90          1..9  2  changed=29999   | 2 [] above(90%) cooling(1)
        RR     90          1..9  2  changed=30000   | 3 [start 3] above(90%)
        RR     90          1..9  2  changed=0       | 2 [] above(90%) cooling(30000)
        RR     10          1..9  2  changed=59999   | 2 [] below(10%) cooling(1)
        RR     10          1..9  2  changed=60000   | 1 [drain 2] below(10%)
        RR     10          1..9  2  changed=30000   | 2 [] below(10%) cooling(30000)
        RR     50          1..9  2  changed=1       | 2 [] inside(50%)
    ",
    );
}

#[test]
fn the_band_comes_first_then_the_bounds_then_the_cooldown() {
    table(
        "
        RR     300         1..4  2                  | 4 [start 3, start 4] above(300%) max(4)
        RR     300         1..4  2  changed=1       | 2 [] above(300%) max(4) cooling(29999)
        RR     300         1..2  2  changed=1       | 2 [] above(300%) max(2)
        RR     10          2..4  2  changed=1       | 2 [] below(10%) min(2)
    ",
    );
}

#[test]
fn a_first_look_takes_what_it_finds() {
    table(
        "
        RR     50          1..4  ?                  | 2 [] found(2) inside(50%)
        RUC    50          1..4  ?                  | 3 [start 3] found(3) inside(50%)
        RX     50          1..4  ?                  | 1 [exited 2, remove 2] found(1) inside(50%)
        -      -           1..4  ?                  | 1 [start 1] found(0) min(1)
        RRRRR  50          1..4  ?                  | 4 [drain 5] found(5) max(4)
        RR     90          1..4  ?                  | 3 [start 3] found(2) above(90%)
        RRD    50          1..4  ?                  | 2 [] found(2) inside(50%) draining(1)
    ",
    );
}

#[test]
fn between_two_looks_the_number_stands() {
    table(
        "
        RR     90          1..4  2  between         | 2 [] effective
        RR     10          1..4  2  between         | 2 [] effective
        R      90          1..4  2  between         | 2 [start 2] effective
        RRR    10          1..4  2  between         | 2 [drain 3] effective draining(1)
    ",
    );
}

#[test]
fn without_a_metric_the_number_stays() {
    table(
        "
        RR     90          2..2  2  band=none       | 2 [] no_metric
        RR     10          2..2  2  band=none       | 2 [] no_metric
        R      90          2..2  2  band=none       | 2 [start 2] no_metric
    ",
    );
}

#[test]
fn without_docker_nothing_is_begun() {
    table(
        "
        RR     90          1..4  2  lost            | 2 [] lost
        R      90          2..4  1  lost            | 1 [] lost
        RX     90          1..4  2  lost            | 2 [] lost
        RG     90          1..4  1  lost            | 1 [] lost
        -      -           1..4  ?  lost            | 0 [] lost
    ",
    );
}

#[test]
fn outside_the_hours_load_changes_nothing_and_bounds_still_hold() {
    table(
        "
        RR     90          1..9  2  outside=hold    | 2 [] outside
        RR     0           1..9  2  outside=hold    | 2 [] outside
        RR     90          3..9  2  outside=hold    | 3 [start 3] min(3)
        RR     90          1..9  2  outside=1       | 1 [drain 2] max(1)
        RR     90          1..9  2  outside=4       | 4 [start 3, start 4] min(4)
        RR     90          1..9  2  outside=2       | 2 [] outside
        RR     0           1..9  2  outside=0       | 0 [drain 2, drain 1] max(0)
        RR     90          1..9  2  schedule=4..6   | 4 [start 3, start 4] min(4)
        RR     90          1..9  2  schedule=1..2   | 2 [] above(90%) max(2)
        RR     90          1..9  2  schedule=1..9   | 3 [start 3] above(90%)
        RR     0           1..9  2  outside=1 schedule=2..6 | 2 [] outside
    ",
    );
}
