//! How many columns a line may have.

use std::io;

use terminal_size::{Width, terminal_size_of};

/// Of a pipe or a file, where a line may be read by a program or a person.
const PIPE: usize = 100;
/// Tables are no good below.
const LEAST: usize = 40;

/// The columns of the terminal that stdout is. It is asked each time: a window is resized.
pub(crate) fn of_terminal() -> Option<usize> {
    let size = terminal_size_of(io::stdout());
    size.map(|(Width(columns), _)| usize::from(columns).max(LEAST))
}

/// As `of_terminal`, with a width for whatever else stdout is.
pub(crate) fn of_stdout() -> usize {
    of_terminal().unwrap_or(PIPE)
}
