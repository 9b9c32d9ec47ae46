//! Parses the head of a request, and rejects what the API does not take: the syntax is httparse's,
//! the policy is ours. Pure; the caller bounds the bytes.

/// Request line and headers.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;

/// Why a request is rejected: status and message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection(pub(crate) u16, pub(crate) &'static str);

/// The parts that handlers use. Anything else that the client sent is dropped here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    /// Begins with `/`.
    pub(crate) target: String,
    /// Only those in `PASSED`, by their lower-case names.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body_bytes: usize,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// Headers that the handlers read.
const PASSED: [&str; 5] = ["accept", "authorization", "host", "origin", "sec-fetch-site"];

/// Rejects bytes that cannot become a request any more. Those before `from` were checked before.
pub(crate) fn check_prefix(bytes: &[u8], from: usize) -> Result<(), Rejection> {
    // TLS, or no HTTP at all: the rest need not be waited for.
    if bytes.first().is_some_and(|b| !b.is_ascii_uppercase()) {
        return Err(Rejection(400, "this is not an HTTP request"));
    }
    for at in from..bytes.len() {
        if bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r') {
            return Err(Rejection(400, "a line of the head does not end in CR and LF"));
        }
    }
    if HEAD_BYTES_MAX < bytes.len() {
        return Err(Rejection(431, "the request head is over 16 KiB"));
    }
    Ok(())
}

/// Where the body begins, if the head is complete. Bytes before `from` were checked before.
pub(crate) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3).min(bytes.len());
    let found = bytes[from..].windows(4).position(|four| four == b"\r\n\r\n");
    found.map(|at| from + at + 4)
}

/// `bytes` are a whole head, with its empty line.
pub(crate) fn parse(bytes: &[u8]) -> Result<RequestHead, Rejection> {
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut room);
    let parsed = request.parse(bytes).map_err(refusal)?;
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(REQUEST_LINE);
    };
    if parsed.is_partial() || !is_plain(method, target) {
        return Err(REQUEST_LINE);
    }
    let method = method.to_owned();
    let target = target.to_owned();
    let mut head = RequestHead { method, target, ..RequestHead::default() };
    let mut length: Option<&[u8]> = None;
    let mut hosts = 0;
    let mut coded = false;
    for httparse::Header { name, value } in request.headers.iter() {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "content-length" if length.is_some() => {
                return Err(Rejection(400, "the request has two Content-Length headers"));
            }
            "content-length" => length = Some(value),
            "transfer-encoding" => coded = true,
            "host" => hosts += 1,
            "expect" if value.eq_ignore_ascii_case(b"100-continue") => head.expects_continue = true,
            "expect" => return Err(Rejection(417, "only `Expect: 100-continue` is supported")),
            _ => (),
        }
        if let Some(passed) = PASSED.iter().find(|passed| **passed == name) {
            head.headers.push((passed, text(value).ok_or(HEADER)?));
        }
    }
    if coded {
        return Err(Rejection(411, "Transfer-Encoding is not supported; send a Content-Length"));
    }
    if 1 < hosts || (hosts == 0 && minor == HTTP_1_1) {
        return Err(Rejection(400, "the request needs exactly one Host header"));
    }
    head.body_bytes = length.map(body_bytes).transpose()?.unwrap_or(0);
    Ok(head)
}

const REQUEST_LINE: Rejection = Rejection(400, "the request line is not `METHOD /path HTTP/1.1`");
const HEADER: Rejection = Rejection(400, "a header is not `Name: value` on one line, in ASCII");
/// As the parser gives it: the minor version.
const HTTP_1_1: u8 = 1;

fn refusal(err: httparse::Error) -> Rejection {
    match err {
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HEADER,
        httparse::Error::TooManyHeaders => Rejection(431, "the request has more than 100 headers"),
        httparse::Error::Version => Rejection(505, "only HTTP/1.1 and HTTP/1.0 are supported"),
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => REQUEST_LINE,
    }
}

/// The parser takes any token for a method, and any text without spaces for a target.
fn is_plain(method: &str, target: &str) -> bool {
    let is_method = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    is_method && target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic())
}

fn text(bytes: &[u8]) -> Option<String> {
    let plain = bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    plain.then(|| String::from_utf8_lossy(bytes).into_owned())
}

fn body_bytes(value: &[u8]) -> Result<usize, Rejection> {
    let over = Rejection(413, "the body is over 64 KiB");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Rejection(400, "Content-Length is not a whole number"));
    }
    // A number too large to parse is too large for a body, too.
    let number = String::from_utf8_lossy(value).parse::<usize>().map_err(|_| over)?;
    if BODY_BYTES_MAX < number { Err(over) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use crate::serve::request_parser::{HEAD_BYTES_MAX, check_prefix, end, parse};

    fn status(text: &str) -> u16 {
        let bytes = text.as_bytes();
        assert_eq!(end(bytes, bytes.len() - 1), Some(bytes.len()), "{text}");
        match check_prefix(bytes, 0).and_then(|()| parse(bytes)) {
            Ok(_) => 200,
            Err(bad) => bad.0,
        }
    }

    #[test]
    fn what_is_no_plain_request_is_refused() {
        for (lines, want) in [
            ("GET / HTTP/1.1|Host: x", 200),
            ("GET / HTTP/1.0", 200),
            ("GET /a?b=c HTTP/1.1|host:x|X-Odd: \u{e4}\tb", 200),
            ("POST / HTTP/1.1|Host: x|Content-Length: 65536", 200),
            ("POST / HTTP/1.1|Host: x|Content-Length: 0|Expect: 100-Continue", 200),
            ("GET / HTTP/1.1", 400),
            ("GET / HTTP/1.1|Host: x|Host: x", 400),
            ("GET  / HTTP/1.1|Host: x", 400),
            ("GET / HTTP/1.1 |Host: x", 400),
            ("GET /\tb HTTP/1.1|Host: x", 400),
            ("GET /\u{e4} HTTP/1.1|Host: x", 400),
            ("GET * HTTP/1.1|Host: x", 400),
            ("GET http://x/ HTTP/1.1|Host: x", 400),
            ("Get / HTTP/1.1|Host: x", 400),
            ("GET / HTTX/1.1|Host: x", 505),
            ("GET / HTTP/one|Host: x", 505),
            ("GET / HTTP/|Host: x", 505),
            ("GET /", 400),
            ("GET / HTTP/2.0", 505),
            ("PRI * HTTP/2.0", 505),
            ("GET / HTTP/1.2|Host: x", 505),
            ("GET / HTTP/0.9", 505),
            ("GET / HTTP/1.1|Host: x| folded: y", 400),
            ("GET / HTTP/1.1|Host: x|Name : y", 400),
            ("GET / HTTP/1.1|Host: x|: y", 400),
            ("GET / HTTP/1.1|Host: x|no colon", 400),
            ("GET / HTTP/1.1|Host: x|Name: a\0b", 400),
            ("GET / HTTP/1.1|Host: x|Name: a\rb", 400),
            ("GET / HTTP/1.1|Host: x|Origin: \u{e4}", 400),
            ("GET / HTTP/1.1|Host: x|Expect: nothing", 417),
            ("POST / HTTP/1.1|Host: x|Transfer-Encoding: chunked", 411),
            ("POST / HTTP/1.1|Host: x|Content-Length: 5|Transfer-Encoding: identity", 411),
            ("POST / HTTP/1.1|Host: x|Content-Length: 65537", 413),
            ("POST / HTTP/1.1|Host: x|Content-Length: 9000000000000000000", 413),
            ("POST / HTTP/1.1|Host: x|Content-Length: 18446744073709551615", 413),
            ("POST / HTTP/1.1|Host: x|Content-Length: 99999999999999999999999", 413),
            ("POST / HTTP/1.1|Host: x|Content-Length: 5|Content-Length: 5", 400),
            ("POST / HTTP/1.1|Host: x|Content-Length: 5, 5", 400),
            ("POST / HTTP/1.1|Host: x|Content-Length: 5x", 400),
            ("POST / HTTP/1.1|Host: x|Content-Length: +5", 400),
            ("POST / HTTP/1.1|Host: x|Content-Length: -5", 400),
            ("POST / HTTP/1.1|Host: x|Content-Length:", 400),
        ] {
            let text = format!("{}\r\n\r\n", lines.replace('|', "\r\n"));
            assert_eq!(status(&text), want, "{text}");
        }
    }

    #[test]
    fn heads_have_a_bound() {
        let headers = |n: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert_eq!((status(&headers(100)), status(&headers(101))), (200, 431));
        let long = |n: usize| format!("GET / HTTP/1.0\r\na: {}\r\n\r\n", "b".repeat(n));
        let empty = long(0).len();
        assert_eq!(status(&long(HEAD_BYTES_MAX - empty)), 200);
        assert_eq!(status(&long(HEAD_BYTES_MAX - empty + 1)), 431);
    }

    #[test]
    fn only_what_is_needed_is_handed_on() {
        let text = b"POST /a HTTP/1.1\r\nHOST: h:1\r\nX-Plimsoll-From: control\r\nCookie: c\r\n\
                     authorization:  Bearer t \r\nContent-Length: 7\r\n\r\n";
        let head = parse(text).unwrap();
        let passed = [("host", "h:1"), ("authorization", "Bearer t")];
        assert_eq!(head.headers, passed.map(|(name, value)| (name, value.to_owned())));
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/a"));
        assert_eq!((head.body_bytes, head.expects_continue), (7, false));
    }

    #[test]
    fn what_cannot_become_a_request_is_not_waited_for() {
        for (bytes, is_good) in [
            (&b""[..], true),
            (b"G", true),
            (b"GET / HTTP/1.1\r", true),
            (b"\x16\x03\x01\x02", false),
            (b"\0", false),
            (b"\xff", false),
            (b"get", false),
            (b"\r\nGET", false),
            (b"GET / HTTP/1.1\n", false),
        ] {
            assert_eq!(check_prefix(bytes, 0).is_ok(), is_good, "{bytes:?}");
        }
    }
}
