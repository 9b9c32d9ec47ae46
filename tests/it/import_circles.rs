//! Imports between files of the program form no circle. The layers of `tidy.rs` hold that between
//! folders; this holds it between files.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::path::{Path, PathBuf};

use crate::naming::program_files;
use crate::tidy::{code, program};

/// The circles that exist, each with the reason for leaving it. Rows are only ever removed: the
/// test fails when a circle appears, shrinks or is gone, and prints what to change here.
const CIRCLES: &[(&[&str], &str)] = &[];

type Imports = BTreeMap<String, BTreeSet<String>>;

/// `src/a/b.rs` and `src/a/b/mod.rs` are both module `a::b`.
fn module(path: &Path) -> String {
    let name = path.with_extension("").to_string_lossy().into_owned();
    let name = name.trim_start_matches("src/").trim_end_matches("/mod").to_owned();
    name.replace('/', "::")
}

/// What a path below `crate::` names, with `{…}` multiplied out, and what stands after it.
fn leaves<'a>(text: &'a str, before: &str, found: &mut Vec<String>) -> &'a str {
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n']);
            if rest.is_empty() || rest.starts_with('}') {
                return rest.get(1..).unwrap_or_default();
            }
            let after = leaves(rest, before, found);
            // `as NAME`, or what is no path at all.
            rest = &after[after.find([',', '}']).unwrap_or(after.len())..];
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = match name {
        "" | "self" => before.to_owned(),
        _ if before.is_empty() => name.to_owned(),
        _ => format!("{before}::{name}"),
    };
    match rest.strip_prefix("::") {
        Some(rest) => leaves(rest, &path, found),
        None => {
            found.push(path);
            rest
        }
    }
}

/// Which file imports which, by `use` and by full path. `mod x;` is no import.
fn imports(files: &[(PathBuf, String)]) -> Imports {
    let modules: BTreeMap<String, String> =
        files.iter().map(|(path, _)| (module(path), path.display().to_string())).collect();
    let file_of = |name: &String| {
        let parents = iter::successors(Some(name.as_str()), |name| Some(name.rsplit_once("::")?.0));
        parents.into_iter().find_map(|name| modules.get(name)).cloned()
    };
    let mut imports = Imports::new();
    for (path, text) in files {
        let lines: Vec<&str> = code(program(text)).map(|(_, line)| line).collect();
        let text = lines.join("\n");
        let mut names = Vec::new();
        for rest in text.split("crate::").skip(1) {
            leaves(rest, "", &mut names);
        }
        let path = path.display().to_string();
        let others = names.iter().filter_map(file_of).filter(|file| *file != path);
        imports.insert(path.clone(), others.collect());
    }
    imports
}

/// Everything that `file` imports, and what that imports, and so on.
fn reachable(imports: &Imports, file: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        for next in imports.get(file).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    reached
}

/// Files that reach each other are one circle.
fn circles(imports: &Imports) -> BTreeSet<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|file| (file, reachable(imports, file))).collect();
    let circle = |file: &&String| {
        let mutual = reached[*file].iter().filter(|other| reached[*other].contains(*file));
        mutual.cloned().collect::<Vec<String>>()
    };
    imports.keys().map(|file| circle(&file)).filter(|circle| !circle.is_empty()).collect()
}

/// What has to be changed, in the files or in `CIRCLES`.
fn differences(files: &[(PathBuf, String)], listed: &[(&[&str], &str)]) -> Vec<String> {
    let imports = imports(files);
    let found = circles(&imports);
    let is_within =
        |inner: &[String], outer: &[&str]| inner.iter().all(|file| outer.contains(&file.as_str()));
    let mut wrong = Vec::new();
    for circle in &found {
        let Some((outer, _)) = listed.iter().find(|(outer, _)| is_within(circle, outer)) else {
            let edges = edges_within(&imports, circle);
            wrong.push(format!("a new circle; take an import out, or list {circle:?}:{edges}"));
            continue;
        };
        if circle.len() < outer.len() {
            wrong.push(format!("a circle shrank; replace {outer:?} in CIRCLES by {circle:?}"));
        }
    }
    for (outer, _) in listed {
        if !found.iter().any(|circle| is_within(circle, outer)) {
            wrong.push(format!("a circle is gone; remove its row from CIRCLES: {outer:?}"));
        }
    }
    wrong
}

fn edges_within(imports: &Imports, circle: &[String]) -> String {
    let edge = |from: &String, to: &String| format!("\n    {from} imports {to}");
    let edges = circle.iter().flat_map(|from| {
        let others = imports[from].iter().filter(|to| circle.contains(to));
        others.map(move |to| edge(from, to))
    });
    edges.collect()
}

#[test]
fn imports_between_files_form_no_new_circle() {
    let files = program_files();
    let count: usize = imports(&files).values().map(BTreeSet::len).sum();
    assert!(500 < count, "only {count} imports were found: does the check still read them?");
    let wrong = differences(&files, CIRCLES);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_planted_circle_is_found() {
    let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    let a = "//! A.\nmod c;\nuse crate::b::{\n    c::{self as d, E},\n    f,\n};\n";
    let test = "// crate::a\n\n#[cfg(test)]\nmod tests {\n    use crate::a::x;\n}\n";
    let mut files = vec![
        file("src/a.rs", a),
        file("src/b/mod.rs", test),
        file("src/b/c.rs", "use std::fs;\n"),
        file("src/main.rs", "mod a;\nmod b;\nfn main() { crate::a::run(&[]) }\n"),
    ];
    assert_eq!(imports(&files)["src/a.rs"].len(), 2, "{:?}", imports(&files));
    assert_eq!(imports(&files)["src/main.rs"].len(), 1, "{:?}", imports(&files));
    assert_eq!(differences(&files, &[]), Vec::<String>::new());

    files[2].1 = "fn f() -> crate::a::Outcome {}\n".to_owned();
    let circle: &[&str] = &["src/a.rs", "src/b/c.rs"];
    let wrong = differences(&files, &[]);
    assert!(wrong.len() == 1 && wrong[0].contains("a new circle"), "{wrong:?}");
    assert!(wrong[0].contains("src/b/c.rs imports src/a.rs"), "{wrong:?}");
    assert_eq!(differences(&files, &[(circle, "")]), Vec::<String>::new());
    let larger: &[&str] = &["src/a.rs", "src/b/c.rs", "src/main.rs"];
    let wrong = differences(&files, &[(larger, "")]);
    assert!(wrong.len() == 1 && wrong[0].contains("shrank"), "{wrong:?}");
    let other: &[&str] = &["src/b/mod.rs", "src/main.rs"];
    let wrong = differences(&files, &[(circle, ""), (other, "")]);
    assert!(wrong.len() == 1 && wrong[0].contains("is gone"), "{wrong:?}");
}
