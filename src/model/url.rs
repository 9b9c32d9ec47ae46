//! What is done to addresses of HTTP as text.

/// Without user, password, query and fragment: those may be secrets.
pub(crate) fn plain(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = place.rsplit('@').next().unwrap_or(place);
    format!("{scheme}://{host}{path}")
}

/// As little as tells whom it leads to.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    place.rsplit('@').next().unwrap_or(place)
}

/// Appends `text` so that it is one value of a query.
pub(crate) fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                into.push(char::from(byte));
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::url::{encode, host, plain};

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("http://a:9/b", "http://a:9/b"),
            ("http://a", "http://a"),
            ("http://me:pass@a:9/b?token=x#y", "http://a:9/b"),
            ("http://me:p@ss@a?x=/y", "http://a"),
            ("http://a/b@c", "http://a/b@c"),
            ("a?b", "a"),
        ] {
            assert_eq!(plain(url), shown, "{url}");
        }
    }

    #[test]
    fn a_host_is_all_that_is_told_of_a_secret_address() {
        for (url, shown) in [
            ("http://a:9/b", "a:9"),
            ("http://me:p@ss@a?x=/y", "a"),
            ("http://a#b", "a"),
            ("a/b", "a"),
        ] {
            assert_eq!(host(url), shown, "{url}");
        }
    }

    #[test]
    fn a_query_is_safe_in_an_address() {
        let mut out = String::new();
        encode(r#"{"a":["b c"]}&ü~"#, &mut out);
        assert_eq!(out, "%7B%22a%22%3A%5B%22b%20c%22%5D%7D%26%C3%BC~");
    }
}
