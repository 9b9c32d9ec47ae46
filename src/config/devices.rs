//! Keys of a service for what its containers get of the host: file systems in memory, devices,
//! GPUs, limits and kernel parameters.

use std::collections::BTreeMap;

use jsonc_parser::ast::Value;

use crate::config::cursor::{Node, Section};
use crate::model::container_options::{DeviceMapping, GpuRequest, Ulimit};
use crate::model::units;

/// Mount options of a tmpfs that have no value.
const TMPFS_FLAGS: [&str; 18] = [
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "strictatime",
];
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// Kernel parameters that a container has of its own, besides those of the network and of message
/// queues. Others are the host's, and the engine refuses them.
const OWN_SYSCTLS: [&str; 8] = [
    "kernel.domainname",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// A path with or without options behind `:`, or a list of such.
pub(super) fn tmpfs(node: Option<Node>, volumes: &[String]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(node) = node else { return out };
    let nodes = match &node.string {
        Some(_) => vec![node],
        None => node.list().unwrap_or_default(),
    };
    for node in nodes {
        let Some(text) = node.text() else { continue };
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        if !path.starts_with('/') || path == "/" {
            node.wrong::<()>(r#"a path in the container, like "/tmp" or "/tmp:size=64m""#);
            continue;
        }
        if let Some(option) = options.split(',').find(|o| !options.is_empty() && !is_of_tmpfs(o)) {
            node.error(format!(
                "has the option \"{option}\", which a tmpfs does not have; it has size=64m, \
                 mode=1777, uid=, gid=, nr_inodes=, ro, noexec, nosuid, nodev and the like"
            ));
            continue;
        }
        let target = |volume: &String| volume.split(':').nth(1) == Some(path);
        if volumes.iter().any(target) || out.contains_key(path) {
            node.error(format!("{path} is mounted twice; remove one of the two"));
            continue;
        }
        out.insert(path.to_owned(), options.to_owned());
    }
    out
}

fn is_of_tmpfs(option: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match option.split_once('=') {
        None => TMPFS_FLAGS.contains(&option),
        Some(("size", value)) => {
            value.strip_suffix('%').is_some_and(digits) || units::bytes(value).is_some()
        }
        Some(("mode", value)) => digits(value) && value.bytes().all(|b| b < b'8'),
        Some(("nr_inodes" | "nr_blocks", value)) => units::bytes(value).is_some(),
        Some(("uid" | "gid", value)) => digits(value),
        Some((_, _)) => false,
    }
}

/// Each `HOST[:CONTAINER[:RIGHTS]]`, or compose's long form.
pub(super) fn devices(node: Option<Node>) -> Vec<DeviceMapping> {
    let nodes = node.and_then(|n| n.list()).unwrap_or_default();
    nodes.iter().filter_map(device).collect()
}

fn device(node: &Node) -> Option<DeviceMapping> {
    if let Value::Object(_) = node.value {
        let section = node.section()?;
        let path = |node: Node| node.text_that(|text| text.starts_with('/'), "an absolute path");
        let host = section.need("source", "the path of the device on the host").and_then(path);
        let container = section.get("target").map(path);
        let rights = section.get("permissions").map(|n| {
            n.text_that(is_rights, "some of the letters r (read), w (write) and m (mknod)")
        });
        section.done();
        let host = host?;
        return Some(DeviceMapping {
            container: container.unwrap_or_else(|| Some(host.clone()))?,
            permissions: rights.unwrap_or_else(|| Some("rwm".to_owned()))?,
            host,
        });
    }
    let text = node.text()?;
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts[..] {
        [host] => (host, host, "rwm"),
        // Docker reads the second part as rights if it can be.
        [host, rights] if is_rights(rights) => (host, host, rights),
        [host, container] => (host, container, "rwm"),
        [host, container, rights] => (host, container, rights),
        _ => ("", "", ""),
    };
    if host.starts_with('/') && container.starts_with('/') && is_rights(permissions) {
        let [host, container, permissions] = [host, container, permissions].map(str::to_owned);
        return Some(DeviceMapping { host, container, permissions });
    }
    node.wrong(
        r#""HOST", "HOST:CONTAINER" or "HOST:CONTAINER:rwm", both absolute paths, like "/dev/kvm""#,
    )
}

fn is_rights(text: &str) -> bool {
    let once = |c: char| "rwm".contains(c) && text.matches(c).count() == 1;
    !text.is_empty() && text.chars().all(once)
}

pub(super) fn ulimits(node: Option<Node>) -> BTreeMap<String, Ulimit> {
    let mut out = BTreeMap::new();
    let section = node.and_then(|n| n.section());
    for (name, node) in section.map(|section| section.entries()).unwrap_or_default() {
        if !ULIMITS.contains(&name) {
            let near = units::did_you_mean(units::nearest_key(name, ULIMITS.iter().copied()));
            node.bad_name(format!("no such limit; the limits are {}{near}", ULIMITS.join(", ")));
            continue;
        }
        out.extend(ulimit(&node).map(|ulimit| (name.to_owned(), ulimit)));
    }
    out
}

fn ulimit(node: &Node) -> Option<Ulimit> {
    let Value::Object(_) = node.value else {
        let both = limit(node, "a whole number, -1 for no limit, or an object with soft and hard")?;
        return Some(Ulimit { soft: both, hard: both });
    };
    let section = node.section()?;
    let read = |key| {
        let node = section.need(key, "a whole number, -1 for no limit")?;
        limit(&node, "a whole number, or -1 for no limit")
    };
    let soft = read("soft");
    let hard = read("hard");
    section.done();
    let (soft, hard) = (soft?, hard?);
    let above = hard != -1 && (soft == -1 || hard < soft);
    if above {
        node.error(format!("has the soft limit {soft} above the hard one, {hard}; lower it"));
        return None;
    }
    Some(Ulimit { soft, hard })
}

fn limit(node: &Node, what: &str) -> Option<i64> {
    let number = node.number().or(node.string.as_deref()).and_then(|text| text.parse().ok());
    number.filter(|limit| -1 <= *limit).or_else(|| node.wrong(what))
}

/// A map, or a list of `NAME=VALUE`.
pub(super) fn sysctls(node: Option<Node>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(node) = node else { return out };
    if let Value::Array(_) = node.value {
        for node in node.list().unwrap_or_default() {
            let Some(text) = node.text() else { continue };
            match text.split_once('=') {
                Some((name, value)) => sysctl(&node, name, value, &mut out),
                None => drop(node.wrong::<()>(r#""NAME=VALUE", like "net.core.somaxconn=1024""#)),
            }
        }
        return out;
    }
    for (name, node) in node.section().map(|section| section.entries()).unwrap_or_default() {
        let value = node.number().or(node.string.as_deref());
        match value.filter(|value| !value.is_empty()) {
            Some(value) => sysctl(&node, name, value, &mut out),
            None => drop(node.wrong::<()>("a number or a text")),
        }
    }
    out
}

fn sysctl(node: &Node, name: &str, value: &str, out: &mut BTreeMap<String, String>) {
    let is_own = OWN_SYSCTLS.contains(&name)
        || name == "kernel.shm_rmid_forced"
        || ["net.", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix));
    if !is_own {
        node.error(format!(
            "{name} is a kernel parameter of the whole host; a container has net.*, fs.mqueue.*, \
             kernel.sem, kernel.msg*, kernel.shm* and kernel.domainname"
        ));
    } else if out.insert(name.to_owned(), value.to_owned()).is_some() {
        node.error(format!("{name} is set twice; remove one of the two"));
    }
}

/// `all`, or a list of requests.
pub(super) fn gpus(node: Option<Node>) -> Vec<GpuRequest> {
    let Some(node) = node else { return Vec::new() };
    let what = r#""all", or a list like [{"count": 1}]"#;
    match (&node.string, node.value) {
        (Some(text), _) if text == "all" => vec![GpuRequest {
            driver: String::new(),
            count: -1,
            device_ids: Vec::new(),
            capabilities: vec!["gpu".to_owned()],
            options: BTreeMap::new(),
        }],
        (None, Value::Array(_)) => {
            let nodes = node.list().unwrap_or_default();
            nodes.iter().filter_map(|node| gpu(node.section()?)).collect()
        }
        (_, _) => {
            node.wrong::<()>(what);
            Vec::new()
        }
    }
}

fn gpu(section: Section) -> Option<GpuRequest> {
    let texts = |key| section.get(key).and_then(|n: Node| n.texts()).unwrap_or_default();
    let count = section.get("count");
    let device_ids = texts("device_ids");
    let mut capabilities = texts("capabilities");
    // Without it no GPU driver of the engine takes the request.
    if !capabilities.iter().any(|name| name == "gpu") {
        capabilities.push("gpu".to_owned());
    }
    let driver = section.get("driver").and_then(|n| Some(n.text()?.into_owned()));
    let entries = section.section("options").map(|options| options.entries());
    let option = |(name, node): (&str, Node)| Some((name.to_owned(), node.text()?.into_owned()));
    let options = entries.unwrap_or_default().into_iter().filter_map(option).collect();
    if let Some(count) = count.as_ref().filter(|_| section.has("device_ids")) {
        count.error("cannot be used with `device_ids`; remove one of the two");
    }
    let count = match count {
        Some(count) if count.string.as_deref() == Some("all") => Some(-1),
        Some(count) => {
            let number = count.number().or(count.string.as_deref());
            let number = number.and_then(|text| text.parse::<i64>().ok());
            let number = number.filter(|number| *number == -1 || 1 <= *number);
            number.or_else(|| count.wrong(r#"a number of GPUs from 1, or "all""#))
        }
        None if device_ids.is_empty() => Some(-1),
        None => Some(0),
    };
    section.done();
    let driver = driver.unwrap_or_default();
    Some(GpuRequest { driver, count: count?, device_ids, capabilities, options })
}
