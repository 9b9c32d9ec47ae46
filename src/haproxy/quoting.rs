//! Texts of the config in HAProxy's.

use std::path::Path;

/// A format that gives this text, in quotes. `%` begins a variable, and HAProxy takes an empty
/// format for none.
pub(crate) fn format_text(text: &str) -> String {
    if text.is_empty() { "'%[str()]'".to_owned() } else { quoted(&text.replace('%', "%%")) }
}

/// In HAProxy's strong quotes only the quote itself is special; it is written between two quoted
/// parts.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The address of a server that is a socket of the daemon's: its file, where HAProxy sees it, else
/// its name in the abstract namespace.
pub(crate) fn daemon_address(file: &Path, name: &str, sees_files: bool) -> String {
    match sees_files {
        true => quoted(&format!("unix@{}", file.display())),
        false => format!("abns@{name}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::haproxy::quoting::quoted;

    #[test]
    fn nothing_gets_out_of_quotes() {
        assert_eq!(quoted(r#"a "b" $C \ # '"#), r#"'a "b" $C \ # '\'''"#);
    }
}
