//! What a terminal would obey or show in another place than it stands in: nothing of it goes out.
//! Names, reasons and messages are of containers, images, files and clients, who may mean ill.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The classes Cf (format), Zl and Zp (separators of lines and paragraphs) of Unicode 15.1. First
/// and last of each.
const UNSEEN: [(u32, u32); 20] = [
    (0x00AD, 0x00AD),
    (0x0600, 0x0605),
    (0x061C, 0x061C),
    (0x06DD, 0x06DD),
    (0x070F, 0x070F),
    (0x0890, 0x0891),
    (0x08E2, 0x08E2),
    (0x180E, 0x180E),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    // With one that is not given yet.
    (0x2060, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
];

/// Neither a control character (C0, DEL, C1) nor one that is not seen.
pub(crate) fn is_plain(c: char) -> bool {
    let code = u32::from(c);
    !c.is_control() && !UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&code))
}

/// What is not plain is written as JSON writes it, so that a document stays one. Ends of lines and
/// tabs stay.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_plain(c) || c == '\n' || c == '\t')
}

/// The same for what is to stay on one line.
pub(crate) fn plain_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_plain)
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if stays(c) {
            out.push(c);
            continue;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ => code(c, &mut out),
        }
    }
    Cow::Owned(out)
}

fn code(c: char, out: &mut String) {
    for half in c.encode_utf16(&mut [0; 2]) {
        // Into a String nothing fails.
        let _ = write!(out, "\\u{half:04x}");
    }
}

#[cfg(test)]
mod tests {
    use crate::model::terminal::{UNSEEN, is_plain, plain, plain_line};

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        for (text, want) in [
            ("plain \u{e9} \u{6f22} \u{1f600}", "plain \u{e9} \u{6f22} \u{1f600}"),
            ("\u{1b}[31mred\u{7}", "\\u001b[31mred\\u0007"),
            ("\u{9b}2J\u{7f}", "\\u009b2J\\u007f"),
            ("a\rb\0", "a\\rb\\u0000"),
            ("\u{202e}txt.exe\u{2066}", "\\u202etxt.exe\\u2066"),
            ("a\u{200b}b\u{feff}\u{ad}", "a\\u200bb\\ufeff\\u00ad"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a\\u2028b\\u2029c\\u0085d"),
            ("tag \u{e0041}", "tag \\udb40\\udc41"),
            ("one\n\ttwo", "one\n\ttwo"),
        ] {
            assert_eq!(plain(text), want);
        }
        assert_eq!(plain_line("one\n\ttwo"), "one\\n\\ttwo");
        // A document says the same as before.
        let value = serde_json::json!({ "a\u{202e}": ["\u{1b}\u{9b}\u{e0041}\n"] });
        let shown = plain(&format!("{value:#}")).into_owned();
        assert!(shown.chars().all(|c| is_plain(c) || c == '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn the_table_is_in_order_and_each_of_it_is_unseen_for_the_standard_library_too() {
        assert!(UNSEEN.is_sorted_by(|a, b| a.0 <= a.1 && a.1 < b.0));
        let all = UNSEEN.iter().flat_map(|(first, last)| *first..=*last);
        let chars: Vec<char> = all.filter_map(char::from_u32).collect();
        // 170, 1 and 1, and the one that is not given yet.
        assert_eq!(chars.len(), 173);
        for c in chars {
            assert!(!is_plain(c) && c.escape_debug().count() > 1, "{:x}", u32::from(c));
        }
        // The neighbours of what is hidden most.
        for c in ['\u{ac}', '\u{ae}', '\u{200a}', '\u{2010}', '\u{2027}', '\u{202f}', '\u{205f}'] {
            assert!(is_plain(c), "{:x}", u32::from(c));
        }
    }
}
