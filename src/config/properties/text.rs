//! Any text gets an answer: soon, without a panic, and each problem in it is one line with a place.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::config::Loaded;
use crate::config::properties::{Random, World, written};

const TEXTS: u64 = 60_000;
/// It is a few milliseconds; a machine may have other things to do.
const SOON: Duration = Duration::from_secs(5);

const PIECES: [&str; 58] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "'",
    "\\",
    "//",
    "/*",
    "*/",
    "\n",
    "\r\n",
    "\t",
    " ",
    "é",
    "\u{feff}",
    "\u{2028}",
    "\u{0}",
    "\u{1}",
    "😀",
    "\\u0000",
    "\\ud800",
    "\\n",
    "$",
    "${",
    "${T0}",
    "$${",
    "null",
    "true",
    "false",
    "NaN",
    "-",
    "+",
    "0",
    "007",
    "1e9",
    "1e999",
    "-0",
    "0.5",
    "0x1",
    "18446744073709551616",
    "1.",
    ".5",
    "\"services\"",
    "\"web\"",
    "\"image\"",
    "\"port\"",
    "\"max_replicas\"",
    "\"metrics\"",
    "\"health_check\"",
    "\"file\"",
    "\"\"",
    "\"a\":",
    "{}",
    "[]",
    "\"key\":1,",
];

fn soup(random: &mut Random, pieces: usize) -> String {
    (0..random.below(pieces)).map(|_| random.word(&PIECES)).collect()
}

fn bytes(random: &mut Random) -> String {
    let bytes: Vec<u8> =
        (0..random.below(300)).map(|_| random.below(256).to_le_bytes()[0]).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn characters(random: &mut Random) -> String {
    let code = |random: &mut Random| u32::try_from(random.below(0x11_0000)).unwrap();
    (0..random.below(100)).filter_map(|_| char::from_u32(code(random))).collect()
}

fn position(random: &mut Random, text: &str) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A part of the text, mostly a short one.
fn part(random: &mut Random, text: &str) -> (usize, usize) {
    let from = position(random, text);
    let to = position(random, text);
    let (from, to) = (from.min(to), from.max(to));
    let mut near = to.min(from + 40);
    while !text.is_char_boundary(near) {
        near -= 1;
    }
    (from, if random.one_in(4) { to } else { near })
}

/// A text that is nearly one of `all`.
fn changed(random: &mut Random, all: &[String]) -> String {
    let mut text = random.of(all).clone();
    for _ in 0..=random.below(3) {
        let at = position(random, &text);
        let (from, to) = part(random, &text);
        match random.below(7) {
            0 => text.truncate(at),
            1 => text.replace_range(from..to, ""),
            2 => text.insert_str(at, &soup(random, 4)),
            3 => text.replace_range(from..to, &soup(random, 4)),
            4 => text = [&text[..at], &text[from..to], &text[at..]].concat(),
            5 => {
                let other = random.of(all);
                let (from, to) = part(random, other);
                text.insert_str(at, &other[from..to]);
            }
            _ => {
                let nest = random.word(&["[", "{\"a\":", "[{\"a\":", "[[],"]);
                text.insert_str(at, &nest.repeat(random.below(700)));
            }
        }
    }
    text
}

/// What stands at the place of some problems, by what is said of it.
fn starts_with(message: &str) -> Option<char> {
    match message.rsplit_once(", got ").map(|(_, found)| found) {
        Some("an object") => Some('{'),
        Some("a list") => Some('['),
        Some(found) => found.chars().next(),
        None if message.starts_with("unknown key") => Some('"'),
        None => None,
    }
}

#[track_caller]
fn check(text: &str, loaded: &Loaded) {
    let errors = loaded.problems.iter().filter(|p| !p.is_warning).count();
    assert_eq!(
        loaded.config.is_none(),
        0 < errors,
        "refused without a word, or not at all: {text}"
    );
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = (1, 1);
    for (i, problem) in loaded.problems.iter().enumerate() {
        let shown = problem.to_string();
        assert!(!problem.message.is_empty(), "{text}");
        assert!(!shown.contains(char::is_control), "more than a line: {shown:?}");
        if i + 1 == loaded.problems.len() && problem.message.ends_with("more problems") {
            continue;
        }
        let place = (problem.line, problem.column);
        let line = lines.get(problem.line.wrapping_sub(1)).expect("a line of the file");
        assert!((1..=line.chars().count() + 1).contains(&problem.column), "{shown}: {text}");
        assert!(last <= place, "not in file order: {shown}");
        last = place;
        let there = line.chars().nth(problem.column - 1);
        assert!(there == starts_with(&problem.message).or(there), "not there: {shown}: {text}");
    }
}

#[test]
fn every_text_gets_an_answer_with_places() {
    let all = written(&["contrib/examples", "tests/configs/good", "tests/configs/bad"]);
    let (inbox, texts) = mpsc::channel::<String>();
    let (outbox, answers) = mpsc::channel::<Loaded>();
    // On a thread, so that a text that is thought about without end is found, and named.
    let parser = thread::spawn(move || {
        let world = World { variables: vec!["a".to_owned()], files: vec!["b".to_owned()] };
        for text in texts {
            outbox.send(world.parse(&text)).unwrap();
        }
    });
    let mut good = 0;
    let mut problems = 0_u64;
    for seed in 0..TEXTS {
        let mut random = Random::new(seed);
        let text = match seed % 12 {
            0 => bytes(&mut random),
            1 => characters(&mut random),
            2..5 => soup(&mut random, 60),
            _ => changed(&mut random, &all),
        };
        inbox.send(text.clone()).unwrap();
        let answer = answers.recv_timeout(SOON);
        let loaded = answer.unwrap_or_else(|err| panic!("seed {seed}: {err}: {text}"));
        check(&text, &loaded);
        good += usize::from(loaded.config.is_some());
        problems += u64::try_from(loaded.problems.len()).unwrap();
    }
    drop(inbox);
    parser.join().unwrap();
    println!("{TEXTS} texts, {good} of them good, {problems} problems");
    assert!(100 < good && TEXTS < problems);
}

#[test]
fn deep_nesting_is_an_error() {
    for open in ["[", "{\"a\":", "[{\"a\":", "{\"services\":"] {
        for (depth, close) in [(100_000, ""), (100_000, "]"), (300, "1")] {
            let text = open.repeat(depth) + &close.repeat(depth);
            let loaded = World::default().parse(&text);
            check(&text, &loaded);
            assert!(loaded.config.is_none(), "{open} {depth} times");
        }
    }
    // Deeper than any config, and not too deep for a message about the problem.
    let nested = format!("{{\"services\": {}{}}}", "[".repeat(500), "]".repeat(500));
    let loaded = World::default().parse(&nested);
    assert_eq!(loaded.problems[0].message, "must be an object, { ... }, got a list");
}
