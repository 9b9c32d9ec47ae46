//! An answer, as bytes and back.

use serde_json::{Value, json};

/// Headers that go out; what else tiny_http adds stays inside.
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
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Json(Value),
    Text(String),
}

impl Reply {
    pub(crate) fn new(status: u16, body: Value) -> Reply {
        Reply::of(JSON, status, Body::Json(body))
    }

    /// Of that Content-Type.
    pub(crate) fn plain(content_type: &str, text: String) -> Reply {
        Reply::of(content_type, 200, Body::Text(text))
    }

    fn of(content_type: &str, status: u16, body: Body) -> Reply {
        let headers = [("Content-Type", content_type), ("Cache-Control", "no-store")];
        let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
        Reply { status, headers, body }
    }

    pub(crate) fn error(status: u16, what: impl Into<String>) -> Reply {
        Reply::new(status, json!({ "error": what.into(), "detail": null }))
    }

    /// What a person or program can do about it, or all of what is wrong.
    pub(crate) fn detail(mut self, detail: impl Into<Value>) -> Reply {
        if let Body::Json(body) = &mut self.body {
            body["detail"] = detail.into();
        }
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// For now.
    pub(crate) fn busy(what: impl Into<String>) -> Reply {
        Reply::error(503, what).header("Retry-After", "1")
    }

    pub(crate) fn text(&self) -> String {
        match &self.body {
            Body::Json(body) => format!("{body}\n"),
            Body::Text(text) => text.clone(),
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
        400 => "Bad Request",
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
        // A phrase says nothing that the number does not.
        _ => "Answer",
    }
}

/// Status, header lines and body of an answer; `None`: it is none, or not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<(u16, &str, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some((status, headers, &bytes[end + 4..]))
}

/// Of an answer that goes out.
pub(crate) fn status(answer: &[u8]) -> u16 {
    parse(answer).map_or(500, |(status, ..)| status)
}

/// What was answered inside, as it goes out.
pub(crate) fn pass_on(bytes: &[u8]) -> Option<Vec<u8>> {
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

    use crate::serve::reply::{Reply, parse, pass_on};

    #[test]
    fn an_answer_is_closed_and_says_its_length() {
        let bytes = Reply::error(409, "no").detail("why").header("Allow", "GET").bytes();
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
        assert_eq!(pass_on(inside).unwrap(), outside.as_bytes());
        for cut in [&inside[..20], b"", b"HTTP/1.1 2x0 OK\r\n\r\n"] {
            assert_eq!(pass_on(cut), None);
        }
    }
}
