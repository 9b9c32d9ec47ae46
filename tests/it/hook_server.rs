//! A receiver of webhooks that records each request and answers as scripted, with or without TLS.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::certificate::signed_by_ca;

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Recorded {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }
}

type Script = Arc<Mutex<VecDeque<(&'static str, u16, &'static str, &'static str)>>>;

/// It ends with the test program.
pub(crate) struct HookServer {
    /// `localhost:PORT`
    pub(crate) host: String,
    pub(crate) requests: Receiver<Recorded>,
    script: Script,
}

impl HookServer {
    pub(crate) fn plain() -> HookServer {
        HookServer::start(None)
    }

    /// Writes the CA's certificate to `ca.pem` of the folder.
    pub(crate) fn tls(dir: &Path) -> HookServer {
        let (_, cert, key) = signed_by_ca(dir);
        let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        HookServer::start(Some(Arc::new(config.with_single_cert(chain.unwrap(), key).unwrap())))
    }

    fn start(tls: Option<Arc<ServerConfig>>) -> HookServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let (sender, requests) = mpsc::channel();
        let script = Script::default();
        let answers = script.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, sender, answers) = (tls.clone(), sender.clone(), answers.clone());
                thread::spawn(move || serve(stream, tls, &sender, &answers));
            }
        });
        HookServer { host, requests, script }
    }

    /// The next request whose path starts with this is answered with status, header and body; all
    /// others with 200 and `ok`.
    pub(crate) fn answer(
        &self,
        path: &'static str,
        status: u16,
        header: &'static str,
        body: &'static str,
    ) {
        self.script.lock().unwrap().push_back((path, status, header, body));
    }
}

/// A client that hangs up, as one that does not trust the certificate, is its own affair.
fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    sender: &Sender<Recorded>,
    script: &Script,
) {
    match tls {
        None => exchange(stream, sender, script),
        Some(config) => {
            let connection = ServerConnection::new(config).unwrap();
            exchange(StreamOwned::new(connection, stream), sender, script);
        }
    }
}

fn exchange(stream: impl Read + Write, sender: &Sender<Recorded>, script: &Script) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let mut rows = script.lock().unwrap();
        let at = rows.iter().position(|(path, ..)| request.target.starts_with(path));
        let row = at.and_then(|at| rows.remove(at));
        drop(rows);
        let (_, status, header, body) = row.unwrap_or(("", 200, "X-A: b", "ok"));
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\n{header}\r\nContent-Length: {length}\r\n\r\n");
        let stream = reader.get_mut();
        if stream.write_all((head + body).as_bytes()).and_then(|()| stream.flush()).is_err()
            || sender.send(request).is_err()
        {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Recorded> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| 0 < *length)?;
    let target = line.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length?.1.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Recorded { target, headers, body: String::from_utf8(body).ok()? })
}
