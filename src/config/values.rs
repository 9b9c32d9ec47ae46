//! Readers of values that several sections of the file have.

use std::path::PathBuf;

use crate::config::cursor::{Node, Section};
use crate::model::bounds::Bounds;
use crate::model::secret::Secret;
use crate::model::url;

/// The kernel allows so many bytes for the name of a socket.
pub(crate) const SUN_PATH_MAX: usize = 107;

pub(crate) fn bounds(section: &Section) -> Option<Bounds> {
    let min = section.get("min_replicas");
    let max = section.need("max_replicas", "the most replicas there may be")?;
    let low = min.as_ref().map_or(Some(1), |n| n.whole(0..=Bounds::MAX));
    let high = max.whole(1..=Bounds::MAX);
    let (low, high) = (low?, high?);
    Bounds::new(low, high).or_else(|| {
        let default = if min.is_none() { "the default of " } else { "" };
        max.error(format!("{high} is less than {default}min_replicas ({low})"));
        None
    })
}

pub(crate) fn port(node: &Node) -> Option<u16> {
    node.whole(1..=65535).and_then(|n| u16::try_from(n).ok())
}

/// Relative ones would mean something else for every folder the daemon is started in.
pub(crate) fn path(node: Option<Node>) -> Option<PathBuf> {
    let node = node?;
    let text = node.text()?;
    if text.starts_with('/') { Some(PathBuf::from(&*text)) } else { node.wrong("an absolute path") }
}

pub(crate) fn socket(node: Node, longest: usize) -> Option<PathBuf> {
    let length = node.string.as_deref().map_or(0, str::len);
    if longest < length {
        node.error(format!("is {length} bytes long; a socket's path may have {longest} at most"));
        return None;
    }
    path(Some(node))
}

/// Webhooks often carry their key in the address.
pub(crate) fn secret_url(node: &Node) -> Option<Secret> {
    let url = node.secret()?;
    if let Err(fault) = url::check(url.expose()) {
        node.error(wrong_url(fault, ""));
        return None;
    }
    Some(url)
}

/// There is no TLS in this program: what it asks is on this host or on a network of its own.
const URL: &str = r#"an address like "http://127.0.0.1:9000/path" (plain http)"#;

pub(crate) fn url(node: &Node) -> Option<String> {
    let text = node.text()?;
    let Err(fault) = url::check(&text) else { return Some(text.into_owned()) };
    // It may hold a password or a key.
    node.error(wrong_url(fault, &format!(", got \"{}\"", url::plain(&text))));
    None
}

fn wrong_url(fault: url::Fault, got: &str) -> String {
    match fault {
        url::Fault::NoAddress => format!("must be {URL}{got}"),
        url::Fault::TwoWays => {
            "has an @ that may end a password or stand in a path: write %40 for \
             it, and in a user or password %2F for /, %3F for ? and %23 for # as well"
                .to_owned()
        }
    }
}
