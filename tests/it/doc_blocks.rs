//! What README and QUICKREF tell people to type or to write down, tried: configs by `check`, shell
//! by a shell's own reading, and each command by the program's help or the Makefile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::daemon::{Dir, plimsoll};
use crate::docs::document;

const DOCUMENTS: &[&str] = &["README.md", "QUICKREF.md"];

/// A fenced block: the word after its fence, the line of its fence, and what is in it.
#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    language: String,
    line: usize,
    pub(crate) text: String,
}

pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (i, line) in markdown.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let language = language.trim().to_owned();
                let text = String::new();
                open = Some(Block { language, line: i + 1, text });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) => (),
        }
    }
    assert!(open.is_none(), "a block does not end: {open:?}");
    blocks
}

/// Shell lines without their comments; of a `console` only what is typed.
pub(crate) fn typed(block: &Block) -> Vec<&str> {
    let prompt = if block.language == "console" { "$ " } else { "" };
    let lines = block.text.lines().filter_map(|line| line.strip_prefix(prompt));
    let code = lines.map(|line| line.split(" #").next().unwrap_or_default().trim());
    code.filter(|code| !code.is_empty() && !code.starts_with('#')).collect()
}

/// Commands between backticks in the running text, outside of blocks.
fn spans(markdown: &str) -> Vec<String> {
    let text: String = markdown.split("```").step_by(2).collect();
    let spans =
        text.split('`').skip(1).step_by(2).map(|s| s.replace("\\|", "|").replace('\n', " "));
    spans.filter(|s| s.starts_with("plimsoll ") || s.starts_with("make ")).collect()
}

/// What there is to type, asked of those who know.
pub(crate) struct Known {
    targets: BTreeSet<String>,
    /// The top of the help, without which no command has an option.
    help: String,
}

impl Known {
    pub(crate) fn new() -> Known {
        let makefile = fs::read_to_string("Makefile").unwrap();
        let targets = makefile.lines().filter_map(|line| line.split_once(':')).map(|(t, _)| t);
        let targets = targets.filter(|t| t.chars().all(|c| c.is_alphanumeric() || c == '-'));
        let help = String::from_utf8(plimsoll(&["help"]).stdout).unwrap();
        Known { targets: targets.map(str::to_owned).collect(), help }
    }

    /// What is wrong with one line of shell, as far as it is ours.
    pub(crate) fn faults(&self, line: &str) -> Vec<String> {
        let apart = ["&&", "||", ";", "|", "$(", ")"];
        // In a usage, a bar stands between two ways and not between two commands.
        let line = line.replace("\\|", "/");
        let mut parts = vec![line];
        for mark in apart {
            let split = |part: &String| part.split(mark).map(str::to_owned).collect::<Vec<_>>();
            parts = parts.iter().flat_map(split).collect();
        }
        parts.iter().flat_map(|part| self.fault(part.trim())).collect()
    }

    fn fault(&self, command: &str) -> Option<String> {
        let mut words = command.split_whitespace().filter(|word| !word.contains('='));
        let mut program = words.next()?;
        if program == "sudo" {
            program = words.next()?;
        }
        let words: Vec<&str> = words.collect();
        match program {
            "make" => {
                let wrong = words.iter().find(|word| !self.targets.contains(**word));
                wrong.map(|word| format!("`{command}`: the Makefile has no target {word}"))
            }
            program if program.ends_with("plimsoll") => self.misuse(command, &words),
            program if program.starts_with("contrib/") && !Path::new(program).exists() => {
                Some(format!("`{command}`: {program} is not there"))
            }
            _ => None,
        }
    }

    fn misuse(&self, command: &str, words: &[&str]) -> Option<String> {
        let first = words.first().filter(|word| !word.starts_with('-'))?;
        // `pause/resume`: either.
        let name = first.split('/').next().unwrap_or_default();
        let shown = plimsoll(&["help", name]);
        if !shown.status.success() {
            return Some(format!("`{command}`: plimsoll has no command {name}"));
        }
        let help = format!("{}{}", self.help, String::from_utf8(shown.stdout).unwrap());
        let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
        let options = words.iter().flat_map(|word| word.split(['[', '|', '/']));
        let mut options = options.filter(|word| word.starts_with("--"));
        let unknown = options.find_map(|word| {
            let option: String = word.chars().take_while(|c| is_name(*c)).collect();
            (!help.contains(&option)).then_some(option)
        });
        unknown.map(|option| format!("`{command}`: the help of {name} has no {option}"))
    }
}

/// What `check` says of a config or a compose file, unless that it is good.
fn refusal(option: &str, text: &str) -> Option<String> {
    let dir = Dir::new("blocks");
    let file = dir.write("file", text);
    let checked = plimsoll(&["check", option, file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    (!checked.status.success()).then_some(said)
}

fn block_faults(block: &Block, known: &Known) -> Vec<String> {
    match block.language.as_str() {
        "json" | "jsonc" => refusal("--config", &block.text).into_iter().collect(),
        "yaml" => refusal("--compose", &block.text).into_iter().collect(),
        "sh" | "console" => {
            let lines = typed(block);
            let read = Command::new("sh").args(["-nc", &lines.join("\n")]).output().unwrap();
            let said = String::from_utf8_lossy(&read.stderr).into_owned();
            let unread = (!read.status.success()).then_some(said);
            unread.into_iter().chain(lines.iter().flat_map(|line| known.faults(line))).collect()
        }
        "text" => Vec::new(),
        other => vec![format!("`{other}` is none of json, jsonc, yaml, sh, console and text")],
    }
}

#[test]
fn every_block_is_good() {
    let known = Known::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for name in DOCUMENTS {
        for block in blocks(&document(name)) {
            count += 1;
            let faults = block_faults(&block, &known);
            wrong.extend(faults.iter().map(|fault| format!("{name}:{}: {fault}", block.line)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(5 <= count, "only {count} blocks");
}

#[test]
fn every_command_in_the_text_is_one() {
    let known = Known::new();
    let mut wrong = Vec::new();
    for name in DOCUMENTS {
        let spans = spans(&document(name));
        let faults = spans.iter().filter_map(|span| known.fault(&span.replace('|', "/")));
        wrong.extend(faults.map(|fault| format!("{name}: {fault}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_bad_block_is_found() {
    let known = Known::new();
    let block = |language: &str, text: &str| {
        let text = format!("```{language}\n{text}\n```\n");
        let mut found = blocks(&text);
        block_faults(&found.pop().unwrap(), &known)
    };
    let good = [
        ("sh", "make demo   # it\n# more\nsudo plimsoll check --json && plimsoll status web"),
        ("sh", "PREFIX=/opt make install PREFIX=/opt\ncurl http://127.0.0.1:8000/ | head"),
        ("console", "$ plimsoll run\nmake nothing\n"),
        ("json", "{ \"services\": {} }"),
    ];
    for (language, text) in good {
        assert_eq!(block(language, text), Vec::<String>::new(), "{text}");
    }
    let bad = [
        ("sh", "make nothing", "no target nothing"),
        ("sh", "echo a; plimsoll sail", "no command sail"),
        ("sh", "plimsoll check --lively", "no --lively"),
        ("sh", "contrib/nothing.sh", "not there"),
        ("sh", "if true", "sh: 1: Syntax error"),
        ("console", "$ make nothing", "no target nothing"),
        ("json", "{ \"servces\": {} }", "servces"),
        ("", "a", "is none of"),
    ];
    for (language, text, reported) in bad {
        let found = block(language, text);
        assert!(found.iter().any(|fault| fault.contains(reported)), "{text}: {found:?}");
    }
    assert_eq!(
        spans("`a`, `make b`\n```sh\n`make c`\n```\n`plimsoll d`"),
        ["make b", "plimsoll d"]
    );
}
