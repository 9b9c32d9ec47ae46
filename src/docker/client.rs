//! Calls of the Engine API: version, deadline, retry, and Docker's own message when it refuses.

use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::request::Builder;
use ureq::http::{HeaderValue, Request, Response};

use crate::docker::agent::DockerAgent;
use crate::docker::engine_calls::{self, EngineCall, Method};
use crate::docker::refusals::Refusals;
use crate::docker::registry_auth::HEADER_MAX;
use crate::docker::unreachable::unreachable_docker;
use crate::http_client;
use crate::model::docker_host::DockerHost;
use crate::model::metric::shortened;
use crate::model::metric_event::MetricEvent;
use crate::model::secret::Secret;
use crate::model::url;
use crate::outside::{Clock, Error, MetricsSink, Result};

/// The newest API version that plimsoll was tested with, and the oldest that it supports.
const NEWEST: ApiVersion = ApiVersion { major: 1, minor: 51 };
const OLDEST: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// Bytes of an answer at most. 1000 containers list as about 2 MB.
const BODY_MAX: u64 = 32 << 20;
/// The same for a list of containers, which has all labels of each. Little of it is kept.
pub(crate) const LIST_MAX: u64 = 256 << 20;
/// Bytes of an error answer to a streaming call at most.
const MESSAGE_MAX: u64 = 64 << 10;

/// Characters of Docker's own message that are shown.
pub(crate) const MESSAGE_CHARS_MAX: usize = 400;

/// Bytes of the head of a request with credentials. A connection writes it from one buffer.
const LONG_HEAD_MAX: usize = HEADER_MAX + (16 << 10);
/// Time to connect for an answer that is read as a stream.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Connections that are kept for reuse. More parallel calls connect anew each time.
const IDLE_CONNECTIONS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    fn parse(text: &str) -> Option<ApiVersion> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(ApiVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// Engine 25 and later (API 1.44): a container can be created in several networks, and one-shot
    /// statistics do not take a second.
    pub(crate) fn is_of_engine_25(self) -> bool {
        (ApiVersion { major: 1, minor: 44 }) <= self
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Without the version prefix. Its parts are already URL-encoded.
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<&'a [u8]>,
    /// May be repeated after a cut connection.
    pub(crate) idempotent: bool,
    /// Bytes of the answer that are read at most.
    pub(crate) longest: u64,
    /// The header `X-Registry-Auth`: credentials that Docker passes on to a registry.
    pub(crate) registry_auth: Option<&'a Secret>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Call<'a> {
        Call {
            method: Method::Get,
            path,
            query: &[],
            body: None,
            idempotent: true,
            longest: BODY_MAX,
            registry_auth: None,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    message: String,
}

pub(crate) struct ApiResponse {
    pub(crate) status: u16,
    body: Vec<u8>,
    what: String,
}

impl ApiResponse {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|err| self.unexpected(err))
    }

    fn unexpected(&self, err: serde_json::Error) -> Error {
        Error::caused(format!("docker: {}: unexpected answer", self.what), err)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Docker's own message, which may quote a registry or an image.
    pub(crate) fn message(&self) -> String {
        let words = match serde_json::from_slice::<ErrorBody>(&self.body) {
            Ok(refusal) => refusal.message,
            Err(_) if self.is_by_proxy() => "a proxy in front of Docker refused this call; \
                allow it in the proxy's rules"
                .to_owned(),
            Err(_) => String::from_utf8_lossy(&self.body).trim().to_owned(),
        };
        shortened(&words, MESSAGE_CHARS_MAX)
    }

    /// Docker itself answers errors in JSON, never in HTML.
    fn is_by_proxy(&self) -> bool {
        let is_denied = matches!(self.status, 401 | 403 | 405 | 407);
        let is_html = self.body.trim_ascii_start().starts_with(b"<");
        is_html || (is_denied && serde_json::from_slice::<serde_json::Value>(&self.body).is_err())
    }

    /// A proxy or an authorization plugin refused this call; Docker itself did not see it. A proxy
    /// that cannot reach Docker refuses nothing.
    pub(crate) fn is_refused(&self) -> bool {
        match self.status {
            200..=299 | 502..=504 => false,
            401 | 403 | 405 | 407 => {
                self.is_by_proxy() || self.message().contains("authorization denied")
            }
            _ => self.is_by_proxy(),
        }
    }

    /// Whether Docker itself answered with an error.
    pub(crate) fn is_error_of_docker(&self) -> bool {
        serde_json::from_slice::<ErrorBody>(&self.body).is_ok()
    }

    /// What an answer to a ping says that shows no version.
    fn no_docker(&self, host: &DockerHost) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let status = self.status;
        match status {
            _ if text.contains("HTTP request to an HTTPS server") => {
                format!("Docker at {host} wants TLS; set docker.tls")
            }
            401 | 403 | 405 | 407 => {
                format!("Docker at {host}: get /_ping: {status} {}", self.message())
            }
            502..=504 => format!(
                "cannot reach Docker at {host}: a proxy answers, but Docker behind it does not \
                 ({status})"
            ),
            _ => format!(
                "{host} is not a Docker socket (no Api-Version in its answer); see docker.socket"
            ),
        }
    }

    /// The engine's API version changed since it was negotiated: `client version 1.45 is too new.
    /// Maximum supported API version is 1.43`. The engine did not execute the call.
    fn is_outdated(&self) -> bool {
        self.status == 400 && self.message().contains("client version")
    }

    pub(crate) fn ok(self) -> Result<ApiResponse> {
        match self.status {
            200..=299 => Ok(self),
            status => {
                Err(Error::new(format!("docker: {}: {status} {}", self.what, self.message())))
            }
        }
    }
}

pub(crate) struct Client {
    agent: DockerAgent,
    host: DockerHost,
    /// What stands before the path of each request.
    base: String,
    /// Negotiated at the first call, and again after the connection was lost.
    version: Mutex<Option<ApiVersion>>,
    /// The clock that measures calls, and the sink that they are reported to.
    metrics_sink: Option<(Arc<dyn Clock>, MetricsSink)>,
    refusals: Arc<Refusals>,
}

impl Client {
    pub(crate) fn new(host: &DockerHost) -> Client {
        Client {
            agent: DockerAgent::new(host, Some(LIST_MAX), IDLE_CONNECTIONS),
            host: host.clone(),
            base: host.base(),
            version: Mutex::new(None),
            metrics_sink: None,
            refusals: Arc::default(),
        }
    }

    pub(crate) fn host(&self) -> &DockerHost {
        &self.host
    }

    /// Reports calls that a proxy refuses.
    pub(crate) fn with_refusals(self, refusals: Arc<Refusals>) -> Client {
        Client { refusals, ..self }
    }

    pub(crate) fn with_metrics(self, clock: Arc<dyn Clock>, metrics_sink: MetricsSink) -> Client {
        Client { metrics_sink: Some((clock, metrics_sink)), ..self }
    }

    pub(crate) fn call(&self, call: Call, timeout: Duration) -> Result<ApiResponse> {
        let none = |_: &mut dyn Read| Ok(None::<()>);
        let asked = || self.ask(&call, timeout, &none);
        self.counted(op(&call), |(answer, _)| 500 <= answer.status, asked).map(|(answer, _)| answer)
    }

    /// The parsed answer, parsed as it arrives: a list may be long, and little of it is kept.
    pub(crate) fn read<T: DeserializeOwned>(&self, call: Call, timeout: Duration) -> Result<T> {
        let asked = || self.ask(&call, timeout, &json::<T>);
        let (answer, read) = self.counted(op(&call), |(answer, _)| 500 <= answer.status, asked)?;
        match (read, answer.ok()?) {
            (Some(read), answer) => read.map_err(|err| answer.unexpected(err)),
            (None, answer) => answer.json(),
        }
    }

    /// Runs `ask` and reports its duration and result.
    fn counted<T>(
        &self,
        op: &'static str,
        is_failure: impl Fn(&T) -> bool,
        ask: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some((clock, metrics_sink)) = &self.metrics_sink else { return ask() };
        let begun = clock.fine();
        let answer = ask();
        let took = clock.fine().saturating_sub(begun);
        let failed = answer.as_ref().map_or(true, is_failure);
        metrics_sink(MetricEvent::Docker { op, took, failed });
        answer
    }

    fn ask<T>(
        &self,
        call: &Call,
        timeout: Duration,
        read: ReadBody<T>,
    ) -> Result<(ApiResponse, Option<T>)> {
        match self.exchange(&self.agent.get()?, call, &self.prefix(timeout)?, timeout, read) {
            Err(err) if call.idempotent && was_cut_off(&err) => self.forget(),
            Ok((answer, _)) if answer.is_outdated() => self.forget(),
            answer => return answer.map_err(|err| self.lost(&err)),
        }
        self.exchange(&self.agent.get()?, call, &self.prefix(timeout)?, timeout, read)
            .map_err(|err| self.lost(&err))
    }

    /// The API version that both sides support.
    pub(crate) fn version(&self, timeout: Duration) -> Result<ApiVersion> {
        if let Some(version) = *self.known() {
            return Ok(version);
        }
        // Not under the lock: other calls have their own deadlines, and asking twice does no harm.
        let version = self.counted("ping", |_| false, || self.negotiate(timeout))?;
        *self.known() = Some(version);
        Ok(version)
    }

    fn known(&self) -> MutexGuard<'_, Option<ApiVersion>> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prefix of every path. Without it the engine uses its newest version.
    pub(crate) fn prefix(&self, timeout: Duration) -> Result<String> {
        let version = self.version(timeout)?;
        Ok(format!("/v{version}"))
    }

    fn negotiate(&self, timeout: Duration) -> Result<ApiVersion> {
        let ping = format!("{}/_ping", self.base);
        let request = Request::get(ping).body(()).map_err(ureq::Error::from);
        let agent = self.agent.get()?;
        let call = Call::get("/_ping");
        let request = request.map(|r| deadline(&agent, r, &call, timeout));
        let mut answer = request.and_then(|r| agent.run(r)).map_err(|err| self.lost(&err))?;
        let header = answer.headers().get("api-version").and_then(|v| v.to_str().ok());
        let offered = header.and_then(ApiVersion::parse);
        let status = answer.status().as_u16();
        let body = drain(&mut answer, BODY_MAX).map_err(|err| self.explain(&err))?;
        let what = "get /_ping".to_owned();
        let answer = self.noted(&Call::get("/_ping"), ApiResponse { status, body, what });
        let host = &self.host;
        match offered {
            Some(offered) if offered < OLDEST => Err(Error::new(format!(
                "Docker at {host} has API {offered}; plimsoll needs {OLDEST} or newer \
                 (Docker 20.10)"
            ))),
            Some(offered) => Ok(offered.min(NEWEST)),
            None => Err(Error::new(answer.no_docker(host))),
        }
    }

    /// Takes note of whether a proxy refused the call.
    fn noted(&self, call: &Call, answer: ApiResponse) -> ApiResponse {
        if let Some(row) = row(call) {
            self.refusals.note(row, answer.is_refused().then_some(answer.status));
        }
        answer
    }

    /// A streamed answer, which begins within the first time. Each read of it takes the second one
    /// at most. A refused call is an error with Docker's own message.
    pub(crate) fn open(
        &self,
        call: Call,
        times: (Duration, Duration),
    ) -> Result<ureq::BodyReader<'static>> {
        let opened = self.attach(&call, times)?;
        opened.map_err(|refusal| Error::new(refusal.message()))
    }

    /// The same, with the refusal as Docker gave it.
    pub(crate) fn attach(
        &self,
        call: &Call,
        times: (Duration, Duration),
    ) -> Result<std::result::Result<ureq::BodyReader<'static>, ApiResponse>> {
        match self.stream(call, times)? {
            Err(refusal) if refusal.is_outdated() => {
                self.forget();
                self.stream(call, times)
            }
            opened => Ok(opened),
        }
    }

    fn stream(
        &self,
        call: &Call,
        (begin, silence): (Duration, Duration),
    ) -> Result<std::result::Result<ureq::BodyReader<'static>, ApiResponse>> {
        let prefix = self.prefix(begin)?;
        let agent = self.agent.for_stream().get()?;
        let builder = Request::builder().method(call.method.word()).uri(self.uri(call, &prefix));
        let request = with_auth(builder, call).header("content-type", "application/json");
        let request = request.body(call.body.unwrap_or_default()).map_err(ureq::Error::from);
        let request = request.map(|request| {
            agent
                .configure_request(request)
                .output_buffer_size(LONG_HEAD_MAX)
                .timeout_resolve(Some(CONNECT_TIME))
                .timeout_connect(Some(CONNECT_TIME))
                .timeout_recv_response(Some(begin))
                .timeout_per_read(Some(silence))
                .build()
        });
        let mut response = request.and_then(|r| agent.run(r)).map_err(|err| self.explain(&err))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            self.noted(call, ApiResponse { status, body: Vec::new(), what: String::new() });
            return Ok(Ok(response.into_body().into_reader()));
        }
        let body = drain(&mut response, MESSAGE_MAX).map_err(|err| self.explain(&err))?;
        Ok(Err(self.noted(call, ApiResponse { status, body, what: String::new() })))
    }

    fn exchange<T>(
        &self,
        agent: &Agent,
        call: &Call,
        prefix: &str,
        timeout: Duration,
        read: ReadBody<T>,
    ) -> std::result::Result<(ApiResponse, Option<T>), ureq::Error> {
        let builder = Request::builder().method(call.method.word()).uri(self.uri(call, prefix));
        let builder = with_auth(builder, call);
        let mut response = match (call.method, call.body) {
            (Method::Post, body) => {
                let request = builder.header("content-type", "application/json");
                let request = request.body(body.unwrap_or_default())?;
                agent.run(deadline(agent, request, call, timeout))?
            }
            (Method::Get | Method::Delete, _) => {
                agent.run(deadline(agent, builder.body(())?, call, timeout))?
            }
        };
        let status = response.status().as_u16();
        let found = match status {
            200..=299 => read(&mut response.body_mut().as_reader().take(call.longest))?,
            _ => None,
        };
        let body = match found {
            Some(_) => Vec::new(),
            None => drain(&mut response, call.longest)?,
        };
        let what = format!("{:?} {}", call.method, call.path).to_lowercase();
        Ok((self.noted(call, ApiResponse { status, body, what }), found))
    }

    fn lost(&self, err: &ureq::Error) -> Error {
        self.forget();
        self.explain(err)
    }

    fn uri(&self, call: &Call, prefix: &str) -> String {
        let mut uri = format!("{}{prefix}{}", self.base, call.path);
        for (i, (key, value)) in call.query.iter().enumerate() {
            uri.push(if i == 0 { '?' } else { '&' });
            uri.push_str(key);
            uri.push('=');
            url::encode(value, &mut uri);
        }
        uri
    }

    /// The next engine on this socket may have another version, and other certificates.
    fn forget(&self) {
        self.agent.forget();
        *self.known() = None;
    }

    fn explain(&self, err: &ureq::Error) -> Error {
        unreachable_docker(&self.host, err)
    }
}

/// The row of a call. Each call has one, or the rules of a proxy could not be written.
fn row(call: &Call) -> Option<&'static EngineCall> {
    let row = engine_calls::find(call.method, call.path);
    debug_assert!(row.is_some(), "{} {} is not in the table", call.method.word(), call.path);
    row
}

fn op(call: &Call) -> &'static str {
    row(call).map_or("other", |row| row.op)
}

/// The value is marked, so that no debug output of a library has it.
fn with_auth(request: Builder, call: &Call) -> Builder {
    let Some(auth) = call.registry_auth else { return request };
    let value = HeaderValue::from_str(auth.expose()).map(|mut value| {
        value.set_sensitive(true);
        value
    });
    match value {
        Ok(value) => request.header("x-registry-auth", value),
        // An error of the whole request, without the value. It is base64, so this cannot be.
        Err(_) => request.header("x-registry-auth", "\n"),
    }
}

/// Reads the body of a successful answer; returns `None` if the body is to be kept unparsed.
type ReadBody<'a, T> = &'a dyn Fn(&mut dyn Read) -> io::Result<Option<T>>;

/// Reads to the end of the body: the parser checks that nothing follows the document.
fn json<T: DeserializeOwned>(body: &mut dyn Read) -> io::Result<Option<serde_json::Result<T>>> {
    match serde_json::from_reader(BufReader::new(body)) {
        Err(err) if err.is_io() => Err(err.into()),
        read => Ok(Some(read)),
    }
}

fn deadline<B: ureq::AsSendBody>(
    agent: &Agent,
    request: Request<B>,
    call: &Call,
    timeout: Duration,
) -> Request<B> {
    let request = agent.configure_request(request).timeout_global(Some(timeout));
    match call.registry_auth {
        // Such a request has a connection of its own.
        Some(_) => request.output_buffer_size(LONG_HEAD_MAX).build(),
        None => request.build(),
    }
}

/// Reads a body to its end; otherwise its connection could not be reused.
fn drain(
    response: &mut Response<ureq::Body>,
    longest: u64,
) -> std::result::Result<Vec<u8>, ureq::Error> {
    Ok(http_client::read_up_to(&mut response.body_mut().as_reader(), longest)?)
}

/// The engine closed the connection, as at a restart: the call was not started or not finished.
fn was_cut_off(err: &ureq::Error) -> bool {
    matches!(err, ureq::Error::Io(err) if matches!(
        err.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;
    use std::{env, fs, process, thread};

    use crate::docker::client::{ApiVersion, Client, NEWEST, OLDEST};
    use crate::model::docker_host::DockerHost;

    #[test]
    fn interim_heads_without_end_are_cut_off_long_before_the_deadline() {
        let path = env::temp_dir().join(format!("plimsoll-heads-{}", process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let piece = b"HTTP/1.1 100 C\r\n\r\n".repeat(200);
            let mut sent = 0;
            while stream.write_all(&piece).is_ok() {
                sent += piece.len();
            }
            sent
        });
        let asked = Client::new(&DockerHost::Unix(path.clone())).version(Duration::from_secs(60));
        let words = asked.unwrap_err().to_string();
        assert!(words.ends_with("the heads of the answer are longer than 64 KiB"), "{words}");
        assert!(server.join().unwrap() < 4 << 20);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn versions_compare_as_numbers() {
        let parse = |text| ApiVersion::parse(text).unwrap();
        assert!(parse("1.9") < parse("1.41"));
        assert!(parse("1.41") == OLDEST && parse("1.40") < OLDEST);
        assert_eq!(parse("1.55").min(NEWEST), NEWEST);
        assert!(!parse("1.43").is_of_engine_25() && parse("1.44").is_of_engine_25());
        for odd in ["", "1", "x.y", "1.-1", "1.41.2"] {
            assert_eq!(ApiVersion::parse(odd), None, "{odd}");
        }
    }
}
