//! `api`: where the daemon listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use jsonc_parser::ast::Value;

use crate::config::cursor::{Node, Section};
use crate::config::values;
use crate::model::config::Api;
use crate::model::secret::Secret;

/// plimsoll creates a second socket beside it, with this longer name.
const SOCKET_BYTES_MAX: usize = values::SUN_PATH_MAX - ".http".len();
/// Limit of DNS names.
const HOST_BYTES_MAX: usize = 253;
/// A shorter token is easy to guess.
const TOKEN_BYTES_GOOD: usize = 16;

pub(crate) fn api(section: Option<Section>) -> Api {
    let mut out = Api {
        listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000)),
        socket: PathBuf::from("/run/plimsoll/plimsoll.sock"),
        token: None,
        protect_reads: false,
        hosts: Vec::new(),
    };
    let Some(section) = section else { return out };
    if let Some(node) = section.get("listen") {
        out.listen = listen(&node);
    }
    let socket = section.get("socket").and_then(|n| values::socket(n, SOCKET_BYTES_MAX));
    out.socket = socket.unwrap_or(out.socket);
    out.token = section.get("token").and_then(|n| token(&n));
    if let Some(node) = section.get("protect_reads") {
        out.protect_reads = node.boolean().unwrap_or(false);
        if out.protect_reads && !section.has("token") {
            node.error("needs `token`, which clients then send with every read");
        }
    }
    out.hosts = section.get("hosts").and_then(|n| hosts(&n)).unwrap_or_default();
    if let (Some(listen), false) = (out.listen, section.has("token"))
        && !listen.ip().is_loopback()
        && let Some(node) = section.get("listen")
    {
        node.warning(format!(
            "{listen} is reachable from other hosts, which can read everything without a token; \
             set `token` and `protect_reads`, or listen on 127.0.0.1"
        ));
    }
    section.done();
    out
}

fn hosts(node: &Node) -> Option<Vec<String>> {
    let nodes = node.list()?;
    let host =
        |node: &Node| node.text_that(is_host, r#"a name like "plimsoll.lan", without a port"#);
    let hosts: Vec<String> = nodes.iter().filter_map(host).collect();
    (hosts.len() == nodes.len()).then_some(hosts)
}

/// Letters, digits, `-` and `_`, in parts separated by dots.
fn is_host(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_part)
}

/// `null`: no TCP listener.
fn listen(node: &Node) -> Option<SocketAddr> {
    if matches!(node.value, Value::NullKeyword(_)) {
        return None;
    }
    let address = node.string.as_deref().and_then(|text| text.parse::<SocketAddr>().ok());
    address
        .filter(|a| a.port() != 0)
        .or_else(|| node.wrong(r#"an address and port like "127.0.0.1:8000", or null"#))
}

fn token(node: &Node) -> Option<Secret> {
    let token = node.secret()?;
    let text = token.expose();
    let make = "`openssl rand -hex 32` makes one";
    // The message must not show the token.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        node.error(format!("the token must be printable ASCII without spaces; {make}"));
        return None;
    }
    if text.len() < TOKEN_BYTES_GOOD {
        node.warning(format!(
            "a token shorter than {TOKEN_BYTES_GOOD} characters is easy to guess; {make}"
        ));
    }
    Some(token)
}
