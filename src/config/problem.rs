//! What is wrong with a config file, and where.

use std::fmt;

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) file: String,
    /// Line and column count from 1; 0 for a problem of the whole file.
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Keys from the top, joined by dots; empty for the top itself.
    pub(crate) path: String,
    pub(crate) message: String,
    /// The config is usable in spite of it.
    pub(crate) is_warning: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if 0 < self.line {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(if self.is_warning { ": warning: " } else { ": " })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Escapes control characters, so that a problem is one line.
pub(crate) fn plain(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let show =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}
