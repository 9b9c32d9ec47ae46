//! Addresses of names. The system's lookup has no deadline, so it runs on a thread of its own.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Name lookups under way at once. One whose caller gave up may still run.
const LOOKUPS_MAX: usize = 16;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;
const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// The address, whatever host a request names.
#[derive(Debug)]
pub(super) struct FixedResolver(pub(super) SocketAddr);

impl Resolver for FixedResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// Looks names up with a deadline. A literal IP address needs no thread. Copies share the limit of
/// lookups under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeadlineResolver {
    under_way: Arc<AtomicUsize>,
}

impl Resolver for DeadlineResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let default = if uri.scheme_str() == Some("https") { HTTPS_PORT } else { HTTP_PORT };
        let port = uri.port_u16().unwrap_or(default);
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let mut found = self.empty();
        match literal.unwrap_or(host).parse::<IpAddr>() {
            Ok(ip) => found.push(SocketAddr::new(ip, port)),
            Err(_) if host.is_empty() => return Err(Error::HostNotFound),
            Err(_) => {
                let all = self.look_up(host.to_owned(), port, timeout)?;
                all.into_iter().take(ADDRESSES_MAX).for_each(|address| found.push(address));
            }
        }
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

impl DeadlineResolver {
    /// The system's lookup has no deadline, so it runs on a thread of its own.
    fn look_up(
        &self,
        host: String,
        port: u16,
        timeout: NextTimeout,
    ) -> Result<Vec<SocketAddr>, Error> {
        let lookup = LookupSlot(self.under_way.clone());
        if LOOKUPS_MAX <= self.under_way.fetch_add(1, Ordering::Relaxed) {
            let words =
                format!("{LOOKUPS_MAX} name lookups do not return; check the DNS of this host");
            return Err(Error::Io(io::Error::other(words)));
        }
        let (sender, answer) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("lookup".to_owned());
        thread
            .spawn(move || {
                let _lookup = lookup;
                let found = (host.as_str(), port).to_socket_addrs();
                // The caller may have given up.
                drop(sender.send(found.map(Iterator::collect)));
            })
            .map_err(|err| Error::Io(no_thread(&err)))?;
        let found = match timeout.after.is_not_happening() {
            true => answer.recv().ok(),
            false => match answer.recv_timeout(*timeout.after) {
                Err(mpsc::RecvTimeoutError::Timeout) => return Err(Error::Timeout(timeout.reason)),
                done => done.ok(),
            },
        };
        Ok(found.ok_or(Error::HostNotFound)??)
    }
}

/// The kernel's error for a thread is the same "try again" as for a socket without data.
fn no_thread(err: &io::Error) -> io::Error {
    io::Error::new(ErrorKind::OutOfMemory, format!("no thread could be started: {err}"))
}

/// One that is under way, until it is dropped.
struct LookupSlot(Arc<AtomicUsize>);

impl Drop for LookupSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
