//! `api` and `notifications`: whom the daemon answers, and whom it tells.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use jsonc_parser::ast::Value;

use crate::config::cursor::{Node, Section};
use crate::config::values::{self, secret_url};
use crate::model::config::{Api, Webhook};
use crate::model::event::{Kind, is_meant};
use crate::model::secret::Secret;
use crate::model::units;

/// Beside it stands one more, whose name is longer.
const SOCKET_BYTES_MAX: usize = values::SUN_PATH_MAX - ".http".len();
/// By the rules of DNS.
const HOST_BYTES_MAX: usize = 253;
/// A shorter one is guessed sooner or later.
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
            node.error("needs `token`, which is what a read then has to show");
        }
    }
    out.hosts = section.get("hosts").and_then(|n| hosts(&n)).unwrap_or_default();
    if let (Some(listen), false) = (out.listen, section.has("token"))
        && !listen.ip().is_loopback()
        && let Some(node) = section.get("listen")
    {
        node.warning(format!(
            "{listen} is for other hosts too, and whoever reaches it may read all; give it a \
             `token` and `protect_reads`, or listen on 127.0.0.1"
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

/// Of letters, digits, `-` and `_`, in parts with dots between them.
fn is_host(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_part)
}

/// `null` is nowhere.
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
    // What it is must not be said.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        node.error(format!("a token is letters, digits or signs of ASCII, no spaces; {make}"));
        return None;
    }
    if text.len() < TOKEN_BYTES_GOOD {
        node.warning(format!("fewer than {TOKEN_BYTES_GOOD} signs are guessed soon; {make}"));
    }
    Some(token)
}

pub(crate) fn notifications(node: Option<Node>) -> Vec<Webhook> {
    let Some(node) = node else { return Vec::new() };
    let nodes = node.list().unwrap_or_default();
    nodes.iter().filter_map(webhook).collect()
}

fn webhook(node: &Node) -> Option<Webhook> {
    let section = node.section()?;
    let url = section.need("url", "where events are sent").and_then(|n| secret_url(&n));
    let events = section.get("events").map(|n| events(&n));
    section.done();
    Some(Webhook { url: url?, events: events.unwrap_or(Some(Vec::new()))? })
}

fn events(node: &Node) -> Option<Vec<String>> {
    let nodes = node.list()?;
    let event = |node: &Node| {
        let pattern = node.text()?;
        if Kind::ALL.iter().any(|kind| is_meant(kind.word(), &pattern)) {
            return Some(pattern.into_owned());
        }
        let kinds = Kind::ALL.iter().filter(|_| node.has_room());
        let near = units::nearest(&pattern, kinds.map(|kind| kind.word()), 3);
        let near = near.map(|word| format!("; did you mean \"{word}\"?"));
        node.error(format!(
            "{} is no event, nor does one begin so, as with \"health.*\"{}",
            node.found(),
            near.unwrap_or_default()
        ));
        None
    };
    let events: Vec<String> = nodes.iter().filter_map(event).collect();
    (events.len() == nodes.len()).then_some(events)
}
