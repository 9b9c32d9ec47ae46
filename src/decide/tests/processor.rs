//! Load on a host whose processors are busy.

use crate::decide::tests::table;

#[test]
fn on_a_busy_host_load_gets_no_more_replicas_unless_theirs_are_at_their_limit() {
    table(
        "
        R   300 1..9 1 host_calm=2              | 4 [start 2, start 3, start 4] above(300%)
        R   300 1..9 1 host_busy=2                   | 1 [] above(300%) busy(2%)
        RR  90  1..9 2 host_busy=0                   | 2 [] above(90%) busy(0%)
        R   90  1..9 1 host_busy=2 limited           | 2 [start 2] above(90%)
        R   89.99 1..9 1 host_busy=2 limited         | 1 [] above(89.99%) busy(2%)
        R   90  1..9 1 host_busy=2 composed_limit    | 2 [start 2] above(90%)
        RM  80  1..9 2 host_busy=2 limited           | 2 [] gaps(40%)
        RR  10  1..9 2 host_busy=2                   | 1 [drain 2] below(10%)
        RR  50  1..9 2 host_busy=2                   | 2 [] inside(50%)
        ",
    );
}

#[test]
fn a_busy_host_undercuts_no_minimum_and_no_operator() {
    table(
        "
        R   300 3..9 1 host_busy=2                   | 3 [start 2, start 3] min(3)
        RR  300 1..9 2 host_busy=2 hold=4            | 4 [start 3, start 4] held(-)
        -   50  0..9 0 host_busy=2 hold=1            | 1 [start 1] held(-)
        RX  50  1..9 2 host_busy=2                   | 2 [exited 2, remove 2, start 3] inside(50%)
        RD  90  1..9 1 host_busy=2                   | 1 [] above(90%) busy(2%)
        R   50  1..9 1 host_busy=2 schedule=2..9     | 2 [start 2] min(2)
        ",
    );
}
