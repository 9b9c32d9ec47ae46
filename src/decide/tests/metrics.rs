//! Metrics beside and instead of the band, orders of operators, the host's memory. The notation is
//! in `mod.rs`.

use crate::decide::plan_service;
use crate::decide::tests::{sketch, table};
use crate::model::replica::Load;

#[test]
fn a_metric_asks_for_as_many_as_hold_it_at_its_target() {
    table(
        "
        RR   66 1..9 2 band=- by=cpu/60          | 2 [] on(66)
        RR   67 1..9 2 band=- by=cpu/60          | 3 [start 3] over(67)
        RR   54 1..9 2 band=- by=cpu/60          | 2 [] on(54)
        RRRR 29 1..9 4 band=- by=cpu/60          | 4 [] under(29) down_window(4)
        RRM  90 1..9 3 band=- by=cpu/60          | 3 [] explained(90)
        RRM  30 1..9 3 band=- by=cpu/60          | 3 [] under(30)
        RR   50 1..9 2 band=- by=memory/60       | 2 [] untold(memory)
        RR   50 1..9 2 band=- by=total:80/40     | 2 [] on(40)
        RR   50 1..9 2 band=- by=total:89/40     | 3 [start 3] over(44.5)
        RR   50 1..9 2 band=- by=total:71/40     | 2 [] under(35.5)
        RR   50 0..9 2 band=- by=total:0/40      | 2 [] under(0) down_window(2)
        -    -  0..9 0 band=- by=total:1/40      | 1 [start 1] under(1)
        RR   50 1..9 2 band=- by=average:300/100 | 4 [start 3, start 4] over(300) up_limit(growth)
        RR   50 1..9 2 band=- by=average:110/100 | 2 [] on(110)
    ",
    );
}

#[test]
fn of_several_the_largest_wins_and_one_that_fails_blocks_the_way_down() {
    table(
        "
        RR 50 1..9 2 by=total:160/40                     | 4 [start 3, start 4] over(80)
        RR 80 1..9 2 by=total:10/40                      | 3 [start 3] above(80%)
        RR 10 1..9 2 by=total:10/40                      | 2 [] below(10%) down_window(2)
        RR 10 1..9 2 by=failed/40                        | 2 [] below(10%) unsure(haproxy queue)
        RR 80 1..9 2 by=failed/40                        | 3 [start 3] above(80%)
        RR 10 1..9 2 by=pending/40                       | 2 [] below(10%) unsure(haproxy queue)
        RR 50 1..9 2 band=- by=failed/40                 | 2 [] untold(haproxy queue)
        RR 50 1..9 2 band=- by=failed/40 by=total:160/40 | 4 [start 3, start 4] over(80)
        RR 50 1..9 2 band=- by=total:10/40 by=failed/40  | 2 [] under(5) unsure(haproxy queue)
    ",
    );
}

#[test]
fn windows_and_rates_hold_the_number_of_metrics_back() {
    table(
        "
        RRRR 10 1..9 4 band=- by=cpu/60                | 4 [] under(10) down_window(4)
        RRRR 10 1..9 4 band=- by=cpu/60 asked=4/300000 | 4 [] under(10) down_window(4)
        RRRR 10 1..9 4 band=- by=cpu/60 asked=4/300001 | 1 [drain 4, drain 3, drain 2] under(10)
        RR   90 1..9 2 band=- by=cpu/60 changed=29999  | 2 [] over(90) cooling(1)
        RRRR 10 1..9 4 calm asked=2/300000             | 3 [drain 4] below(10%)
        RRRR 10 1..9 4 band=- by=cpu/60 asked=3/60000  | 3 [drain 4] under(10) down_window(3)
    ",
    );
    table(
        "
        R    900 1..9 1 band=- by=cpu/60 | 4 [start 2, start 3, start 4] over(900) up_limit(growth)
        RRR  900 1..9 3 band=- by=cpu/60 | 6 [start 4, start 5, start 6] over(900) up_limit(growth)
        RRRR 10  1..9 4 calm             | 4 [] below(10%) down_window(4)
        RRRR 10  1..9 4                  | 3 [drain 4] below(10%)
        RRRR 900 1..3 3 band=- by=cpu/60 | 3 [drain 4] over(900) max(3)
    ",
    );
}

#[test]
fn a_hold_outranks_hours_schedules_and_load() {
    table(
        "
        RR 90 1..9 2 hold=4               | 4 [start 3, start 4] held(-)
        RR 90 1..9 2 hold=2/500           | 2 [] held(500)
        RR 90 1..9 2 hold=1/1             | 1 [drain 2] held(1)
        RR 90 1..9 2 hold=1/0             | 3 [start 3] above(90%)
        RR 50 1..1 2 hold=1               | 1 [drain 2] held(-)
        RR 50 1..1 2 hold=2               | 1 [drain 2] held(-) max(1)
        RR 50 1..2 1 hold=5               | 2 [] held(-) max(2)
        RR 50 1..9 2 hold=3 outside=hold  | 3 [start 3] held(-)
        RR 50 1..9 2 hold=1 schedule=5..6 | 1 [drain 2] held(-)
        RR 50 1..9 2 hold=3 between       | 3 [start 3] held(-)
        RR 50 1..9 2 hold=3 paused        | 3 [start 3] held(-)
        RR 50 1..9 2 hold=0               | 0 [drain 2, drain 1] held(-)
        RR 50 1..9 2 hold=4 lost          | 2 [] lost
    ",
    );
}

#[test]
fn a_pause_stops_scaling_and_not_replacing() {
    table(
        "
        RR 90 1..9 2 paused               | 2 [] paused(-)
        RR 10 1..9 2 paused=500           | 2 [] paused(500)
        RR 90 1..9 2 paused=0             | 3 [start 3] above(90%)
        RR 50 4..9 2 paused               | 2 [] paused(-)
        RX 50 1..9 2 paused               | 2 [exited 2, remove 2, start 3] paused(-)
        RR 50 1..9 2 paused schedule=5..6 | 2 [] paused(-)
    ",
    );
}

#[test]
fn what_load_asks_for_is_measured_also_while_it_changes_nothing() {
    for (facts, want) in [
        ("", "3"),
        ("paused", "3"),
        ("hold=2", "3"),
        ("hold=2 between", ""),
        ("outside", "3"),
        ("by=failed/40", "3 -"),
        ("paused by=failed/40", "3 -"),
    ] {
        let (snapshot, memory) = sketch(&format!("RR 90 1..9 2 {facts}"));
        let measured = plan_service(&snapshot, &memory).0.decision.measured;
        let asks = |n: Option<u32>| n.map_or("-".to_owned(), |n| n.to_string());
        let asks: Vec<String> = measured.iter().map(|m| asks(m.proposal)).collect();
        assert_eq!(asks.join(" "), want, "{facts}");
    }
}

#[test]
fn the_record_tells_how_each_replica_counted() {
    for (world, want) in [
        (
            "RMPUXD 40,60 1..9 4",
            "ready 40%, missing -, ready 60%, unready -, ignored -, ignored 60%",
        ),
        ("RSI    40    1..9 2", "ready 40%, unready -, unready 40%"),
        ("RM     40    1..9 2 band=-", "ready 40%, ready -"),
        ("RM     40    1..9 2 hold=2", "ready 40%, missing -"),
        ("RM     40    1..9 2 band=- by=memory/60", "missing 40%, missing -"),
        ("R      40    1..9 1 lost", "ready 40%"),
    ] {
        let (snapshot, memory) = sketch(world);
        let seen = plan_service(&snapshot, &memory).0.decision.samples;
        let cpu = |load| match load {
            Load::Read(percent) => percent.to_string(),
            Load::Missing => "-".to_owned(),
        };
        let seen: Vec<String> =
            seen.iter().map(|s| format!("{} {}", s.weight.word(), cpu(s.cpu))).collect();
        assert_eq!(seen.join(", "), want, "{world}");
    }
}

#[test]
fn replicas_are_started_while_the_host_has_room() {
    table(
        "
        R  300 1..9 1 room=96/32            | 4 [start 2, start 3, start 4] above(300%)
        R  300 1..9 1 room=95/32            | 3 [start 2, start 3] above(300%) no_room(95/32)
        R  300 1..9 1 room=31/32            | 1 [] above(300%) no_room(31/32)
        R  300 1..9 1 room=0/32             | 1 [] above(300%) no_room(0/32)
        R  300 1..9 1 room=0/-              | 4 [start 2, start 3, start 4] above(300%)
        R  300 1..9 1 room=-/32             | 4 [start 2, start 3, start 4] above(300%)
        R  300 1..9 2 room=96/32 starting=2 | 4 [start 3, start 4] above(300%)
        RX 50  1..9 2 room=31/32            | 2 [exited 2, remove 2] inside(50%) no_room(31/32)
        RX 50  1..9 2 room=32/32            | 2 [exited 2, remove 2, start 3] inside(50%)
        R  50  4..9 1 room=64/32            | 3 [start 2, start 3] min(4) no_room(64/32)
        RD 90  1..9 1 room=0/32             | 2 [back 2] above(90%)
        RR 10  1..9 2 room=0/32             | 1 [drain 2] below(10%)
    ",
    );
}
