//! Readers of values that several sections of the file have.

use std::path::PathBuf;

use crate::config::cursor::{Node, Section};
use crate::model::bounds::Bounds;
use crate::model::secret::Secret;
use crate::model::url;

/// Bytes of a Unix socket's path, by the kernel's limit.
pub(crate) const SUN_PATH_MAX: usize = 107;

pub(crate) fn bounds(section: &Section) -> Option<Bounds> {
    let min = section.get("min_replicas");
    let max = section.need("max_replicas", "the largest number of replicas")?;
    let low = min.as_ref().map_or(Some(1), |n| n.whole(0..=Bounds::MAX));
    let high = max.whole(1..=Bounds::MAX);
    let low = low?;
    let high = high?;
    Bounds::new(low, high).or_else(|| {
        let default = if min.is_none() { "the default of " } else { "" };
        max.error(format!("must be at least {default}min_replicas ({low}), got {high}"));
        None
    })
}

pub(crate) fn port(node: &Node) -> Option<u16> {
    node.whole(1..=65535).and_then(|n| u16::try_from(n).ok())
}

/// A relative path would depend on the directory that the daemon is started in.
pub(crate) fn path(node: Option<Node>) -> Option<PathBuf> {
    let node = node?;
    let text = node.text()?;
    if text.starts_with('/') { Some(PathBuf::from(&*text)) } else { node.wrong("an absolute path") }
}

pub(crate) fn socket(node: Node, longest: usize) -> Option<PathBuf> {
    let length = node.string.as_deref().map_or(0, str::len);
    if longest < length {
        node.error(format!("is {length} bytes long; a socket's path has at most {longest}"));
        return None;
    }
    path(Some(node))
}

/// Webhook addresses often contain a key.
pub(crate) fn secret_url(node: &Node) -> Option<Secret> {
    let url = node.secret()?;
    if let Err(fault) = url::check(url.expose()) {
        node.error(wrong_url(fault, ""));
        return None;
    }
    Some(url)
}

const URL: &str = r#"an address like "http://127.0.0.1:9000/path" or "https://name/path""#;

pub(crate) fn url(node: &Node) -> Option<String> {
    let text = node.text()?;
    let Err(fault) = url::check(&text) else { return Some(text.into_owned()) };
    // The address may contain a password or a key.
    node.error(wrong_url(fault, &format!(", got \"{}\"", url::plain(&text))));
    None
}

fn wrong_url(fault: url::Fault, got: &str) -> String {
    match fault {
        url::Fault::NoAddress => format!("must be {URL}{got}"),
        url::Fault::TwoWays => {
            "has an ambiguous @, which may end a password or belong to the path: write it as %40, \
             and in a user or password also / as %2F, ? as %3F and # as %23"
                .to_owned()
        }
    }
}
