//! curl as a client that somebody else wrote.

use std::process::Command;

/// What curl got: the status, and the body or the `Location`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: String,
    pub(crate) body: String,
}

/// `url` names no port: that is the frontend's.
pub(crate) fn curl(frontend: &str, url: &str, args: &[&str]) -> Answer {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let (address, port) = frontend.split_once(':').unwrap();
    let resolve = format!("{host}:{port}:{address}");
    let url = format!("{scheme}://{host}:{port}/{path}");
    let mut curl = Command::new("curl");
    curl.args(["-sk", "--max-time", "10", "--noproxy", "*", "--resolve", &resolve]);
    curl.args(["-w", "\n%{http_code} %{redirect_url}"]).args(args).arg(url);
    let out = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    let (body, last) = out.rsplit_once('\n').unwrap();
    let (status, location) = last.split_once(' ').unwrap();
    let (location, body) = (location.to_owned(), body.to_owned());
    Answer { status: status.parse().unwrap(), location, body }
}
