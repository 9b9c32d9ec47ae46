//! The last lines of a container's log, made safe for our own log.

use crate::model::terminal;

/// Characters of one line, and of all lines together.
const LINE_MAX: usize = 300;
const ALL_MAX: usize = 2000;
/// Docker's header of each frame: stream number, three zeros, length.
pub(super) const HEADER: usize = 8;

/// Stands for the lines of a driver that only sends them away, like `none`.
pub(crate) const UNREADABLE: &str = "(not readable: Docker cannot read back what its logging \
                                     driver takes; local and json-file can)";

/// The last lines, oldest first. `body` is one raw stream, or frames of two streams.
pub(crate) fn last_lines(body: &[u8], most: usize) -> Vec<String> {
    lines_of(&joined(body).unwrap_or_else(|| body.to_vec()), most)
}

/// The same of output without frames.
pub(super) fn lines_of(written: &[u8], most: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(written);
    let mut lines = Vec::new();
    let mut room = ALL_MAX;
    for line in text.lines().rev().filter(|line| !line.trim().is_empty()).take(most) {
        let line = plain(line.trim_end());
        let Some(left) = room.checked_sub(line.chars().count()) else { break };
        room = left;
        lines.push(line);
    }
    lines.reverse();
    lines
}

/// `None` when the body has no frames: a container with a terminal has one raw stream.
fn joined(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let is_short = body.len() < HEADER;
    while let Some((header, rest)) = body.split_at_checked(HEADER) {
        let [0..=2, 0, 0, 0, a, b, c, d] = *header else { return None };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        // The last one may be cut.
        let (piece, next) = rest.split_at(length.min(rest.len()));
        out.extend_from_slice(piece);
        body = next;
    }
    (!is_short).then_some(out)
}

/// Escapes control characters, which could move the cursor or change colours of a terminal.
fn plain(line: &str) -> String {
    let mut out = String::new();
    for (i, c) in line.chars().enumerate() {
        match c {
            _ if LINE_MAX <= i => return out + "…",
            '\t' => out.push(' '),
            c if !terminal::is_plain(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::docker::logs::{ALL_MAX, LINE_MAX, last_lines};

    fn piece(stream: u8, text: &str) -> Vec<u8> {
        let mut out = vec![stream, 0, 0, 0];
        out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        out.extend(text.bytes());
        out
    }

    #[test]
    fn two_streams_take_turns_and_one_stands_alone() {
        let mut body = piece(1, "one\n");
        body.extend(piece(2, "two "));
        body.extend(piece(2, "three\n"));
        body.extend(piece(1, "four\n"));
        assert_eq!(last_lines(&body, 20), ["one", "two three", "four"]);
        assert_eq!(last_lines(&body, 2), ["two three", "four"]);
        // Cut in the middle of a piece, and of a header.
        assert_eq!(last_lines(&body[..body.len() - 3], 1), ["fo"]);
        assert_eq!(last_lines(&body[..body.len() - 9], 1), ["two three"]);
        assert_eq!(last_lines(b"one\r\ntwo\r\n\r\n", 20), ["one", "two"]);
        assert_eq!(last_lines(b"", 20), Vec::<String>::new());
    }

    #[test]
    fn what_is_shown_is_short_and_plain() {
        let odd = "\u{1b}[31mred\u{7}\tand \u{9b}\u{feff}é\n".as_bytes();
        assert_eq!(last_lines(odd, 1), ["\\u{1b}[31mred\\u{7} and \\u{9b}\\u{feff}é"]);
        assert_eq!(last_lines(b"\xff\xfe\n", 1), ["\u{fffd}\u{fffd}"]);
        let long = "x".repeat(LINE_MAX + 1);
        assert_eq!(last_lines(long.as_bytes(), 1), ["x".repeat(LINE_MAX) + "…"]);
        let many = format!("{}\n", "y".repeat(LINE_MAX)).repeat(100);
        assert_eq!(last_lines(many.as_bytes(), 50).len(), ALL_MAX / LINE_MAX);
    }
}
