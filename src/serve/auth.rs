//! Authorization and CSRF protection. The control socket is protected by its file mode. Over TCP
//! the Host header must be ours, and a change needs the token.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::model::config::Api;
use crate::model::secret::Secret;
use crate::serve::request::{ApiRequest, Channel};
use crate::serve::response::Response;

pub(crate) struct Auth {
    token: Option<Secret>,
    protects_reads: bool,
    /// In lower case, without a trailing dot.
    hosts: Vec<String>,
    /// The path of the control socket, for the error message.
    control: String,
}

impl Auth {
    pub(crate) fn of(api: &Api) -> Auth {
        Auth {
            token: api.token.clone(),
            protects_reads: api.protect_reads,
            hosts: api.hosts.iter().map(|host| normalized(host)).collect(),
            control: api.socket.display().to_string(),
        }
    }

    /// Against DNS rebinding: a page of another site may let its own name resolve to this address,
    /// and would then read our answers.
    pub(crate) fn check_host(&self, request: &ApiRequest) -> Result<(), Response> {
        // Only HTTP/1.0 has no Host, which no browser sends.
        let is_ours = request.host.as_ref().is_none_or(|host| self.is_own(host));
        match request.via {
            Channel::Tcp if !is_ours => {
                let fix = "use the IP address or localhost, or add the name to api.hosts";
                Err(Response::error(421, "the Host header names another host").detail(fix))
            }
            Channel::Tcp | Channel::Control => Ok(()),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        if let Some(inner) = name.strip_prefix('[') {
            return inner.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
        }
        let name = normalized(name);
        name.parse::<Ipv4Addr>().is_ok() || name == "localhost" || self.hosts.contains(&name)
    }

    pub(crate) fn check_read(&self, request: &ApiRequest) -> Result<(), Response> {
        match request.via {
            Channel::Tcp if self.protects_reads => self.check_token(request),
            Channel::Tcp | Channel::Control => Ok(()),
        }
    }

    pub(crate) fn check_change(&self, request: &ApiRequest) -> Result<(), Response> {
        if is_cross_site(request) {
            let what = "requests from other sites are not allowed";
            return Err(Response::error(403, what).detail("the Origin header is not this address"));
        }
        match request.via {
            Channel::Control => Ok(()),
            Channel::Tcp => self.check_token(request),
        }
    }

    fn check_token(&self, request: &ApiRequest) -> Result<(), Response> {
        let Some(token) = &self.token else {
            let control = &self.control;
            let fix = format!("set api.token and restart the daemon, or use the socket {control}");
            let what = "changes over TCP need a token, and api.token is not set";
            return Err(Response::error(403, what).detail(fix));
        };
        let shown = request.authorization.as_deref().and_then(|text| {
            let (scheme, rest) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim_start())
        });
        if shown.is_some_and(|shown| constant_time_eq(shown.as_bytes(), token.expose().as_bytes()))
        {
            return Ok(());
        }
        let what = if shown.is_some() { "the token is wrong" } else { "the token is missing" };
        Err(Response::error(401, what)
            .detail("send `Authorization: Bearer TOKEN` with api.token of the config")
            .header("WWW-Authenticate", "Bearer"))
    }
}

/// `None`: the part after the colon is not a port. A name with several colons needs brackets.
fn without_port(host: &str) -> Option<&str> {
    let end = host.find(']').map_or(0, |at| at + 1);
    let name_end = end + host[end..].find(':').unwrap_or(host.len() - end);
    let (name, port) = host.split_at(name_end);
    let port = port.strip_prefix(':').unwrap_or_default();
    port.bytes().all(|b| b.is_ascii_digit()).then_some(name)
}

/// Host names ignore case and a trailing dot.
fn normalized(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Browsers send Origin and Sec-Fetch-Site; other clients send neither.
fn is_cross_site(request: &ApiRequest) -> bool {
    let own = request.host.as_ref().map(|host| format!("http://{host}"));
    let other_origin = match (&request.origin, own) {
        (Some(origin), Some(own)) => !origin.eq_ignore_ascii_case(&own),
        (Some(_), None) => true,
        (None, _) => false,
    };
    let site = request.fetch_site.as_deref();
    other_origin || site.is_some_and(|site| site != "same-origin" && site != "none")
}

/// Takes the same time wherever the first difference is.
fn constant_time_eq(shown: &[u8], token: &[u8]) -> bool {
    let mut difference = shown.len() ^ token.len();
    for (i, byte) in shown.iter().enumerate() {
        let other = token.get(i).copied().unwrap_or(0);
        difference |= usize::from(black_box(byte ^ other));
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use crate::model::secret::Secret;
    use crate::serve::auth::{Auth, constant_time_eq};
    use crate::serve::request::{ApiRequest, Channel};

    #[test]
    fn tokens_are_the_same_or_not() {
        for (shown, is_same) in [
            ("0123456789abcdef", true),
            ("0123456789abcdeF", false),
            ("1123456789abcdef", false),
            ("0123456789abcde", false),
            ("0123456789abcdef\0", false),
            ("0123456789abcdef0", false),
            ("", false),
        ] {
            assert_eq!(
                constant_time_eq(shown.as_bytes(), b"0123456789abcdef"),
                is_same,
                "{shown:?}"
            );
        }
    }

    fn auth(token: Option<&str>, protects_reads: bool) -> Auth {
        let token = token.map(|token| Secret::new(token.to_owned()));
        let hosts = vec!["plimsoll.lan".to_owned(), "other".to_owned()];
        Auth { token, protects_reads, hosts, control: "/s".to_owned() }
    }

    fn asked(via: Channel, host: Option<&str>) -> ApiRequest {
        ApiRequest {
            via,
            method: "GET".to_owned(),
            target: "/".to_owned(),
            host: host.map(str::to_owned),
            accept: None,
            authorization: None,
            origin: None,
            fetch_site: None,
            body: Vec::new(),
        }
    }

    #[test]
    fn only_addresses_and_names_of_ours_are_answered_to() {
        let auth = auth(None, false);
        for host in [
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.0.0.1:1",
            "10.1.2.3",
            "0.0.0.0:8000",
            "[::1]",
            "[::1]:8000",
            "[2001:db8::1]:80",
            "[::ffff:127.0.0.1]:8000",
            "localhost",
            "LocalHost:8000",
            "localhost.",
            "localhost.:8000",
            "plimsoll.lan",
            "Plimsoll.LAN:9",
            "plimsoll.lan.",
            "other:80",
            "localhost:",
        ] {
            assert!(auth.check_host(&asked(Channel::Tcp, Some(host))).is_ok(), "{host}");
        }
        for host in [
            "",
            ":8000",
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:8000.evil.example",
            "localhost:evil.example",
            "127.0.0.1:0x1f40",
            "127.0.0.1:+8000",
            "127.0.0.1: 8000",
            "[::1]:8000.evil",
            "[::1]evil",
            "[::1]x:80",
            "[[::1]]",
            "[evil.example]",
            "[127.0.0.1]",
            "::1",
            "evil.example@127.0.0.1:8000",
            "127.0.0.1@evil.example",
            "0177.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "127.0.0.256",
            "localhost..",
            "xplimsoll.lan",
            "plimsoll.lan.evil.example",
            "a.plimsoll.lan",
            "127.0.0.1,localhost",
            "localhost/x",
        ] {
            let got =
                auth.check_host(&asked(Channel::Tcp, Some(host))).err().map(|reply| reply.status);
            assert_eq!(got, Some(421), "{host}");
            // A client of the control socket names a file, not a host.
            assert!(auth.check_host(&asked(Channel::Control, Some(host))).is_ok(), "{host}");
        }
        assert!(auth.check_host(&asked(Channel::Tcp, None)).is_ok(), "HTTP/1.0");
    }

    #[test]
    fn a_read_needs_the_token_where_reads_are_protected() {
        let token = "0123456789abcdef";
        for (protects, via, shown, want) in [
            (false, Channel::Tcp, None, 0),
            (true, Channel::Tcp, None, 401),
            (true, Channel::Tcp, Some("Bearer 0123456789abcdeg"), 401),
            (true, Channel::Tcp, Some("Bearer 0123456789abcdef"), 0),
            (true, Channel::Control, None, 0),
        ] {
            let authorization = shown.map(str::to_owned);
            let asked = ApiRequest { authorization, ..asked(via, None) };
            let got = auth(Some(token), protects).check_read(&asked);
            assert_eq!(got.err().map_or(0, |reply| reply.status), want, "{protects} {shown:?}");
        }
    }

    #[test]
    fn a_change_needs_the_token_on_tcp_and_is_of_no_other_site() {
        let token = Some("0123456789abcdef");
        let right = Some("Bearer 0123456789abcdef");
        let here = Some("http://h:1");
        let there = Some("http://other");
        for (via, authorization, origin, site, want) in [
            (Channel::Tcp, right, None, None, 0),
            (Channel::Tcp, Some("bearer  0123456789abcdef"), None, None, 0),
            (Channel::Tcp, None, None, None, 401),
            (Channel::Tcp, Some("0123456789abcdef"), None, None, 401),
            (Channel::Tcp, Some("Basic 0123456789abcdef"), None, None, 401),
            (Channel::Tcp, Some("Bearer 0123456789abcdeg"), None, None, 401),
            (Channel::Tcp, Some("Bearer "), None, None, 401),
            (Channel::Tcp, right, here, Some("same-origin"), 0),
            (Channel::Tcp, right, there, None, 403),
            (Channel::Tcp, right, Some("null"), None, 403),
            (Channel::Tcp, right, Some("https://h:1"), None, 403),
            (Channel::Tcp, right, None, Some("cross-site"), 403),
            (Channel::Tcp, right, None, Some("same-site"), 403),
            (Channel::Tcp, right, None, Some("none"), 0),
            (Channel::Control, None, None, None, 0),
            (Channel::Control, None, there, None, 403),
        ] {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let asked = ApiRequest {
                method: "POST".to_owned(),
                authorization: own(authorization),
                origin: own(origin),
                fetch_site: own(site),
                ..asked(via, Some("h:1"))
            };
            let got = auth(token, false).check_change(&asked).err().map_or(0, |reply| reply.status);
            assert_eq!(got, want, "{asked:?}");
            let without =
                auth(None, false).check_change(&asked).err().map_or(0, |reply| reply.status);
            let want = if via == Channel::Tcp { 403 } else { want };
            assert_eq!(without, want, "without a token: {asked:?}");
        }
    }
}
