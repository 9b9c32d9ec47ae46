//! Who may ask, and who may change something. Over the control socket everybody whom its file mode
//! lets in; over TCP whoever asks for a name of ours, and for a change shows the token.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::model::config::Api;
use crate::model::secret::Secret;
use crate::serve::desk::{Asked, Via};
use crate::serve::reply::Reply;

pub(crate) struct Guard {
    token: Option<Secret>,
    protects_reads: bool,
    /// In small letters, without a dot at the end.
    hosts: Vec<String>,
    /// The path of the control socket, for those who may use that instead.
    control: String,
}

impl Guard {
    pub(crate) fn of(api: &Api) -> Guard {
        Guard {
            token: api.token.clone(),
            protects_reads: api.protect_reads,
            hosts: api.hosts.iter().map(|host| plain_name(host)).collect(),
            control: api.socket.display().to_string(),
        }
    }

    /// A page of another site may have its own name lead to this address, and would then read what
    /// is answered. No name but ours is answered to, so only who knows this address is.
    pub(crate) fn host(&self, asked: &Asked) -> Result<(), Reply> {
        // What has no Host is HTTP/1.0, and no browser.
        let is_ours = asked.host.as_ref().is_none_or(|host| self.is_own(host));
        match asked.via {
            Via::Tcp if !is_ours => {
                let remedy = "ask by IP address or as localhost, or list the name in api.hosts";
                Err(Reply::error(421, "the Host header has no name of this API").detail(remedy))
            }
            Via::Tcp | Via::Control => Ok(()),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        if let Some(inner) = name.strip_prefix('[') {
            return inner.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
        }
        let name = plain_name(name);
        name.parse::<Ipv4Addr>().is_ok() || name == "localhost" || self.hosts.contains(&name)
    }

    pub(crate) fn read(&self, asked: &Asked) -> Result<(), Reply> {
        match asked.via {
            Via::Tcp if self.protects_reads => self.token(asked),
            Via::Tcp | Via::Control => Ok(()),
        }
    }

    pub(crate) fn change(&self, asked: &Asked) -> Result<(), Reply> {
        if is_cross_site(asked) {
            let what = "a page of another site may not do this";
            return Err(Reply::error(403, what).detail("the Origin is not this address"));
        }
        match asked.via {
            Via::Control => Ok(()),
            Via::Tcp => self.token(asked),
        }
    }

    fn token(&self, asked: &Asked) -> Result<(), Reply> {
        let Some(token) = &self.token else {
            let control = &self.control;
            let remedy =
                format!("set api.token and restart the daemon, or use the socket {control}");
            let what = "changes over TCP need a token, and none is set";
            return Err(Reply::error(403, what).detail(remedy));
        };
        let shown = asked.authorization.as_deref().and_then(|text| {
            let (scheme, rest) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim_start())
        });
        if shown.is_some_and(|shown| same(shown.as_bytes(), token.expose().as_bytes())) {
            return Ok(());
        }
        let what = if shown.is_some() { "that is not the token" } else { "this needs the token" };
        Err(Reply::error(401, what)
            .detail("Authorization: Bearer TOKEN, with api.token of the config")
            .header("WWW-Authenticate", "Bearer"))
    }
}

/// `None`: what follows the name is no port. A name with more than one colon stands in brackets.
fn without_port(host: &str) -> Option<&str> {
    let end = host.find(']').map_or(0, |at| at + 1);
    let name_end = end + host[end..].find(':').unwrap_or(host.len() - end);
    let (name, port) = host.split_at(name_end);
    let port = port.strip_prefix(':').unwrap_or_default();
    port.bytes().all(|b| b.is_ascii_digit()).then_some(name)
}

/// Names are the same with a dot at their end, and in capitals.
fn plain_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A browser says where a request comes from; other clients say nothing.
fn is_cross_site(asked: &Asked) -> bool {
    let own = asked.host.as_ref().map(|host| format!("http://{host}"));
    let other_origin = match (&asked.origin, own) {
        (Some(origin), Some(own)) => !origin.eq_ignore_ascii_case(&own),
        (Some(_), None) => true,
        (None, _) => false,
    };
    let site = asked.fetch_site.as_deref();
    other_origin || site.is_some_and(|site| site != "same-origin" && site != "none")
}

/// Takes as long wherever the first difference is.
fn same(shown: &[u8], token: &[u8]) -> bool {
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
    use crate::serve::desk::{Asked, Via};
    use crate::serve::guard::{Guard, same};

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
            assert_eq!(same(shown.as_bytes(), b"0123456789abcdef"), is_same, "{shown:?}");
        }
    }

    fn guard(token: Option<&str>, protects_reads: bool) -> Guard {
        let token = token.map(|token| Secret::new(token.to_owned()));
        let hosts = vec!["plimsoll.lan".to_owned(), "other".to_owned()];
        Guard { token, protects_reads, hosts, control: "/s".to_owned() }
    }

    fn asked(via: Via, host: Option<&str>) -> Asked {
        Asked {
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
        let guard = guard(None, false);
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
            assert!(guard.host(&asked(Via::Tcp, Some(host))).is_ok(), "{host}");
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
            let got = guard.host(&asked(Via::Tcp, Some(host))).err().map(|reply| reply.status);
            assert_eq!(got, Some(421), "{host}");
            // Whoever can use that has a name for the file and not for a host.
            assert!(guard.host(&asked(Via::Control, Some(host))).is_ok(), "{host}");
        }
        assert!(guard.host(&asked(Via::Tcp, None)).is_ok(), "HTTP/1.0");
    }

    #[test]
    fn a_read_needs_the_token_where_reads_are_protected() {
        let token = "0123456789abcdef";
        for (protects, via, shown, want) in [
            (false, Via::Tcp, None, 0),
            (true, Via::Tcp, None, 401),
            (true, Via::Tcp, Some("Bearer 0123456789abcdeg"), 401),
            (true, Via::Tcp, Some("Bearer 0123456789abcdef"), 0),
            (true, Via::Control, None, 0),
        ] {
            let authorization = shown.map(str::to_owned);
            let asked = Asked { authorization, ..asked(via, None) };
            let got = guard(Some(token), protects).read(&asked);
            assert_eq!(got.err().map_or(0, |reply| reply.status), want, "{protects} {shown:?}");
        }
    }

    #[test]
    fn a_change_needs_the_token_on_tcp_and_is_of_no_other_site() {
        let token = Some("0123456789abcdef");
        let right = Some("Bearer 0123456789abcdef");
        let (here, there) = (Some("http://h:1"), Some("http://other"));
        for (via, authorization, origin, site, want) in [
            (Via::Tcp, right, None, None, 0),
            (Via::Tcp, Some("bearer  0123456789abcdef"), None, None, 0),
            (Via::Tcp, None, None, None, 401),
            (Via::Tcp, Some("0123456789abcdef"), None, None, 401),
            (Via::Tcp, Some("Basic 0123456789abcdef"), None, None, 401),
            (Via::Tcp, Some("Bearer 0123456789abcdeg"), None, None, 401),
            (Via::Tcp, Some("Bearer "), None, None, 401),
            (Via::Tcp, right, here, Some("same-origin"), 0),
            (Via::Tcp, right, there, None, 403),
            (Via::Tcp, right, Some("null"), None, 403),
            (Via::Tcp, right, Some("https://h:1"), None, 403),
            (Via::Tcp, right, None, Some("cross-site"), 403),
            (Via::Tcp, right, None, Some("same-site"), 403),
            (Via::Tcp, right, None, Some("none"), 0),
            (Via::Control, None, None, None, 0),
            (Via::Control, None, there, None, 403),
        ] {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let asked = Asked {
                method: "POST".to_owned(),
                authorization: own(authorization),
                origin: own(origin),
                fetch_site: own(site),
                ..asked(via, Some("h:1"))
            };
            let got = guard(token, false).change(&asked).err().map_or(0, |reply| reply.status);
            assert_eq!(got, want, "{asked:?}");
            let without = guard(None, false).change(&asked).err().map_or(0, |reply| reply.status);
            let want = if via == Via::Tcp { 403 } else { want };
            assert_eq!(without, want, "without a token: {asked:?}");
        }
    }
}
