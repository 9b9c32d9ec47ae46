//! Limits of an answer that ureq lacks: bytes of its heads, and bytes of all that follows. They
//! count what TLS carries, not its records.

use std::fmt;
use std::io;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

/// All heads of one answer, in bytes: any number of interim ones (1xx) may precede the last.
const HEADS_BYTES_MAX: u64 = 64 << 10;

/// One connection, with the limits.
pub(super) struct LimitedTransport<T> {
    inner: T,
    heads: HeadCounter,
    /// Chunk sizes and trailers count as body. `None` is a stream without an end.
    body_max: Option<u64>,
    body_bytes: u64,
}

impl<T: Transport> fmt::Debug for LimitedTransport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedTransport").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<T: Transport> LimitedTransport<T> {
    pub(super) fn new(inner: T, body_max: Option<u64>) -> LimitedTransport<T> {
        LimitedTransport { inner, heads: HeadCounter::default(), body_max, body_bytes: 0 }
    }

    /// Counts the last `amount` bytes of the input against the limits.
    fn count(&mut self, amount: usize) -> Result<(), Error> {
        let input = self.inner.buffers().input();
        let new = &input[input.len().saturating_sub(amount)..];
        let of_heads = self.heads.take(new);
        self.body_bytes += (new.len() - of_heads) as u64;
        if HEADS_BYTES_MAX < self.heads.bytes {
            let kib = HEADS_BYTES_MAX >> 10;
            return Err(over_limit(format!("the heads of the answer are longer than {kib} KiB")));
        }
        match self.body_max {
            Some(most) if most < self.body_bytes => {
                Err(over_limit(format!("the answer is longer than {most} bytes as it was sent")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn over_limit(message: String) -> Error {
    Error::Io(io::Error::other(message))
}

impl<T: Transport> Transport for LimitedTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.heads = HeadCounter::default();
        self.body_bytes = 0;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.inner.buffers().input().len();
        let is_more = self.inner.await_input(timeout)?;
        let after = self.inner.buffers().input().len();
        self.count(after.saturating_sub(before))?;
        Ok(is_more)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Finds the end of the heads of an answer: the first that is not interim is the last.
#[derive(Debug, Default)]
struct HeadCounter {
    bytes: u64,
    /// The beginning of the status line, as far as its number.
    status: Vec<u8>,
    is_status_whole: bool,
    /// Bytes of the line that is not over yet.
    line: usize,
    is_over: bool,
}

/// `HTTP/1.1 100`
const STATUS_BYTES: usize = 12;

impl HeadCounter {
    /// The number of these bytes that belong to heads.
    fn take(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            if self.is_over {
                return at;
            }
            self.bytes += 1;
            match byte {
                b'\r' => (),
                b'\n' if self.line == 0 => self.end(),
                b'\n' => (self.is_status_whole, self.line) = (true, 0),
                byte => {
                    self.line += 1;
                    if !self.is_status_whole && self.status.len() < STATUS_BYTES {
                        self.status.push(*byte);
                    }
                }
            }
        }
        bytes.len()
    }

    fn end(&mut self) {
        // Empty lines may stand before the status line.
        if !self.is_status_whole {
            return;
        }
        let number = self.status.get(STATUS_BYTES - 3..).unwrap_or_default();
        self.is_over = !number.starts_with(b"1") || number == b"101";
        self.status.clear();
        self.is_status_whole = false;
    }
}

#[cfg(test)]
mod tests {
    use crate::http_client::limits::HeadCounter;

    #[test]
    fn interim_heads_are_counted_with_the_last_one_and_a_body_is_not() {
        let last = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        for (heads, rest) in [
            (last.to_owned(), "body\r\n\r\n"),
            (format!("{early}{early}{last}"), "HTTP/1.1 100 no head\r\n\r\n"),
            (format!("HTTP/1.1 100 C\n\n{last}"), ""),
            (format!("\r\n\r\n{last}"), "x"),
            ("HTTP/1.1 101 Other\r\n\r\n".to_owned(), "spoken here"),
            ("HTTP/1.1\r\n\r\n".to_owned(), "no status"),
        ] {
            let all = format!("{heads}{rest}");
            // In one piece, and a byte a time.
            let mut at_once = HeadCounter::default();
            assert_eq!(at_once.take(all.as_bytes()), heads.len(), "{all:?}");
            let mut each = HeadCounter::default();
            let taken: usize = all.as_bytes().chunks(1).map(|byte| each.take(byte)).sum();
            assert_eq!((taken, each.bytes), (heads.len(), heads.len() as u64), "{all:?}");
        }
    }
}
