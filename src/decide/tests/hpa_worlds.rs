//! What must hold for one metric's proposal in every small world, whether HPA's tables have it or
//! not.

use crate::decide::classify::ReplicaClass;
use crate::decide::combine::{Combined, combine};
use crate::decide::hpa::{
    Measure, NoProposal, Outcome, Proposal, ProposalInput, Sample, Tolerance, propose,
};
use crate::model::metric::Milli;

const TENTH: Tolerance = Tolerance { down: 0.1, up: 0.1 };

fn sample(class: ReplicaClass, used: Option<u64>) -> Sample {
    Sample { class, used: used.map(Milli), allowed: Some(Milli(1000)) }
}

/// A reading in percent for one that is ready, `-` for a gap, `u` for unready, `x` for leaving.
fn samples(text: &str) -> Vec<Sample> {
    let one = |word: &str| match word {
        "-" => sample(ReplicaClass::Ready, None),
        "u" => sample(ReplicaClass::Unready, Some(9_990)),
        "x" => sample(ReplicaClass::Leaving, Some(9_990)),
        percent => sample(ReplicaClass::Ready, Some(percent.parse::<u64>().unwrap() * 10)),
    };
    text.split_whitespace().map(one).collect()
}

fn utilization(text: &str, percent: u64, current: u32) -> Result<Proposal, NoProposal> {
    propose(&ProposalInput {
        measure: Measure::Utilization,
        target: Milli(percent * 1000),
        samples: &samples(text),
        current,
        tolerance: TENTH,
    })
}

#[test]
fn each_course_has_a_row_on_both_sides() {
    let table = [
        // The tolerance is inclusive on both sides.
        ("90 90", 100, 2, 2, "Tolerated"),
        ("89 89", 100, 2, 2, "Followed"),
        ("44 44 44 44", 50, 4, 4, "Followed"),
        ("110 110", 100, 2, 2, "Tolerated"),
        ("111 111", 100, 2, 3, "Followed"),
        // Whole percents: 110.5 is 110.
        ("110 111", 100, 2, 2, "Tolerated"),
        // A gap is full on the way down, and fuller when the target is.
        ("20 -", 100, 2, 2, "FollowedFilled"),
        ("0 0 -", 100, 3, 1, "FollowedFilled"),
        ("0 0 -", 300, 3, 1, "FollowedFilled"),
        ("80 -", 100, 2, 2, "ToleratedFilled"),
        ("30 -", 50, 2, 2, "RatioTurned"),
        // On the way up a gap carries nothing.
        ("200 -", 100, 2, 2, "ToleratedFilled"),
        ("180 -", 100, 2, 2, "ToleratedFilled"),
        ("178 -", 100, 2, 2, "RatioTurned"),
        ("300 -", 100, 2, 3, "FollowedFilled"),
        ("300 u", 100, 2, 3, "FollowedFilled"),
        ("150 u", 100, 2, 2, "RatioTurned"),
        // An unready one does not count on the way down, one that leaves never does.
        ("50 u", 100, 2, 1, "Followed"),
        ("50 x", 100, 2, 1, "Followed"),
        ("150 x", 100, 1, 2, "Followed"),
        // At the target exactly there is no direction to fill a gap against.
        ("100 -", 100, 2, 2, "ToleratedFilled"),
        ("50 -", 50, 2, 2, "ToleratedFilled"),
        // Fewer, says the ratio; but more are looked at than were decided on, and the other way.
        ("70 70 70 -", 100, 2, 2, "CountTurned"),
        ("300 u", 100, 9, 9, "CountTurned"),
    ];
    for (text, percent, current, want, outcome) in table {
        let got = utilization(text, percent, current).unwrap();
        let told = format!("{:?}", got.outcome);
        assert_eq!(got.replicas, want, "{text} at {percent}: {got:?}");
        assert!(told.split(' ').next() == Some(outcome), "{text} at {percent}: {got:?}");
    }
    assert_eq!(Tolerance::from_hundredths(10), TENTH);
    let half = Tolerance { down: 0.5, up: 0.0 };
    let text = samples("50 50");
    let measure = Measure::Utilization;
    let target = Milli(100_000);
    let input = ProposalInput { measure, target, samples: &text, current: 2, tolerance: half };
    assert_eq!(propose(&input).unwrap().outcome, Outcome::Tolerated);
}

#[test]
fn what_is_not_known_has_a_name() {
    let table = [
        ("", NoProposal::NoReplica),
        ("- -", NoProposal::NoReading),
        ("u u", NoProposal::NoneReady),
        ("u x -", NoProposal::NoneReady),
    ];
    for (text, want) in table {
        assert_eq!(utilization(text, 50, 2), Err(want), "{text}");
    }
    for (ready, leaving) in [(Some(1000), None), (None, Some(1000)), (Some(0), Some(0))] {
        let mut some = samples("50 x");
        (some[0].allowed, some[1].allowed) = (ready.map(Milli), leaving.map(Milli));
        let target = Milli(50_000);
        let tolerance = TENTH;
        let measure = Measure::Utilization;
        let samples = &some[..];
        let input = ProposalInput { measure, target, samples, current: 2, tolerance };
        // One without a limit is enough, even if nothing else of it counts.
        assert_eq!(propose(&input), Err(NoProposal::NoLimit), "{ready:?} {leaving:?}");
    }
}

#[test]
fn a_number_for_all_is_shared_or_common() {
    let replicas = samples("1 1 u x -");
    let row = |measure, target: u64, current| {
        let target = Milli(target);
        let samples = &replicas[..];
        let input = ProposalInput { measure, target, samples, current, tolerance: TENTH };
        let got = propose(&input).unwrap();
        (got.replicas, got.value.0)
    };
    let shared = |total| Measure::Shared(Milli(total));
    assert_eq!(row(shared(8600), 2150, 3), (4, 2867), "each is rounded up");
    assert_eq!(row(shared(20_000), 5000, 4), (4, 5000));
    assert_eq!(row(shared(22_000), 5000, 4), (4, 5500), "the tolerance is inclusive");
    assert_eq!(row(shared(22_001), 5000, 4), (5, 5501));
    assert_eq!(row(shared(18_000), 5000, 4), (4, 4500));
    assert_eq!(row(shared(0), 5000, 4), (0, 0));
    assert_eq!(row(shared(1), 5000, 0), (1, 1), "from zero nothing is tolerated");
    assert_eq!(row(shared(5000), 5000, 0), (1, 5000));
    assert_eq!(row(shared(0), 5000, 0), (0, 0));
    let common = |value| Measure::Common(Milli(value));
    assert_eq!(row(common(2000), 1000, 3), (6, 2000), "times those that are ready, two and a gap");
    assert_eq!(row(common(1100), 1000, 3), (3, 1100));
    assert_eq!(row(common(0), 1000, 3), (0, 0));
    assert_eq!(row(common(1050), 1000, 0), (2, 1050), "from zero nothing is tolerated");
    assert_eq!(row(common(0), 1000, 0), (0, 0));
}

#[test]
fn no_figure_is_too_large() {
    let extreme = [0, 1, 1 << 31, i64::MAX as u64, u64::MAX];
    for (a, b) in extreme.iter().flat_map(|a| extreme.map(|b| (*a, b))) {
        for (target, current) in extreme.iter().flat_map(|t| [0, 1, u32::MAX].map(|c| (*t, c))) {
            let total = Measure::Shared(Milli(a));
            let big = Measure::Common(Milli(a));
            for measure in [Measure::Utilization, total, big] {
                let mut some = vec![sample(ReplicaClass::Ready, Some(a)); 3];
                some[0].allowed = Some(Milli(b));
                some[1].used = Some(Milli(b));
                some[2].used = None;
                some.push(sample(ReplicaClass::Unready, None));
                let target = Milli(target);
                let input =
                    ProposalInput { measure, target, samples: &some, current, tolerance: TENTH };
                if let Ok(got) = propose(&input) {
                    assert!(got.replicas <= current.max(i32::MAX as u32), "{input:?}");
                    assert!(!got.ratio.is_nan(), "{input:?}");
                }
            }
        }
    }
    let target = Milli(1);
    let tolerance = TENTH;
    let measure = Measure::Shared(Milli(u64::MAX));
    let input = ProposalInput { measure, target, samples: &[], current: 3, tolerance };
    let got = propose(&input).unwrap();
    assert_eq!((got.replicas, got.value.0), (i32::MAX as u32, i64::MAX as u64), "as HPA caps it");
}

/// All replicas that were decided on are looked at, so the counts have nothing to turn around.
#[test]
fn in_every_small_world_more_load_never_means_fewer() {
    const WORDS: [&str; 9] = ["0", "40", "90", "100", "110", "111", "250", "-", "u"];
    let mut worlds = 0;
    for length in 1..=4_u32 {
        for code in 0..9_usize.pow(length) {
            let word = |i| WORDS[code / 9_usize.pow(i) % 9];
            let words: Vec<&str> = (0..length).map(word).collect();
            worlds += check_world(&words);
        }
    }
    assert_eq!(worlds, 9 + 81 + 729 + 6561);
}

fn check_world(words: &[&str]) -> usize {
    let current = u32::try_from(words.len()).unwrap();
    let measure = Measure::Utilization;
    let target = Milli(100_000);
    let ask = |samples: &[Sample]| {
        let input = ProposalInput { measure, target, samples, current, tolerance: TENTH };
        propose(&input).ok()
    };
    let here = samples(&words.join(" "));
    let Some(got) = ask(&here) else { return 1 };
    let ready = || words.iter().filter(|w| !["-", "u"].contains(w)).map(|w| w.parse::<u64>());
    let all = |test: fn(u64) -> bool| ready().all(|w| test(w.unwrap()));
    assert!(got.replicas <= current || !all(|w| w <= 100), "up without need: {words:?} {got:?}");
    assert!(current <= got.replicas || !all(|w| 100 <= w), "down in need: {words:?} {got:?}");
    assert!(
        got.ratio <= 1.0 || current <= got.replicas,
        "down by a ratio above 1: {words:?} {got:?}"
    );
    assert!(
        1.0 <= got.ratio || got.replicas <= current,
        "up by a ratio below 1: {words:?} {got:?}"
    );
    for i in 0..here.len() {
        let mut more = here.clone();
        if let (ReplicaClass::Ready, Some(used)) = (here[i].class, here[i].used) {
            more[i].used = Some(Milli(used.0 + 300));
            let then = ask(&more).unwrap().replicas;
            assert!(got.replicas <= then, "more load, fewer: {words:?} {i} {got:?} {then}");
            // What is not known is taken for the cautious side of whatever it may turn out to be.
            let mut blind = here.clone();
            blind[i].used = None;
            if let Some(blind) = ask(&blind) {
                let low = current.min(got.replicas);
                let high = current.max(got.replicas);
                let full = used.0 <= 1000;
                let wild = blind.replicas < low && full || high < blind.replicas;
                assert!(!wild, "a gap moves further: {words:?} {i} {got:?} {blind:?}");
            }
        }
    }
    1
}

#[test]
fn the_largest_wins_and_a_failed_one_blocks_the_way_down_only() {
    let table: [(&[Option<u32>], Combined); 9] = [
        (&[], Combined::NoProposal),
        (&[None, None], Combined::NoProposal),
        (&[Some(3)], Combined::Largest { replicas: 3, metric: 0 }),
        (&[Some(3), Some(4), Some(4)], Combined::Largest { replicas: 4, metric: 1 }),
        (&[Some(6), None], Combined::Largest { replicas: 6, metric: 0 }),
        (&[None, Some(5)], Combined::Largest { replicas: 5, metric: 1 }),
        (&[Some(4), None], Combined::Blocked { replicas: 4, metric: 0, failed: 1 }),
        (&[None, Some(0), None], Combined::Blocked { replicas: 0, metric: 1, failed: 0 }),
        (&[Some(0), Some(0)], Combined::Largest { replicas: 0, metric: 0 }),
    ];
    for (proposals, want) in table {
        assert_eq!(combine(5, proposals), want, "{proposals:?}");
    }
}
