//! Where Docker's API is reached: at a Unix socket of this host, or at an address of TCP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::model::url;

/// Docker's own default.
pub(crate) const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// What `docker` takes where an address has no port, without TLS and with it.
const PORT: u16 = 2375;
const PORT_TLS: u16 = 2376;
/// Characters of a DNS name at most.
const NAME_MAX: usize = 253;

/// A path is an absolute one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DockerHost {
    Unix(PathBuf),
    Tcp(DockerTcp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DockerTcp {
    /// A name or an IP address, that of IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<DockerTls>,
}

/// Files of PEM. They are read when a connection is opened, so renewed ones need no restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DockerTls {
    /// Who signed Docker's certificate. `None`: one of the authorities that this host trusts.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate and key of the client.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// Who can reach an address of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// Only this host.
    Loopback,
    /// A name without a dot: a container's, which only Docker's own networks know.
    Container,
    /// A private network, or a name that stands for one.
    Network,
    /// Any host, as far as the address tells.
    Internet,
}

const FORMS: &str = "must be an absolute path, unix:///PATH or tcp://HOST:PORT";
const LOCAL: &str =
    "run plimsoll on Docker's host and name its socket, unix:///var/run/docker.sock";

impl DockerHost {
    /// The error is a whole message without the key. With `tls` an address of TCP uses it.
    pub(crate) fn parse(text: &str, tls: Option<DockerTls>) -> Result<DockerHost, String> {
        let shown = url::plain(text);
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) && !text.starts_with('/') {
            return Err(format!("{FORMS}, without blanks, got {shown:?}"));
        }
        match text.split_once("://") {
            None if text.starts_with('/') => Ok(DockerHost::Unix(PathBuf::from(text))),
            None => Err(format!("{FORMS}, got {shown:?}")),
            Some(("unix", path)) if path.len() > 1 && path.starts_with('/') => {
                Ok(DockerHost::Unix(PathBuf::from(path)))
            }
            Some(("unix", _)) => Err(format!(
                "must have an absolute path, unix:///var/run/docker.sock, got {shown:?}"
            )),
            Some(("tcp", address)) => DockerTcp::parse(address, tls).map(DockerHost::Tcp),
            Some(("ssh", _)) => {
                Err(format!("plimsoll opens no SSH connection ({shown:?}); {LOCAL}"))
            }
            Some(("npipe", _)) => {
                Err(format!("a named pipe is Docker's on Windows ({shown:?}); {LOCAL}"))
            }
            Some(("fd", _)) => Err(format!(
                "{shown:?} is where dockerd listens and no address of it; write \
                 unix:///var/run/docker.sock"
            )),
            Some((scheme @ ("http" | "https"), _)) => {
                let rest = shown.split_once("://").map_or("", |(_, rest)| rest);
                let tls = if scheme == "https" { " and set docker.tls" } else { "" };
                Err(format!("write tcp://{}{tls}, got {shown:?}", rest.trim_end_matches('/')))
            }
            Some(_) => Err(format!("{FORMS}, got {shown:?}")),
        }
    }

    /// The socket's file, if it is a Unix socket.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            DockerHost::Unix(path) => Some(path),
            DockerHost::Tcp(_) => None,
        }
    }

    /// What stands before the path of a request. HTTP over a Unix socket needs any name.
    pub(crate) fn base(&self) -> String {
        match self {
            DockerHost::Unix(_) => "http://docker".to_owned(),
            DockerHost::Tcp(tcp) => {
                let scheme = if tcp.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", tcp.authority())
            }
        }
    }
}

impl fmt::Display for DockerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DockerHost::Unix(path) => path.display().fmt(f),
            DockerHost::Tcp(tcp) => write!(f, "tcp://{}", tcp.authority()),
        }
    }
}

impl DockerTcp {
    fn parse(address: &str, tls: Option<DockerTls>) -> Result<DockerTcp, String> {
        let wrong = |why: &str| {
            let shown = url::plain(&format!("tcp://{address}"));
            Err(format!("must be tcp://HOST:PORT, {why}, got {shown:?}"))
        };
        if address.contains(['@', '?', '#']) {
            return wrong("without a user and a query");
        }
        // `tcp://docker:2375/` is common, and `docker` takes it.
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains('/') {
            return wrong("without a path");
        }
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, port)) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => {
                    (host, port)
                }
                Some(_) | None => return wrong("with an IPv6 address in its brackets"),
            },
            None => address.split_at(address.find(':').unwrap_or(address.len())),
        };
        let default = if tls.is_some() { PORT_TLS } else { PORT };
        let number = |port: &str| port.parse().ok().filter(|port| *port != 0);
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => Some(default),
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => number(port),
            Some(_) | None => None,
        };
        let Some(port) = port else {
            return wrong("with a port from 1 to 65535; an IPv6 address stands in brackets");
        };
        // `tcp://:2375` is this host, as for `docker`.
        let host = match host {
            "" if address.is_empty() => return wrong("with a host"),
            "" => "127.0.0.1",
            host if is_name(host) || host.contains(':') => host,
            _ => return wrong("with a name or an IP address as host"),
        };
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
            return wrong("with the address to connect to, such as 127.0.0.1");
        }
        Ok(DockerTcp { host: host.to_owned(), port, tls })
    }

    /// `HOST:PORT`.
    pub(crate) fn authority(&self) -> String {
        let DockerTcp { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(crate) fn exposure(&self) -> Exposure {
        let name = self.host.trim_end_matches('.').to_ascii_lowercase();
        match name.parse::<IpAddr>() {
            Ok(ip) => of_ip(ip),
            Err(_) if name == "localhost" || name.ends_with(".localhost") => Exposure::Loopback,
            Err(_) if !name.contains('.') => Exposure::Container,
            Err(_) => Exposure::Network,
        }
    }
}

fn of_ip(ip: IpAddr) -> Exposure {
    let ip = ip.to_canonical();
    let is_private = match ip {
        // 100.64.0.0/10 is shared by carriers and used by private overlays.
        IpAddr::V4(ip) => {
            let shared = u32::from(ip) >> 22 == u32::from(Ipv4Addr::new(100, 64, 0, 0)) >> 22;
            ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    match (ip.is_loopback(), is_private) {
        (true, _) => Exposure::Loopback,
        (false, true) => Exposure::Network,
        (false, false) => Exposure::Internet,
    }
}

/// A name that DNS or Docker resolves, or an IPv4 address.
fn is_name(host: &str) -> bool {
    let is_one = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    host.len() <= NAME_MAX && host.bytes().all(is_one) && !host.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::model::docker_host::{DockerHost, DockerTls, Exposure};

    fn tls() -> Option<DockerTls> {
        Some(DockerTls { ca: Some(PathBuf::from("/ca.pem")), client: None })
    }

    #[test]
    fn each_form_of_an_address_is_read() {
        for (text, shown, base) in [
            ("/var/run/docker.sock", "/var/run/docker.sock", "http://docker"),
            ("/run/my docker.sock", "/run/my docker.sock", "http://docker"),
            ("unix:///run/docker.sock", "/run/docker.sock", "http://docker"),
            ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375", "http://127.0.0.1:2375"),
            ("tcp://docker:2375/", "tcp://docker:2375", "http://docker:2375"),
            ("tcp://socket_proxy", "tcp://socket_proxy:2375", "http://socket_proxy:2375"),
            ("tcp://localhost/", "tcp://localhost:2375", "http://localhost:2375"),
            ("tcp://:4243", "tcp://127.0.0.1:4243", "http://127.0.0.1:4243"),
            ("tcp://[::1]:1", "tcp://[::1]:1", "http://[::1]:1"),
            ("tcp://[::1]", "tcp://[::1]:2375", "http://[::1]:2375"),
            ("tcp://h:65535", "tcp://h:65535", "http://h:65535"),
        ] {
            let read = DockerHost::parse(text, None).unwrap();
            assert_eq!((read.to_string().as_str(), read.base().as_str()), (shown, base), "{text}");
        }
        for (text, base) in
            [("tcp://docker", "https://docker:2376"), ("tcp://docker:2375", "https://docker:2375")]
        {
            assert_eq!(DockerHost::parse(text, tls()).unwrap().base(), base, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write() {
        for (text, words) in [
            ("docker.sock", "must be an absolute path, unix:///PATH or tcp://HOST:PORT"),
            ("127.0.0.1:2375", "must be an absolute path, unix:///PATH or tcp://HOST:PORT"),
            ("-H unix:///run/docker.sock", "without blanks"),
            (" /run/docker.sock", "without blanks"),
            ("unix://", "must have an absolute path"),
            ("unix:///", "must have an absolute path"),
            ("unix://run/docker.sock", "must have an absolute path"),
            ("unix:/run/docker.sock", "must be an absolute path"),
            ("TCP://a:1", "must be an absolute path"),
            ("tcp://", "with a host"),
            ("tcp:///", "with a host"),
            ("tcp://a:0", "a port from 1 to 65535"),
            ("tcp://a:65536", "a port from 1 to 65535"),
            ("tcp://a:", "a port from 1 to 65535"),
            ("tcp://a:+1", "a port from 1 to 65535"),
            ("tcp://::1:2375", "an IPv6 address stands in brackets"),
            ("tcp://[127.0.0.1]:1", "with an IPv6 address in its brackets"),
            ("tcp://[::1:1", "with an IPv6 address in its brackets"),
            ("tcp://[::1]2", "a port from 1 to 65535"),
            ("tcp://a:1/v1.41", "without a path"),
            ("tcp://a:1//", "without a path"),
            ("tcp://me:pass@a:1", "without a user"),
            ("tcp://a:1?x=pass", "without a user and a query"),
            ("tcp://a b:1", "without blanks"),
            ("tcp://0.0.0.0:2375", "such as 127.0.0.1"),
            ("tcp://[::]:2375", "such as 127.0.0.1"),
            ("tcp://.a:1", "a name or an IP address"),
            ("tcp://a,b:1", "a name or an IP address"),
            ("ssh://me:pass@host", "opens no SSH connection"),
            ("npipe:////./pipe/docker_engine", "Docker's on Windows"),
            ("fd://", "where dockerd listens"),
            ("http://a:2375/", "write tcp://a:2375, got"),
            ("https://a:2376", "write tcp://a:2376 and set docker.tls"),
            ("redis://a", "must be an absolute path"),
            ("", "must be an absolute path"),
        ] {
            let why = DockerHost::parse(text, None).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
            assert!(!why.contains("pass"), "{text}: {why}");
        }
    }

    #[test]
    fn an_address_tells_who_can_reach_it() {
        for (host, want) in [
            ("127.0.0.1", Exposure::Loopback),
            ("127.9.9.9", Exposure::Loopback),
            ("[::1]", Exposure::Loopback),
            ("[::ffff:127.0.0.1]", Exposure::Loopback),
            ("localhost", Exposure::Loopback),
            ("LocalHost.", Exposure::Loopback),
            ("docker.localhost", Exposure::Loopback),
            ("socket-proxy", Exposure::Container),
            ("docker.example", Exposure::Network),
            ("host.docker.internal", Exposure::Network),
            ("10.0.0.1", Exposure::Network),
            ("172.17.0.1", Exposure::Network),
            ("172.32.0.1", Exposure::Internet),
            ("192.168.1.1", Exposure::Network),
            ("169.254.1.1", Exposure::Network),
            ("100.64.0.1", Exposure::Network),
            ("100.127.255.255", Exposure::Network),
            ("100.128.0.1", Exposure::Internet),
            ("[fd00::1]", Exposure::Network),
            ("[fe80::1]", Exposure::Network),
            ("[2001:db8::1]", Exposure::Internet),
            ("203.0.113.1", Exposure::Internet),
        ] {
            let read = DockerHost::parse(&format!("tcp://{host}:1"), None).unwrap();
            let DockerHost::Tcp(tcp) = read else { panic!("{host}") };
            assert_eq!(tcp.exposure(), want, "{host}");
        }
    }
}
