//! Connections: by TCP, with TLS where the address asks for it, and to a Unix socket.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use socket2::Socket;
use ureq::Error;
use ureq::unversioned::transport::{ConnectionDetails, Connector, Transport};

use crate::http_client::limits::LimitedTransport;
use crate::http_client::socket::{Deadline, SocketTransport, WAIT_MIN, is_pause};
use crate::http_client::tls::Tls;
use crate::unix;

/// A peer on the same host accepts a connection at once or not at all.
const UNIX_CONNECT_TIME: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct TcpConnector {
    pub(super) body_max: Option<u64>,
    /// `None`: an `https` address is an error.
    pub(super) tls: Option<Tls>,
}

impl Connector<()> for TcpConnector {
    type Out = LimitedTransport<Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<LimitedTransport<Box<dyn Transport>>>, Error> {
        let socket = SocketTransport::new(open(details)?, details);
        let inner = match (&self.tls, details.needs_tls()) {
            (_, false) => socket.boxed(),
            (Some(tls), true) => tls.wrap(socket, details)?,
            (None, true) => return Err(Error::TlsRequired),
        };
        Ok(Some(LimitedTransport::new(inner, self.body_max)))
    }
}

/// Connects to the first address that accepts.
fn open(details: &ConnectionDetails) -> Result<Socket, Error> {
    let deadline = Deadline::new(&*details.current_time, details.timeout);
    let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
    let mut failure = Error::HostNotFound;
    for (address, others) in addresses.iter().zip((1..=addresses.len()).rev()) {
        // An address that does not answer leaves time for those after it.
        let share = deadline.left()?.map(|left| left / u32::try_from(others).unwrap_or(1));
        let stream = match share {
            Some(share) => TcpStream::connect_timeout(address, share.max(WAIT_MIN)),
            None => TcpStream::connect(address),
        };
        match stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => return Ok(Socket::from(OwnedFd::from(stream))),
            Err(err) if is_pause(&err) => failure = Error::Timeout(details.timeout.reason),
            Err(err) => failure = Error::Io(err),
        }
    }
    Err(failure)
}

#[derive(Debug)]
pub(super) struct UnixConnector {
    pub(super) path: PathBuf,
    pub(super) body_max: Option<u64>,
}

impl Connector<()> for UnixConnector {
    type Out = LimitedTransport<SocketTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<LimitedTransport<SocketTransport>>, Error> {
        let timeout = details.timeout;
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        let left = timeout.not_zero().map_or(UNIX_CONNECT_TIME, |left| *left);
        let stream = unix::connect(&self.path, left.min(UNIX_CONNECT_TIME));
        let stream = stream.map_err(|err| match err.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
            _ => Error::Io(err),
        })?;
        let socket = Socket::from(OwnedFd::from(stream));
        let transport = SocketTransport::new(socket, details);
        Ok(Some(LimitedTransport::new(transport, self.body_max)))
    }
}
