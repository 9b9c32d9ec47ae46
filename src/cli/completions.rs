//! `plimsoll completions`: what a shell needs to complete commands, options and the names of
//! services, made from the table that parsing uses.

use std::process::ExitCode;

use crate::cli::args::Shell;
use crate::cli::args::menu::{COMMANDS, Choice, Entry, Operand, Takes};
use crate::cli::say;

/// Asks the daemon; without one there is nothing to offer. By its indent, a service's name is told
/// from a metric's.
const SERVICES: &str =
    r#"plimsoll status --json 2>/dev/null | sed -n 's/^      "name": "\([^"]*\)".*/\1/p'"#;

pub(crate) fn completions(shell: Shell) -> ExitCode {
    say(&match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    })
}

fn names() -> String {
    COMMANDS.map(|entry| entry.name).join(" ")
}

fn options(entry: &Entry) -> String {
    entry.options.iter().map(|choice| format!(" --{}", choice.name)).collect()
}

/// Of all commands, as the pattern of a `case`.
fn that_take(takes: Takes) -> String {
    let all = COMMANDS.iter().flat_map(|entry| entry.options);
    let mut names: Vec<String> = all
        .filter(|choice| choice.takes == takes)
        .map(|choice| format!("--{}", choice.name))
        .collect();
    names.sort();
    names.dedup();
    names.join("|")
}

fn bash() -> String {
    let mut cases = String::new();
    for entry in COMMANDS {
        let mut words = format!("{} --help", options(entry));
        for operand in entry.operands {
            words += match operand {
                Operand::Service => " $(_plimsoll_services)",
                Operand::Count => " auto",
                Operand::Shell => " bash zsh fish",
                Operand::Command => " $commands",
            };
        }
        cases += &format!("    {}) words=\"{}\" ;;\n", entry.name, words.trim_start());
    }
    let (files, services) = (that_take(Takes::File), that_take(Takes::Service));
    let (texts, names) = (that_take(Takes::Text), names());
    format!(
        r#"# bash: `source <(plimsoll completions bash)`, or keep this as
# /usr/share/bash-completion/completions/plimsoll
_plimsoll_services() {{
    {SERVICES}
}}

_plimsoll() {{
    local commands="{names}"
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} words
    # Bash takes the sign in --option=value for a word.
    if [ "$word" = "=" ]; then
        word=
    elif [ "$before" = "=" ]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "$commands --help --version" -- "$word"))
        return
    fi
    case $before in
    {files}) compopt -o default; return ;;
    {services}) COMPREPLY=($(compgen -W "$(_plimsoll_services)" -- "$word")); return ;;
    {texts}) return ;;
    esac
    case ${{COMP_WORDS[1]}} in
{cases}    *) return ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}

complete -F _plimsoll plimsoll
"#
    )
}

fn zsh() -> String {
    let described = COMMANDS.iter().map(|entry| {
        let does = entry.does.replace('\'', "'\\''");
        format!("        '{}:{does}'\n", entry.name)
    });
    let mut cases = String::new();
    for entry in COMMANDS {
        let option = |choice: &Choice| match choice.takes {
            Takes::Nothing => format!(" '--{}'", choice.name),
            Takes::File => format!(" '--{}=:file:_files'", choice.name),
            Takes::Service => format!(" '--{}=:service:_plimsoll_services'", choice.name),
            Takes::Text => format!(" '--{}=:{}:'", choice.name, choice.name),
        };
        let operand = |operand: &Operand| match operand {
            Operand::Service => " ':service:_plimsoll_services'".to_owned(),
            Operand::Count => " ':count:(auto)'".to_owned(),
            Operand::Shell => " ':shell:(bash zsh fish)'".to_owned(),
            Operand::Command => format!(" ':command:({})'", names()),
        };
        let options: String = entry.options.iter().map(option).collect();
        let operands: String = entry.operands.iter().map(operand).collect();
        cases += &format!("    {}) _arguments '--help'{options}{operands} ;;\n", entry.name);
    }
    format!(
        r#"#compdef plimsoll
# zsh: keep this as _plimsoll in a folder of $fpath, or `source <(plimsoll completions zsh)`
_plimsoll_services() {{
    local -a names
    names=(${{(f)"$({SERVICES})"}})
    compadd -a names
}}

_plimsoll() {{
    local -a commands
    commands=(
{}    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    shift words
    (( CURRENT-- ))
    case $words[1] in
{cases}    esac
}}

if [ "$funcstack[1]" = _plimsoll ]; then
    _plimsoll "$@"
else
    compdef _plimsoll plimsoll
fi
"#,
        described.collect::<String>()
    )
}

fn fish() -> String {
    let mut out = format!(
        "# fish: keep this as ~/.config/fish/completions/plimsoll.fish\n\
         function __plimsoll_services\n    {SERVICES}\nend\n\n\
         complete -c plimsoll -f\n\
         complete -c plimsoll -n __fish_use_subcommand -l help -l version\n"
    );
    for entry in COMMANDS {
        let name = entry.name;
        let does = entry.does.replace('\'', "\\'");
        out += &format!("complete -c plimsoll -n __fish_use_subcommand -a {name} -d '{does}'\n");
        let mut follow = |what: &str| {
            out +=
                &format!("complete -c plimsoll -n '__fish_seen_subcommand_from {name}' {what}\n");
        };
        for Choice { name, takes } in entry.options {
            follow(&match takes {
                Takes::Nothing => format!("-l {name}"),
                Takes::File => format!("-l {name} -r -F"),
                Takes::Service => format!("-l {name} -x -a '(__plimsoll_services)'"),
                Takes::Text => format!("-l {name} -x"),
            });
        }
        for operand in entry.operands {
            follow(&match operand {
                Operand::Service => "-a '(__plimsoll_services)'".to_owned(),
                Operand::Count => "-a auto".to_owned(),
                Operand::Shell => "-a 'bash zsh fish'".to_owned(),
                Operand::Command => format!("-a '{}'", names()),
            });
        }
    }
    out
}
