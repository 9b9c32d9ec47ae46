//! An answer of the API, to bytes and back.

use serde_json::{Value, json};

/// Headers that reach the client. tiny_http adds others.
const PASSED: [&str; 10] = [
    "allow",
    "cache-control",
    "content-length",
    "content-security-policy",
    "content-type",
    "date",
    "referrer-policy",
    "retry-after",
    "x-content-type-options",
    "www-authenticate",
];

pub(crate) const JSON: &str = "application/json";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    content: Content,
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    Json(Value),
    Text(String),
}

impl Response {
    pub(crate) fn new(status: u16, body: Value) -> Response {
        Response::of(JSON, status, Content::Json(body))
    }

    /// Status 200.
    pub(crate) fn plain(content_type: &str, text: String) -> Response {
        Response::of(content_type, 200, Content::Text(text))
    }

    fn of(content_type: &str, status: u16, content: Content) -> Response {
        let headers = [("Content-Type", content_type), ("Cache-Control", "no-store")];
        let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
        Response { status, headers, content }
    }

    pub(crate) fn error(status: u16, what: impl Into<String>) -> Response {
        Response::new(status, json!({ "error": what.into(), "detail": null }))
    }

    /// How to fix it, or the list of problems.
    pub(crate) fn detail(mut self, detail: impl Into<Value>) -> Response {
        if let Content::Json(body) = &mut self.content {
            body["detail"] = detail.into();
        }
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Temporarily unavailable.
    pub(crate) fn busy(what: impl Into<String>) -> Response {
        Response::error(503, what).header("Retry-After", "1")
    }

    pub(crate) fn text(&self) -> String {
        match &self.content {
            Content::Json(body) => format!("{body}\n"),
            Content::Text(text) => text.clone(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let text = self.text();
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let length = format!("Content-Length: {}\r\n", text.len());
        let headers: String = headers.chain([length]).collect();
        with_head(self.status, &headers, text.as_bytes())
    }
}

fn with_head(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let phrase = phrase(status);
    let head = format!("HTTP/1.1 {status} {phrase}\r\n{headers}Connection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Rejection Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        // Clients go by the number.
        _ => "Unknown",
    }
}

/// Status, header lines and body. `None`: the bytes are not a complete answer.
pub(crate) fn parse(bytes: &[u8]) -> Option<(u16, &str, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some((status, headers, &bytes[end + 4..]))
}

/// 500 for an answer that cannot be parsed.
pub(crate) fn status(answer: &[u8]) -> u16 {
    parse(answer).map_or(500, |(status, ..)| status)
}

/// tiny_http's answer with only the headers that reach the client.
pub(crate) fn filtered(bytes: &[u8]) -> Option<Vec<u8>> {
    let (status, headers, body) = parse(bytes)?;
    let passed = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        PASSED.iter().any(|passed| passed.eq_ignore_ascii_case(name))
    };
    let headers = headers.split("\r\n").filter(passed).map(|line| format!("{line}\r\n"));
    Some(with_head(status, &headers.collect::<String>(), body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::serve::response::{Response, filtered, parse};

    #[test]
    fn an_answer_is_closed_and_says_its_length() {
        let bytes = Response::error(409, "no").detail("why").header("Allow", "GET").bytes();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let want = "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\n\
                    Cache-Control: no-store\r\nAllow: GET\r\nContent-Length: 30\r\n\
                    Connection: close";
        assert_eq!((head, body), (want, "{\"detail\":\"why\",\"error\":\"no\"}\n"));
        let (status, _, body) = parse(&bytes).unwrap();
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!((status, body), (409, json!({ "error": "no", "detail": "why" })));
    }

    #[test]
    fn what_is_inside_stays_inside() {
        let inside = b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: d\r\ncontent-length: 2\r\n\r\nab";
        let outside = "HTTP/1.1 200 OK\r\nDate: d\r\ncontent-length: 2\r\n\
                       Connection: close\r\n\r\nab";
        assert_eq!(filtered(inside).unwrap(), outside.as_bytes());
        for cut in [&inside[..20], b"", b"HTTP/1.1 2x0 OK\r\n\r\n"] {
            assert_eq!(filtered(cut), None);
        }
    }
}
