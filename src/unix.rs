//! Unix sockets with a deadline also for connecting: a peer that is frozen takes a few connections
//! and then none, and std would wait for it for ever.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// Reads and writes of the stream have the same deadline each, until they are given another.
pub(crate) fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux the deadline for sending is the one for connecting, too.
    socket.set_write_timeout(Some(timeout))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(&SockAddr::unix(path)?).map_err(|err| match err.kind() {
        io::ErrorKind::WouldBlock => io::Error::from(io::ErrorKind::TimedOut),
        _ => err,
    })?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;
    use std::{env, fs, process};

    use crate::unix::connect;

    #[test]
    fn a_peer_that_accepts_nobody_is_given_up() {
        let path = env::temp_dir().join(format!("plimsoll-unix-{}.sock", process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let soon = Duration::from_millis(50);
        let mut held = Vec::new();
        let refused = loop {
            match connect(&path, soon) {
                Ok(stream) => held.push(stream),
                Err(err) => break err,
            }
            assert!(held.len() < 10_000, "the backlog has no end");
        };
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
        listener.accept().unwrap();
        assert!(connect(&path, soon).is_ok(), "there is room for one more");
        drop(listener);
        assert_eq!(connect(&path, soon).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        fs::remove_file(&path).unwrap();
        assert_eq!(connect(&path, soon).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
