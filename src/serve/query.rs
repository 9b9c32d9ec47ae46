//! The query part of a request's target.

use crate::model::units;
use crate::serve::response::Response;

/// Keys and decoded values, in order. An unknown key is an error: with a misspelt one, the caller
/// would take the answer for what was asked.
pub(crate) fn pairs<'a>(
    target: &'a str,
    allowed: &[&str],
) -> Result<Vec<(&'a str, String)>, Response> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pair = |pair: &'a str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !allowed.contains(&key) {
            let near = units::nearest_key(key, allowed.iter().copied());
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("allowed: {}", allowed.join(", ")),
            };
            let what = format!("unknown query key `{key}`; {hint}");
            return Err(Response::error(400, what));
        }
        let value = decoded(value).ok_or_else(|| {
            Response::error(400, format!("`{key}` in the query is not valid UTF-8"))
        })?;
        Ok((key, value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// Percent-decoding. A plus stays a plus: times contain one, and no value contains spaces.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        // `from_str_radix` would take a sign.
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
