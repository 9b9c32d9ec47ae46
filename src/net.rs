//! `outside::Net`: requests to replicas (health checks), metric sources and webhooks, each with a
//! deadline.

use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use ureq::Agent;

use crate::http_client::tls::{self, Tls};
use crate::http_client::{DeadlineResolver, fixed_agent, read_up_to, tcp_agent};
use crate::model::endpoint::Endpoint;
use crate::model::health::{CheckTls, HEALTH_HOST, HttpCheck};
use crate::model::url;
use crate::outside::{Error, Net, Result};

/// Bytes of an answer after its head: more than the largest body with its chunk headers.
const REST_BYTES_MAX: u64 = 4 << 20;

pub(crate) struct SystemNet {
    plain: Agent,
    names: DeadlineResolver,
    /// Made when it is first needed: the certificates of a host take some memory.
    host_tls: LazyLock<Tls>,
    unverified: LazyLock<Tls>,
}

impl SystemNet {
    pub(crate) fn new() -> SystemNet {
        let names = DeadlineResolver::default();
        SystemNet {
            plain: tcp_agent(REST_BYTES_MAX, &names, None),
            names,
            host_tls: LazyLock::new(Tls::of_host),
            unverified: LazyLock::new(Tls::unverified),
        }
    }

    /// The answer to a POST, whatever its status, with at most `longest_bytes` of its body. No
    /// error names the address or a header, which may hold secrets.
    pub(crate) fn post(
        &self,
        endpoint: &Endpoint,
        (content_type, body): (&str, &[u8]),
        longest_bytes: u64,
        timeout: Duration,
    ) -> Result<HttpAnswer> {
        let mut request = with_headers(self.agent(endpoint)?.post(endpoint.url.expose()), endpoint);
        if !endpoint.has_header("content-type") {
            request = request.header("content-type", content_type);
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        let mut response = request.send(body).map_err(|err| told(err, longest_bytes, timeout))?;
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let status = response.status().as_u16();
        // The status says whether it was taken: a body that breaks off changes nothing.
        let body = read_up_to(&mut response.body_mut().as_reader(), longest_bytes);
        let body = body.unwrap_or_default();
        Ok(HttpAnswer { status, retry_after: retry_after.map(Duration::from_secs), body })
    }

    /// Of the connections that an address needs.
    fn agent(&self, endpoint: &Endpoint) -> Result<Agent> {
        if !endpoint.url.expose().starts_with("https://") {
            return Ok(self.plain.clone());
        }
        let agent = |tls: &Tls| tcp_agent(REST_BYTES_MAX, &self.names, Some(tls));
        self.with_tls(endpoint.ca.as_deref(), agent)
    }

    fn with_tls(&self, ca: Option<&str>, agent: impl Fn(&Tls) -> Agent) -> Result<Agent> {
        match ca {
            None => Ok(agent(&self.host_tls)),
            Some(pem) => {
                let tls = Tls::of_ca(pem);
                Ok(agent(&tls.map_err(|why| Error::new(format!("ca_file {why}")))?))
            }
        }
    }

    /// The agent of a check, and the address that it asks for.
    fn checker(&self, to: SocketAddr, check: &HttpCheck) -> Result<(Agent, String)> {
        let agent = |tls: &Tls| fixed_agent(to, Some(REST_BYTES_MAX), 0, Some(tls));
        let name = check.server_name();
        let port = to.port();
        match &check.tls {
            None => Ok((self.plain.clone(), format!("http://{to}{}", check.path))),
            Some(CheckTls::Unverified) => {
                Ok((agent(&self.unverified), format!("https://{name}:{port}{}", check.path)))
            }
            Some(CheckTls::Verified { ca }) => {
                let agent = self.with_tls(ca.as_deref(), agent)?;
                Ok((agent, format!("https://{name}:{port}{}", check.path)))
            }
        }
    }
}

/// What a server answered to a POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// The header of this name, where it is a number of seconds.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

impl Net for SystemNet {
    /// Does not read the body.
    fn get_status(&self, to: SocketAddr, check: &HttpCheck, timeout: Duration) -> Result<u16> {
        let (agent, url) = self.checker(to, check)?;
        let scheme = if check.tls.is_some() { "https" } else { "http" };
        let what = format!("GET {scheme}://{to}{}", check.path);
        let mut request = agent.get(&url);
        if check.host().is_none() {
            request = request.header("host", HEALTH_HOST);
        }
        for (name, value) in &check.headers {
            request = request.header(name, value.expose());
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        let response = request.call().map_err(|err| match err {
            ureq::Error::Timeout(_) => {
                Error::new(format!("{what}: no answer within {} ms", timeout.as_millis()))
            }
            ureq::Error::Io(err) => match tls::fault(&err) {
                Some(why) => Error::new(format!("{what}: {why}")),
                None => Error::caused(what, err),
            },
            err => Error::caused(what, err),
        })?;
        Ok(response.status().as_u16())
    }

    fn connect(&self, to: SocketAddr, timeout: Duration) -> Result<()> {
        let opened = TcpStream::connect_timeout(&to, timeout);
        opened.map(drop).map_err(|err| Error::caused(format!("connect to {to}"), err))
    }

    fn get(
        &self,
        endpoint: &Endpoint,
        longest_bytes: u64,
        timeout: Duration,
    ) -> Result<(u16, Vec<u8>)> {
        let told = |err| told(err, longest_bytes, timeout);
        let mut request = with_headers(self.agent(endpoint)?.get(endpoint.url.expose()), endpoint);
        if !endpoint.has_header("accept") {
            request = request.header("accept", "application/json");
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        let mut response = request.call().map_err(told)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(longest_bytes).read_to_vec();
        Ok((status, body.map_err(told)?))
    }
}

/// Adds the headers of the endpoint, and the user and password of its address: ureq would not
/// decode `%2F` in them.
fn with_headers<B>(
    mut request: ureq::RequestBuilder<B>,
    endpoint: &Endpoint,
) -> ureq::RequestBuilder<B> {
    for (name, value) in &endpoint.headers {
        request = request.header(name, value.expose());
    }
    match url::basic(endpoint.url.expose()) {
        Some(basic) if !endpoint.has_header("authorization") => {
            request.header("authorization", basic)
        }
        Some(_) | None => request,
    }
}

/// An error without the address, which some of ureq's errors contain.
fn told(err: ureq::Error, longest_bytes: u64, timeout: Duration) -> Error {
    match err {
        ureq::Error::Timeout(_) => {
            Error::new(format!("no complete answer within {} ms", timeout.as_millis()))
        }
        ureq::Error::BodyExceedsLimit(_) => {
            Error::new(format!("the answer is longer than {longest_bytes} bytes"))
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Error::new("the address is invalid; write http://host:port/path")
        }
        ureq::Error::HostNotFound => Error::new("the host name of the address cannot be resolved"),
        ureq::Error::Io(err) => match tls::fault(&err) {
            Some(why) => Error::new(why),
            None => Error::caused("no complete answer", err),
        },
        err => Error::caused("the answer is not valid HTTP", err),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::thread;
    use std::time::Duration;

    use crate::model::endpoint::Endpoint;
    use crate::net::SystemNet;
    use crate::outside::Net;

    const LONGEST: u64 = 1 << 20;
    const TIMEOUT: Duration = Duration::from_millis(300);
    /// On a busy machine.
    const BOUND: Duration = Duration::from_secs(5);

    /// Serves one connection as scripted. Returns its address and the request.
    fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a?b=secret", listener.local_addr().unwrap());
        let (asked, request) = mpsc::channel();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            asked.send(String::from_utf8(head).unwrap()).unwrap();
            serve(stream);
        });
        (url, request)
    }

    /// What the call gave, or its error in words. The test fails when it does not end in time.
    #[track_caller]
    fn get(url: &str) -> Result<(u16, String), String> {
        let (done, result) = mpsc::channel();
        let url = url.to_owned();
        thread::spawn(move || {
            done.send(SystemNet::new().get(&Endpoint::new(url), LONGEST, TIMEOUT))
        });
        let result = result.recv_timeout(BOUND).expect("it ends soon after its deadline");
        let result = result.map(|(status, body)| (status, String::from_utf8(body).unwrap()));
        result.map_err(|err| err.to_string())
    }

    #[track_caller]
    fn check(answer: &[u8], want: Result<(u16, &str), &str>) {
        let answer = answer.to_vec();
        // What is left unread of it is no trouble of the server's.
        let (url, _request) = server(move |mut stream| drop(stream.write_all(&answer)));
        let got = get(&url);
        match (&got, want) {
            (Ok((status, body)), Ok(want)) => assert_eq!((*status, body.as_str()), want),
            (Err(got), Err(want)) => {
                assert!(got.starts_with(want) && !got.contains("secret"), "{got:?}, {want:?}");
            }
            (_, want) => panic!("{want:?} was wanted, not {got:?}"),
        }
    }

    #[test]
    fn a_whole_answer_is_given_whatever_its_status() {
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Ok((200, "{}")));
        check(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", Ok((503, "no")));
        check(b"HTTP/1.1 204 None\r\n\r\n", Ok((204, "")));
        check(b"HTTP/1.0 200 OK\r\n\r\nuntil it closes", Ok((200, "until it closes")));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        check(chunked, Ok((200, "{}")));
        // The other place is not asked.
        check(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            Ok((302, "")),
        );
    }

    #[test]
    fn an_answer_may_have_as_many_bytes_as_is_said_and_no_more() {
        let body = |length: u64| {
            let text = "x".repeat(usize::try_from(length).unwrap());
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}")
        };
        let most = body(LONGEST);
        check(most.as_bytes(), Ok((200, most.split_once("\r\n\r\n").unwrap().1)));
        let why = "the answer is longer than 1048576 bytes";
        check(body(LONGEST + 1).as_bytes(), Err(why));
        let endless = body(LONGEST + 1).replace("Content-Length", "X-Length");
        check(endless.as_bytes(), Err(why));
    }

    #[test]
    fn what_is_no_whole_answer_is_an_error() {
        check(b"", Err("no complete answer"));
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", Err("no complete answer"));
        check(b"HTTP/1.1 200 OK\r\nContent-Le", Err("no complete answer"));
        check(b"220 mail.example ESMTP\r\n\r\n", Err("the answer is not valid HTTP"));
        // A head that fills the buffer and goes on is never whole.
        let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 17));
        check(head.as_bytes(), Err("no complete answer"));
    }

    /// What `flood` makes of the client, and how many bytes the client let the server send.
    #[track_caller]
    fn flood(head: &'static [u8], piece: &'static [u8]) -> (String, usize) {
        let (count, sent) = mpsc::channel();
        let (url, _request) = server(move |mut stream| {
            let pieces = piece.repeat(1 + 4096 / piece.len());
            let mut bytes = 0;
            let mut next = head;
            while stream.write_all(next).is_ok() {
                bytes += next.len();
                next = &pieces;
            }
            count.send(bytes).unwrap();
        });
        let (done, result) = mpsc::channel();
        let long = Duration::from_secs(20);
        thread::spawn(move || done.send(SystemNet::new().get(&Endpoint::new(url), LONGEST, long)));
        let result = result.recv_timeout(long / 2).expect("it ends long before its deadline");
        (result.unwrap_err().to_string(), sent.recv_timeout(BOUND).unwrap())
    }

    #[test]
    fn heads_and_trailers_without_end_are_cut_off_long_before_the_deadline() {
        // What lies in the buffers of the two sockets was never looked at.
        let buffers = 8 << 20;
        for piece in ["HTTP/1.1 100 C\r\n\r\n", "HTTP/1.1 103 E\r\nLink: </a>\r\n\r\n"] {
            let (why, sent) = flood(b"", piece.as_bytes());
            assert_eq!(why, "no complete answer: the heads of the answer are longer than 64 KiB");
            assert!(sent < buffers, "{sent}");
        }
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        let (why, sent) = flood(chunked, b"A: b\r\n");
        assert!(why.ends_with("the answer is longer than 4194304 bytes as it was sent"), "{why}");
        assert!(sent < (4 << 20) + buffers, "{sent}");
    }

    #[test]
    fn some_interim_heads_are_no_trouble() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
        let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        check(format!("{early}{last}").as_bytes(), Ok((200, "{}")));
    }

    #[test]
    fn a_call_ends_at_its_deadline_however_steadily_it_trickles() {
        let (held, holder): (Sender<TcpStream>, _) = mpsc::channel();
        let (url, _request) = server(move |stream| held.send(stream).unwrap());
        assert_eq!(get(&url), Err("no complete answer within 300 ms".to_owned()), "silence");
        drop(holder);
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        for steady in [head, b"HTTP/1.1 200 OK\r\nX: "] {
            let (url, _request) = server(move |mut stream| {
                stream.write_all(steady).unwrap();
                // A byte a time, until the client has enough of it.
                while stream.write_all(b"1").is_ok() {
                    thread::park_timeout(Duration::from_millis(20));
                }
            });
            assert_eq!(get(&url), Err("no complete answer within 300 ms".to_owned()));
        }
    }

    #[test]
    fn nobody_there_and_no_address_are_errors_without_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = format!("http://{}/secret", listener.local_addr().unwrap());
        drop(listener);
        for (url, why) in [
            (closed.as_str(), "no complete answer: "),
            ("ftp://127.0.0.1/secret", "the address is invalid"),
            ("http://", "the address is invalid"),
            ("http://a b/secret", "the address is invalid"),
            ("http://no-such-host.invalid/secret", "no complete answer"),
        ] {
            let err = get(url).unwrap_err();
            assert!(err.starts_with(why) && !err.contains("secret"), "{url}: {err}");
        }
    }

    #[test]
    fn user_and_password_of_the_address_are_sent_as_such() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1";
        let (url, request) = server(|mut stream| stream.write_all(answer).unwrap());
        get(&url.replace("http://", "http://me:p%61ss@")).unwrap();
        let head = request.recv_timeout(BOUND).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("get /a?b=secret http/1.1\r\n"), "{head}");
        // As base64.
        assert!(head.contains("authorization: basic bwu6cgfzcw==\r\n"), "{head}");
    }
}
