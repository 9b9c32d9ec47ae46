//! Names and wording. One type name means one thing in the program, and the English is that of
//! technical documentation. Both lists of exceptions only shrink.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tidy::{code, files_below, program, rust_below};

/// Type names that several files define, with the number of files. Rows are only ever removed or
/// lowered: the test prints the new row.
const SHARED_NAMES: &[(&str, usize)] = &[];

/// Phrases that hide who does what, with the number of lines in `src` that hold one today. None of
/// them may come back in tests, examples, `contrib` or the documents.
const PHRASES: &[(&str, usize)] = &[
    (concat!("be it", " that"), 0),
    (concat!("for want", " of"), 0),
    (concat!("made from", " something else"), 0),
    (concat!("is", " told"), 0),
    (concat!("are", " told"), 0),
    (concat!("what is none", " of them"), 0),
];

/// The program without its tests: no `tests.rs`, nothing below `tests/`, no module that only a
/// test build has.
pub(crate) fn program_files() -> Vec<(PathBuf, String)> {
    let files = rust_below(&["src"]);
    let of_tests: Vec<PathBuf> =
        files.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_of_tests =
        |path: &Path| of_tests.iter().any(|test| path.with_extension("").starts_with(test));
    files.into_iter().filter(|(path, _)| !is_of_tests(path)).collect()
}

/// Where the modules lie that stand below `#[cfg(test)]`, without an extension.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap().to_string_lossy();
    let is_root = ["mod", "main"].contains(&stem.as_ref());
    let folder = if is_root { path.parent().unwrap().to_owned() } else { path.with_extension("") };
    let after = text.split("#[cfg(test)]\n").skip(1);
    let first_lines = after.filter_map(|rest| rest.lines().find(|line| !line.starts_with("#[")));
    let names = first_lines.filter_map(|line| {
        line.trim_start_matches("pub(crate) ").strip_prefix("mod ")?.strip_suffix(';')
    });
    names.map(|name| folder.join(name)).collect()
}

/// The name, when this line defines a type at the top of a file.
fn defined(line: &str) -> Option<&str> {
    let line = line
        .strip_prefix("pub")
        .map_or(line, |rest| rest.strip_prefix("(crate)").unwrap_or(rest).trim_start());
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Which files define each type name.
fn definitions(files: &[(PathBuf, String)]) -> BTreeMap<&str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, text) in files {
        for name in code(program(text)).filter_map(|(_, line)| defined(line)) {
            found.entry(name).or_default().push(path.display().to_string());
        }
    }
    found
}

fn doubled(files: &[(PathBuf, String)], listed: &[(&str, usize)]) -> Vec<String> {
    let mut found = definitions(files);
    found.retain(|_, files| 1 < files.len());
    let mut wrong = Vec::new();
    for (name, files) in &found {
        let now = files.len();
        let allowed = listed.iter().find(|(row, _)| row == name);
        match allowed {
            Some((_, before)) if *before == now => (),
            Some((_, before)) if now < *before => {
                wrong.push(format!("fewer; write (\"{name}\", {now}) in SHARED_NAMES"));
            }
            Some(_) | None => wrong.push(format!("{name} is defined in {files:?}: rename one")),
        }
    }
    for (name, _) in listed.iter().filter(|(name, _)| !found.contains_key(name)) {
        wrong.push(format!("no longer shared; remove (\"{name}\", …) from SHARED_NAMES"));
    }
    wrong
}

/// Lines with the phrase, whatever its case, and also where a line break divides it.
fn lines_with(text: &str, phrase: &str) -> Vec<usize> {
    let flat = |c: char| if c == '\n' { ' ' } else { c.to_ascii_lowercase() };
    let comment = ["///", "//!", "//", "#"];
    let lines = text.lines().map(|line| {
        let line = line.trim_start();
        let mark = comment.iter().find(|mark| line.starts_with(**mark));
        line[mark.map_or(0, |mark| mark.len())..].trim().to_owned()
    });
    let lines: Vec<String> = lines.map(|line| line.chars().map(flat).collect()).collect();
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let next = lines.get(i + 1).map_or("", String::as_str);
        let both = format!("{line} {next}");
        let starts_here = both.match_indices(phrase).any(|(at, _)| {
            let before = both[..at].chars().next_back();
            let after = both[at + phrase.len()..].chars().next();
            at < line.len() && !is_word(before) && !is_word(after)
        });
        if starts_here {
            found.push(i + 1);
        }
    }
    found
}

fn readable(paths: impl IntoIterator<Item = PathBuf>) -> Vec<(PathBuf, String)> {
    let text = |path: PathBuf| fs::read_to_string(&path).ok().map(|text| (path, text));
    paths.into_iter().filter_map(text).collect()
}

/// Where `phrase` stands.
fn places(files: &[(PathBuf, String)], phrase: &str) -> Vec<String> {
    let lines = files.iter().flat_map(|(path, text)| {
        lines_with(text, phrase).into_iter().map(move |line| format!("{}:{line}", path.display()))
    });
    lines.collect()
}

/// A count that differs from the listed one, whichever way.
fn miscounted(files: &[(PathBuf, String)], (phrase, before): (&str, usize)) -> Option<String> {
    let places = places(files, phrase);
    let now = places.len();
    match now.cmp(&before) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => {
            Some(format!("`{phrase}`: {now} lines are left; write {now} in PHRASES, not {before}"))
        }
        std::cmp::Ordering::Greater => {
            Some(format!("`{phrase}`: {now} lines, at most {before}; reword one: {places:?}"))
        }
    }
}

#[test]
fn one_type_name_means_one_thing() {
    let files = program_files();
    let count = definitions(&files).len();
    assert!(250 < count, "only {count} types were found: does the check still read them?");
    let wrong = doubled(&files, SHARED_NAMES);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_type_name_with_two_meanings_is_found() {
    let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    let a = "pub(crate) struct Line;\nenum Kind {}\nimpl X for Kind {\n    type Target = u8;\n}";
    let b = "trait Line<'a> {}\ntype Target = u8;\n\n#[cfg(test)]\nmod tests {\nstruct Kind;\n}";
    let files = [file("src/a.rs", a), file("src/b.rs", b)];
    let wrong = doubled(&files, &[]);
    assert!(wrong.len() == 1 && wrong[0].contains("Line is defined in"), "{wrong:?}");
    assert_eq!(doubled(&files, &[("Line", 2)]), Vec::<String>::new());
    let wrong = doubled(&files, &[("Line", 3)]);
    assert!(wrong.len() == 1 && wrong[0].contains("write (\"Line\", 2)"), "{wrong:?}");
    let wrong = doubled(&files, &[("Line", 2), ("Kind", 2)]);
    assert!(wrong.len() == 1 && wrong[0].contains("remove (\"Kind\""), "{wrong:?}");
}

#[test]
fn modules_of_tests_are_not_the_program() {
    let text = "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\n#[path = \"x\"]\nmod c {\n}\n";
    assert_eq!(test_modules(Path::new("src/x/mod.rs"), text), [PathBuf::from("src/x/b")]);
    assert_eq!(test_modules(Path::new("src/x.rs"), text), [PathBuf::from("src/x/b")]);
    let files = program_files();
    let has = |name: &str| files.iter().any(|(path, _)| path == Path::new(name));
    assert!(has("src/sim/run.rs") && !has("src/decide/tests/mod.rs"), "{files:?}");
}

#[test]
fn phrases_that_hide_the_subject_only_get_fewer() {
    let src = readable(files_below("src"));
    assert!(!src.is_empty(), "no file was read");
    let wrong: Vec<_> = PHRASES.iter().filter_map(|row| miscounted(&src, *row)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));

    let places_checked = ["tests", "examples", "contrib"];
    let mut paths: Vec<_> = places_checked.iter().flat_map(|dir| files_below(dir)).collect();
    // What the program printed: its words are counted in `src`.
    paths.retain(|path| !path.starts_with("tests/it/golden"));
    paths
        .extend(["README.md", "QUICKREF.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(PathBuf::from));
    let files = readable(paths);
    let wrong: Vec<_> =
        PHRASES.iter().filter_map(|(phrase, _)| miscounted(&files, (phrase, 0))).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_phrase_that_hides_the_subject_is_found() {
    let phrase = concat!("is", " told");
    let text = format!("It {phrase}.\nthis {phrase}s\n/// Docker is\n/// told of it.\nhis tolder");
    assert_eq!(lines_with(&text, phrase), [1, 3]);
    let files = [(PathBuf::from("a"), text)];
    assert_eq!(miscounted(&files, (phrase, 2)), None);
    assert!(miscounted(&files, (phrase, 1)).unwrap().contains("2 lines, at most 1"));
    assert!(miscounted(&files, (phrase, 3)).unwrap().contains("write 2 in PHRASES"));
}
