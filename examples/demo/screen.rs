//! What is printed while the demo runs. On a terminal the last line is rewritten in place, with
//! what happens above it; anywhere else every line is a new one.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const WIDTH_ELSEWHERE: usize = 120;
const WIDTH_UNKNOWN: usize = 80;
/// So many places in the bar, which grows when there are more.
const BAR: usize = 4;

pub(crate) struct Screen {
    pub(crate) is_terminal: bool,
    has_colour: bool,
    width: usize,
    status: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Plain,
    Bold,
    Dim,
    Green,
    Cyan,
    Yellow,
    Red,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_terminal = io::stdout().is_terminal() && !is_dumb;
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = if is_terminal { terminal_width() } else { WIDTH_ELSEWHERE };
        Screen { is_terminal, has_colour: is_terminal && !no_colour, width, status: String::new() }
    }

    /// A line that stays.
    pub(crate) fn line(&mut self, colour: Colour, text: &str) {
        let shown = self.coloured(colour, text);
        if self.status.is_empty() {
            write(&format!("{shown}\n"));
        } else {
            write(&format!("\r\x1b[2K{shown}\n{}", self.status));
        }
    }

    /// The same, cut to the width of the screen.
    pub(crate) fn short_line(&mut self, colour: Colour, text: &str) {
        let text = self.cut(text);
        self.line(colour, &text);
    }

    /// How it stands: on a terminal in place of what was said of it before.
    pub(crate) fn status(&mut self, colour: Colour, text: &str) {
        let text = self.cut(text);
        if !self.is_terminal {
            return self.line(Colour::Plain, &text);
        }
        self.status = self.coloured(colour, &text);
        write(&format!("\r\x1b[2K{}", self.status));
    }

    /// Lets the last status stand as it is.
    pub(crate) fn end_status(&mut self) {
        if !std::mem::take(&mut self.status).is_empty() {
            write("\n");
        }
    }

    fn cut(&self, text: &str) -> String {
        // A full last column would make some terminals go to the next line.
        let room = self.width.saturating_sub(1);
        if text.chars().count() <= room {
            return text.to_owned();
        }
        let kept: String = text.chars().take(room.saturating_sub(3)).collect();
        format!("{kept}...")
    }

    fn coloured(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Plain => return text.to_owned(),
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Green => 32,
            Colour::Cyan => 36,
            Colour::Yellow => 33,
            Colour::Red => 31,
        };
        if self.has_colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Where nobody reads any more, as behind `| head`, the demo still has to end in order.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// As the terminal's driver knows it.
fn terminal_width() -> usize {
    let mut command = Command::new("stty");
    let asked = command.arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output();
    let size = asked.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let columns = size.and_then(|text| text.split_whitespace().nth(1)?.parse().ok());
    columns.filter(|columns| 40 <= *columns).unwrap_or(WIDTH_UNKNOWN)
}

/// `#` for a replica in service, `~` for one that HAProxy still has but sends nothing new to.
pub(crate) fn bar(up: usize, others: usize) -> String {
    let places = BAR.max(up + others);
    let free = places - up - others;
    format!("[{}{}{}]", "#".repeat(up), "~".repeat(others), ".".repeat(free))
}

pub(crate) fn seconds(span: Duration) -> String {
    format!("{:5.1} s", span.as_secs_f64())
}

/// A line that plimsoll logged, in short: what happened, to which replica, and why. `None` for what
/// concerns another service on this host.
pub(crate) fn in_short(logged: &str, service: &str) -> Option<(Colour, String)> {
    let (_, rest) = logged.split_once(' ').unwrap_or(("", logged)); // without the time
    let (level, fields) = rest.split_once(' ').unwrap_or(("", rest));
    let of = |key: &str| {
        let at = fields.find(key).filter(|at| *at == 0 || fields[..*at].ends_with(' '))?;
        fields[at + key.len()..].split(' ').next()
    };
    if of("service=").is_some_and(|named| named != service) {
        return None;
    }
    let Some(event) = of("kind=") else { return Some((of_level(level), fields.to_owned())) };
    let mut short = event.to_owned();
    if let Some(replica) = of("replica=") {
        short.push_str(&format!(" {replica}"));
    }
    if let (Some(from), Some(to)) = (of("from="), of("to=")) {
        short.push_str(&format!(" {from} -> {to}"));
    }
    if let Some((_, message)) = fields.split_once("message=\"") {
        let message = message.trim_end_matches('"').replace("\\\"", "\"");
        short.push_str(&format!(": {message}"));
    }
    let colour = if event.starts_with("scale.") { Colour::Cyan } else { of_level(level) };
    Some((colour, short))
}

fn of_level(level: &str) -> Colour {
    match level {
        "error" => Colour::Red,
        "warn" => Colour::Yellow,
        _ => Colour::Dim,
    }
}
