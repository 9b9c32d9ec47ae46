//! Colour, for terminals and for nobody else.

use std::env;
use std::io::{self, IsTerminal};

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
    /// Any value of NO_COLOR but the empty one is a wish for none.
    pub(crate) fn for_stdout() -> Paint {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Paint { is_on: io::stdout().is_terminal() && !unwanted && !dumb }
    }

    #[cfg(test)]
    pub(crate) fn none() -> Paint {
        Paint { is_on: false }
    }

    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Good => "32",
            Colour::Odd => "33",
            Colour::Bad => "31",
            Colour::Faint => "2",
        };
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
