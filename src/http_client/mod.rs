//! The HTTP client of the whole program: ureq over TCP, TLS and Unix sockets, with the limits that
//! it lacks. One deadline holds for all reads of an answer and one for all writes of a request,
//! however little each of them moves. The heads of an answer have a size limit. The transport
//! traits of ureq may change in a minor release: only this folder names them, and Cargo.toml pins
//! the minor.

mod connect;
mod limits;
mod resolver;
mod socket;
pub(crate) mod tls;

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;

use crate::http_client::connect::{TcpConnector, UnixConnector};
pub(crate) use crate::http_client::resolver::DeadlineResolver;
use crate::http_client::resolver::FixedResolver;
use crate::http_client::tls::Tls;

/// A connection that was idle for longer is not used again: proxies close idle ones after 10 s or
/// later, and a request that begins at that moment is lost.
const IDLE_AGE_MAX: Duration = Duration::from_secs(5);
const CHUNK_BYTES: usize = 16 << 10;

/// Connects to any host by TCP, anew for each request. `body_max` is the limit for an answer
/// without its heads, in bytes as HTTP sends them. Without `tls` an `https` address is an error.
pub(crate) fn tcp_agent(body_max: u64, names: &DeadlineResolver, tls: Option<&Tls>) -> Agent {
    let connector = TcpConnector { body_max: Some(body_max), tls: tls.cloned() };
    Agent::with_parts(agent_config(0, tls), connector, names.clone())
}

/// Connects to this address by TCP, whatever host the address of a request names, with TLS for an
/// `https` one. `body_max` is as in [`tcp_agent`]; `None` is a stream without an end. Up to
/// `idle_max` connections are kept.
pub(crate) fn fixed_agent(
    to: SocketAddr,
    body_max: Option<u64>,
    idle_max: usize,
    tls: Option<&Tls>,
) -> Agent {
    let connector = TcpConnector { body_max, tls: tls.cloned() };
    Agent::with_parts(agent_config(idle_max, tls), connector, FixedResolver(to))
}

/// Connects to Docker's API over TCP. The arguments are as in [`fixed_agent`].
pub(crate) fn docker_tcp_agent(
    body_max: Option<u64>,
    idle_max: usize,
    names: &DeadlineResolver,
    tls: Option<&Tls>,
) -> Agent {
    let connector = TcpConnector { body_max, tls: tls.cloned() };
    Agent::with_parts(agent_config(idle_max, tls), connector, names.clone())
}

/// Connects to this socket, whatever host the address of a request names. `body_max` and
/// `idle_max` as in [`fixed_agent`].
pub(crate) fn unix_agent(socket: &Path, body_max: Option<u64>, idle_max: usize) -> Agent {
    let connector = UnixConnector { path: socket.to_owned(), body_max };
    // ureq wants an address before it connects; the connector ignores it.
    let ignored = FixedResolver(SocketAddr::from(([0, 0, 0, 0], 0)));
    Agent::with_parts(agent_config(idle_max, None), connector, ignored)
}

/// The environment's proxies know nothing of our networks. A redirect and an error status are
/// answers like any other.
fn agent_config(idle_max: usize, tls: Option<&Tls>) -> Config {
    Agent::config_builder()
        .tls_config(tls.map(Tls::config).unwrap_or_default())
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
        .input_buffer_size(16 << 10)
        .output_buffer_size(8 << 10)
        .max_idle_age(IDLE_AGE_MAX)
        .max_idle_connections(idle_max)
        .max_idle_connections_per_host(idle_max)
        .build()
}

/// Reads to the end, or `bytes_max` bytes. The deadline is the reader's.
pub(crate) fn read_up_to(reader: &mut dyn Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let left = bytes_max.saturating_sub(bytes.len() as u64);
        let room = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        match reader.read(&mut chunk[..room])? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http_client::read_up_to;

    #[test]
    fn an_answer_is_read_to_its_limit_and_not_beyond() {
        let text = vec![b'x'; 40_000];
        for (bytes_max, read) in
            [(0, 0), (1, 1), (39_999, 39_999), (40_000, 40_000), (50_000, 40_000)]
        {
            assert_eq!(read_up_to(&mut text.as_slice(), bytes_max).unwrap().len(), read);
        }
    }
}
