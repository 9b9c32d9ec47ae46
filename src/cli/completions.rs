//! `plimsoll completions`: scripts for shells, made from the table that parsing uses.

use std::process::ExitCode;

use crate::cli::args::cli_command::Shell;
use crate::cli::args::commands::{COMMANDS, CommandSpec};
use crate::cli::args::options::{Operand, OptionSpec, Takes};
use crate::cli::output::say;

/// Asks the daemon. The indent distinguishes a service's name from a metric's.
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
    COMMANDS.map(|spec| spec.name).join(" ")
}

fn options(spec: &CommandSpec) -> String {
    spec.options.iter().map(|option| format!(" --{}", option.name)).collect()
}

/// The options of all commands that take this, as the pattern of a `case`.
fn that_take(takes: Takes) -> String {
    let all = COMMANDS.iter().flat_map(|spec| spec.options);
    let mut names: Vec<String> = all
        .filter(|option| option.takes == takes)
        .map(|option| format!("--{}", option.name))
        .collect();
    names.sort();
    names.dedup();
    names.join("|")
}

fn bash() -> String {
    let mut cases = String::new();
    for spec in COMMANDS {
        let mut words = format!("{} --help", options(spec));
        for operand in spec.operands {
            words += match operand {
                Operand::Service => " $(_plimsoll_services)",
                Operand::Count => " auto",
                Operand::Url => "",
                Operand::Shell => " bash zsh fish",
                Operand::Command => " $commands",
            };
        }
        cases += &format!("    {}) words=\"{}\" ;;\n", spec.name, words.trim_start());
    }
    let files = that_take(Takes::File);
    let services = that_take(Takes::Service);
    let texts = that_take(Takes::Text);
    let names = names();
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
    let described = COMMANDS.iter().map(|spec| {
        let summary = spec.summary.replace('\'', "'\\''");
        format!("        '{}:{summary}'\n", spec.name)
    });
    let mut cases = String::new();
    for spec in COMMANDS {
        let option = |option: &OptionSpec| match option.takes {
            Takes::Nothing => format!(" '--{}'", option.name),
            Takes::File => format!(" '--{}=:file:_files'", option.name),
            Takes::Service => format!(" '--{}=:service:_plimsoll_services'", option.name),
            Takes::Text => format!(" '--{}=:{}:'", option.name, option.name),
        };
        let operand = |operand: &Operand| match operand {
            Operand::Service => " ':service:_plimsoll_services'".to_owned(),
            Operand::Count => " ':count:(auto)'".to_owned(),
            Operand::Url => " ':url: '".to_owned(),
            Operand::Shell => " ':shell:(bash zsh fish)'".to_owned(),
            Operand::Command => format!(" ':command:({})'", names()),
        };
        let options: String = spec.options.iter().map(option).collect();
        let operands: String = spec.operands.iter().map(operand).collect();
        cases += &format!("    {}) _arguments '--help'{options}{operands} ;;\n", spec.name);
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
    for spec in COMMANDS {
        let name = spec.name;
        let summary = spec.summary.replace('\'', "\\'");
        out += &format!("complete -c plimsoll -n __fish_use_subcommand -a {name} -d '{summary}'\n");
        let mut follow = |what: &str| {
            out +=
                &format!("complete -c plimsoll -n '__fish_seen_subcommand_from {name}' {what}\n");
        };
        for OptionSpec { name, takes } in spec.options {
            follow(&match takes {
                Takes::Nothing => format!("-l {name}"),
                Takes::File => format!("-l {name} -r -F"),
                Takes::Service => format!("-l {name} -x -a '(__plimsoll_services)'"),
                Takes::Text => format!("-l {name} -x"),
            });
        }
        for operand in spec.operands {
            follow(&match operand {
                Operand::Service => "-a '(__plimsoll_services)'".to_owned(),
                Operand::Count => "-a auto".to_owned(),
                Operand::Url => continue,
                Operand::Shell => "-a 'bash zsh fish'".to_owned(),
                Operand::Command => format!("-a '{}'", names()),
            });
        }
    }
    out
}
