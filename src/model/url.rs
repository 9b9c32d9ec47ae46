//! What is done to addresses of HTTP as text.

use crate::model::base64;

/// Without user, password, query and fragment: those may be secrets. What stands before an `@` may
/// be one too, wherever that is: a password may hold a `/`, and the text need be no address.
pub(crate) fn plain(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.rsplit('@').next().unwrap_or(rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }
}

/// The shortest form that still shows the target.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit('@').next().unwrap_or(rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// What is wrong with an address of HTTP or HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NoAddress,
    /// An `@` that may belong to a password or to a path.
    TwoWays,
}

/// Only what can be read in one way is taken: user and password, of which no `@`, `/`, `?` or `#`
/// is a part, then a host, perhaps a port, and no `@` behind them.
pub(crate) fn check(url: &str) -> Result<(), Fault> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or(Fault::NoAddress)?;
    if !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Fault::NoAddress);
    }
    let (place, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if behind.contains('@') || 1 < place.matches('@').count() {
        return Err(Fault::TwoWays);
    }
    let place = place.rsplit('@').next().unwrap_or_default();
    let host_end = match place.strip_prefix('[') {
        Some(inner) => inner.find(']').map_or(0, |at| at + 2),
        None => place.find([':', '[', ']']).unwrap_or(place.len()),
    };
    let (host, port) = place.split_at(host_end);
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let is_there = !host.is_empty() && host != "[]" && !host[1..].contains('[');
    if is_good && is_there { Ok(()) } else { Err(Fault::NoAddress) }
}

/// User and password as a header has them (RFC 7617), where an address has any.
pub(crate) fn basic(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?', '#']).next()?;
    let (user, _) = place.rsplit_once('@')?;
    let user = if user.contains(':') { user.to_owned() } else { format!("{user}:") };
    Some(format!("Basic {}", base64::encode(&decoded(&user))))
}

/// What is no code of two hex digits stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, digit(0).zip(digit(1))) {
            (b'%', Some((high, low))) => {
                out.extend(u8::try_from(high * 16 + low));
                rest = &after[2..];
            }
            _ => out.push(*first),
        }
    }
    out
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
    use crate::model::url::{Fault, basic, check, encode, host, plain};

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("http://a:9/b", "http://a:9/b"),
            ("http://a", "http://a"),
            ("http://me:pass@a:9/b?token=x#y", "http://a:9/b"),
            ("http://me:p@ss@a?x=/y", "http://a"),
            ("http://me:pa/ss@a:9/b", "http://a:9/b"),
            ("http://me:pa?ss@a:9/b?c", "http://a:9/b"),
            ("http://me:pa#ss@a:9/b", "http://a:9/b"),
            ("http://me:12/34@a", "http://a"),
            ("https://me:pa/ss@a", "https://a"),
            ("http:/me:pass@a/b", "a/b"),
            ("me:pa/ss@a/b", "a/b"),
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
            ("http://me:pa/s?s@a:9/b", "a:9"),
            ("http://a#b", "a"),
            ("a/b", "a"),
        ] {
            assert_eq!(host(url), shown, "{url}");
        }
    }

    #[test]
    fn only_an_address_that_can_be_read_in_one_way_is_one() {
        for url in [
            "http://a",
            "https://a",
            "https://me:pass@a:9/b",
            "http://a:9/b?c=d#e",
            "http://me@a",
            "http://me:pass@a:9/b",
            "http://:p@a/",
            "http://[::1]",
            "http://[::1]:9/b",
            "http://me:p%2Fa%40@[::1]:9",
            "http://a?b",
            "http://a#b",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for url in [
            "",
            "a",
            "ftp://a",
            "http://",
            "https://",
            "http:///b",
            "http://:9/",
            "http://me@",
            "http://me@/b",
            "http://a:/b",
            "http://a:b/",
            "http://a:9:9",
            "http://[::1",
            "http://[]",
            "http://[::1]9",
            "http://a]",
            "http://a[b]",
            "http://a b",
            "http://\u{e9}",
            "http://me:SEC/RET",
        ] {
            assert_eq!(check(url), Err(Fault::NoAddress), "{url}");
        }
        for url in [
            "http://me:SEC/RET@a/",
            "https://me:SEC/RET@a/",
            "http://me:12/34@a",
            "http://me:SEC?RET@a",
            "http://me:SEC#RET@a",
            "http://me:SEC@RET@a",
            "http://a/b@c",
            "http://a?b=c@d",
        ] {
            assert_eq!(check(url), Err(Fault::TwoWays), "{url}");
        }
    }

    #[test]
    fn user_and_password_are_decoded_and_become_a_header() {
        for (url, want) in [
            ("http://a/b@c", None),
            ("http://Aladdin:open%20sesame@a/b", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("http://me@a", Some("Basic bWU6")),
            ("http://me:p%2Fw%40@a?b", Some("Basic bWU6cC93QA==")),
            ("http://me:1%zz%@a", Some("Basic bWU6MSV6eiU=")),
        ] {
            assert_eq!(basic(url).as_deref(), want, "{url}");
        }
    }

    #[test]
    fn a_query_is_safe_in_an_address() {
        let mut out = String::new();
        encode(r#"{"a":["b c"]}&ü~"#, &mut out);
        assert_eq!(out, "%7B%22a%22%3A%5B%22b%20c%22%5D%7D%26%C3%BC~");
    }
}
