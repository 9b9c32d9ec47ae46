//! Texts of the config in HAProxy's.

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

#[cfg(test)]
mod tests {
    use crate::haproxy::quoting::quoted;

    #[test]
    fn nothing_gets_out_of_quotes() {
        assert_eq!(quoted(r#"a "b" $C \ # '"#), r#"'a "b" $C \ # '\'''"#);
    }
}
