//! Unix sockets with a deadline for connecting too: a frozen peer accepts a few connections and
//! then none, and std would wait forever.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// Time that a listening process has to accept.
const ANSWER: Duration = Duration::from_secs(1);
/// HAProxy's names are as long as the kernel allows, with zeros at their end.
const NAME_BYTES: usize = 107;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Connects within `timeout`, which then also applies to each read and write of the stream.
pub(crate) fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux the send timeout also applies to connecting.
    socket.set_write_timeout(Some(timeout))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(&SockAddr::unix(path)?).map_err(|err| match err.kind() {
        io::ErrorKind::WouldBlock => io::Error::from(io::ErrorKind::TimedOut),
        _ => err,
    })?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// Reads until the peer closes. `left` returns the time that is left for the whole answer. More
/// than
/// `longest` bytes are an error.
pub(crate) fn read_all(
    stream: &mut UnixStream,
    longest: usize,
    left: impl Fn() -> Duration,
) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        let length = read_some(stream, &mut part, left())?;
        if length == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&part[..length]);
        if longest < all.len() {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "the answer is too long"));
        }
    }
}

/// One read within `left`.
pub(crate) fn read_some(
    stream: &mut UnixStream,
    part: &mut [u8],
    left: Duration,
) -> io::Result<usize> {
    if left.is_zero() {
        return Err(io::Error::from(ErrorKind::TimedOut));
    }
    stream.set_read_timeout(Some(left))?;
    loop {
        match stream.read(part) {
            Err(err) if err.kind() == ErrorKind::Interrupted => (),
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                return Err(io::Error::from(ErrorKind::TimedOut));
            }
            read => return read,
        }
    }
}

/// Listens on a socket file of this mode. A stale file, left by a killed process, is replaced.
pub(crate) fn listen(path: &Path, mode: u32) -> io::Result<Socket> {
    match connect(path, ANSWER) {
        Err(err) if err.kind() == ErrorKind::NotFound => (),
        Err(err) if err.kind() == ErrorKind::ConnectionRefused && is_socket(path) => {
            fs::remove_file(path)?;
        }
        Ok(_) | Err(_) => return Err(io::Error::from(ErrorKind::AddrInUse)),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before `listen`, so there is no moment with another mode.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Listens at a name in the abstract namespace, as HAProxy spells it (`abns@`).
pub(crate) fn listen_abstract(name: &str) -> io::Result<UnixListener> {
    let mut bytes = name.as_bytes().to_vec();
    if NAME_BYTES < bytes.len() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the name is longer than 107 bytes"));
    }
    bytes.resize(NAME_BYTES, 0);
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(bytes)?)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{ErrorKind, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;
    use std::{env, fs, process};

    use crate::unix::{connect, listen, read_all};

    #[test]
    fn a_socket_is_replaced_only_when_nobody_answers_on_it() {
        let path = env::temp_dir().join(format!("plimsoll-listen-{}.sock", process::id()));
        let first = listen(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        let second = listen(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(second);
        fs::remove_file(&path).unwrap();
        // What is no socket is somebody's file.
        fs::write(&path, "kept").unwrap();
        assert_eq!(listen(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn one_deadline_is_for_all_of_an_answer_however_slowly_it_comes() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"abc").unwrap();
        drop(theirs);
        assert_eq!(read_all(&mut ours, 3, || Duration::from_secs(5)).unwrap(), b"abc");

        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"abcd").unwrap();
        let long = read_all(&mut ours, 3, || Duration::from_secs(5)).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::FileTooLarge);

        // A byte each time that it is asked how long there is left.
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let left = Cell::new(100);
        let slow = read_all(&mut ours, 1000, || {
            (&theirs).write_all(b"x").unwrap();
            left.set(left.get() - 10);
            Duration::from_millis(left.get())
        });
        assert_eq!(slow.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(left.get(), 0);

        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        let silent = read_all(&mut ours, 3, || Duration::from_millis(20)).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::TimedOut);
    }

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
