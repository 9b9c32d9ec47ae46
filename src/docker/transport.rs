//! How ureq reaches Docker: always over its one Unix socket. See `exchange` for what is spoken
//! there, and for the limits.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use socket2::Socket;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};

use crate::exchange::Wire;
use crate::unix;

/// A peer on the same host either takes a connection at once or not at all.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Every connection of an agent made with it goes to this one socket, whatever the address says.
#[derive(Debug)]
pub(crate) struct UnixConnector {
    pub(crate) path: PathBuf,
    /// Of an answer, after its head; `None` for streams.
    pub(crate) rest_max: Option<u64>,
}

impl Connector<()> for UnixConnector {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<Wire>, Error> {
        let timeout = details.timeout;
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        let longest = timeout.not_zero().map_or(CONNECT_MAX, |longest| *longest);
        let stream = unix::connect(&self.path, longest.min(CONNECT_MAX));
        let stream = stream.map_err(|err| match err.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                Error::Timeout(timeout.reason)
            }
            _ => Error::Io(err),
        })?;
        Wire::new(Socket::from(OwnedFd::from(stream)), details, self.rest_max).map(Some)
    }
}

/// ureq wants an address before it connects; the connector ignores it.
#[derive(Debug)]
pub(crate) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(([0, 0, 0, 0], 0).into());
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;
    use std::{env, fs, process, thread};

    use crate::docker::client::Client;

    #[test]
    fn interim_heads_without_end_are_cut_off_long_before_the_deadline() {
        let path = env::temp_dir().join(format!("plimsoll-heads-{}", process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (piece, mut sent) = (b"HTTP/1.1 100 C\r\n\r\n".repeat(200), 0);
            while stream.write_all(&piece).is_ok() {
                sent += piece.len();
            }
            sent
        });
        let asked = Client::new(&path).version(Duration::from_secs(60));
        let words = asked.unwrap_err().to_string();
        assert!(words.ends_with("the heads of the answer are longer than 64 KiB"), "{words}");
        assert!(server.join().unwrap() < 4 << 20);
        fs::remove_file(&path).unwrap();
    }
}
