//! Colour, on terminals only.

use std::env;
use std::io::{self, IsTerminal};

use crate::model::terminal;

const ESCAPE: char = '\x1b';
const GOOD: &str = "\x1b[32m";
const ODD: &str = "\x1b[33m";
const BAD: &str = "\x1b[31m";
const FAINT: &str = "\x1b[2m";
const END: &str = "\x1b[0m";

#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    is_on: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Good,
    Odd,
    Bad,
    Faint,
}

impl Paint {
    /// NO_COLOR counts unless it is empty.
    pub(crate) fn for_stdout() -> Paint {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Paint { is_on: io::stdout().is_terminal() && !unwanted && !dumb }
    }

    #[cfg(test)]
    pub(crate) fn none() -> Paint {
        Paint { is_on: false }
    }

    #[cfg(test)]
    pub(crate) fn all() -> Paint {
        Paint { is_on: true }
    }

    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Good => GOOD,
            Colour::Odd => ODD,
            Colour::Bad => BAD,
            Colour::Faint => FAINT,
        };
        if self.is_on { format!("{code}{text}{END}") } else { text.to_owned() }
    }

    /// Keeps the escape sequences of `paint` and escapes all others.
    pub(crate) fn plain(self, text: &str) -> String {
        let codes: &[&str] = if self.is_on { &[GOOD, ODD, BAD, FAINT, END] } else { &[] };
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once(ESCAPE) {
            out += &terminal::plain(before);
            let own = codes.iter().find_map(|code| {
                let code = code.strip_prefix(ESCAPE)?;
                Some((code, behind.strip_prefix(code)?))
            });
            rest = match own {
                Some((code, behind)) => {
                    out.push(ESCAPE);
                    out += code;
                    behind
                }
                None => {
                    out += &terminal::plain("\x1b");
                    behind
                }
            };
        }
        out + &terminal::plain(rest)
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::paint::{Colour, Paint};

    #[test]
    fn only_our_own_colours_reach_a_terminal_and_none_a_file() {
        let text = "a\x1b[2J\x1b[Hb\x1b]0;title\x07\x1b[1;31m\u{202e}c\n";
        let shown = "a\\u001b[2J\\u001b[Hb\\u001b]0;title\\u0007\\u001b[1;31m\\u202ec\n";
        let on = Paint { is_on: true };
        assert_eq!(on.plain(&on.paint(Colour::Bad, text)), format!("\x1b[31m{shown}\x1b[0m"));
        assert_eq!(Paint::none().plain(&Paint::none().paint(Colour::Bad, text)), shown);
        assert_eq!(Paint::none().plain("\x1b[31m"), "\\u001b[31m");
        assert_eq!(on.plain("\x1b"), "\\u001b");
    }
}
