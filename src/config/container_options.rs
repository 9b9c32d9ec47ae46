//! Keys of a service that compose files have as well, for how its containers run. Names and
//! meanings are compose's. What Docker would refuse only at the start of a replica is refused here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use jsonc_parser::ast::Value;

use crate::config::cursor::{Node, Section};
use crate::config::devices;
use crate::model::container_options::{ContainerOptions, LogSettings};
use crate::model::secret::Secret;
use crate::model::units;

/// Of a host's name; the kernel takes 64 bytes.
const HOSTNAME_MAX: usize = 63;
/// The smallest `/dev/shm`: one page.
const SHM_MIN: u64 = 4 << 10;
/// Every capability of Linux, without `CAP_`.
const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];
/// Signals by name, without `SIG`.
const SIGNALS: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];
/// The largest number of a signal.
const SIGNAL_MAX: u32 = 64;

/// `volumes` are those of the service: nothing else can be mounted at the same place.
pub(super) fn options(section: &Section, volumes: &[String]) -> ContainerOptions {
    let text = |key, is_one: fn(&str) -> bool, what| {
        section.get(key).and_then(|n: Node| n.text_that(is_one, what))
    };
    let flag = |key| section.get(key).and_then(|n: Node| n.boolean());
    ContainerOptions {
        entrypoint: section.get("entrypoint").and_then(|n| entrypoint(&n)),
        hostname: text(
            "hostname",
            is_host_name,
            "a host name of at most 63 letters, digits, `-` and `.`, like \"web\"",
        ),
        working_dir: text(
            "working_dir",
            |text| text.starts_with('/'),
            "an absolute path in the container",
        ),
        stop_signal: text(
            "stop_signal",
            is_signal,
            "a signal like \"SIGTERM\", \"SIGRTMIN+3\" or \"15\"",
        ),
        init: flag("init"),
        read_only: flag("read_only").unwrap_or(false),
        extra_hosts: extra_hosts(section.get("extra_hosts")),
        cap_add: capabilities(section.get("cap_add")),
        cap_drop: capabilities(section.get("cap_drop")),
        security_opt: security(section.get("security_opt")),
        tmpfs: devices::tmpfs(section.get("tmpfs"), volumes),
        devices: devices::devices(section.get("devices")),
        ulimits: devices::ulimits(section.get("ulimits")),
        sysctls: devices::sysctls(section.get("sysctls")),
        shm_size: section.get("shm_size").and_then(|n| shm_size(&n)),
        gpus: devices::gpus(section.get("gpus")),
        logging: section.section("logging").map(logging),
    }
}

/// Compose splits a text into words by the rules of a shell; here, as in `command`, each word is
/// one text, so that no rule is needed.
fn entrypoint(node: &Node) -> Option<Vec<String>> {
    if node.string.is_some() {
        return node.wrong(r#"a list with a text for each word, like ["/run.sh", "-v"]"#);
    }
    node.texts()
}

fn is_host_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(plain)
    };
    text.len() <= HOSTNAME_MAX && text.split('.').all(label)
}

fn is_signal(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str| {
        let number = name.strip_prefix(prefix)?.parse::<u32>().ok()?;
        (1..=15).contains(&number).then_some(())
    };
    let number = || text.parse::<u32>().ok().filter(|number| (1..=SIGNAL_MAX).contains(number));
    SIGNALS.contains(&name)
        || real_time("RTMIN+").is_some()
        || real_time("RTMAX-").is_some()
        || number().is_some()
}

/// A list of `HOST=ADDRESS` or `HOST:ADDRESS`, or a map with an address or several.
fn extra_hosts(node: Option<Node>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let mut out = Vec::new();
    if let Value::Object(_) = node.value {
        let entries = node.section().map(|section| section.entries()).unwrap_or_default();
        for (host, node) in entries {
            if !is_known_as(host) {
                node.bad_name("a host name must not be empty or contain spaces, `:` or `=`");
                continue;
            }
            let addresses = match node.value {
                Value::Array(_) => node.list().unwrap_or_default(),
                _ => vec![node],
            };
            for node in addresses {
                let address = node.text().and_then(|text| {
                    address(&text).or_else(|| node.wrong("an IP address, or host-gateway"))
                });
                out.extend(address.map(|address| format!("{host}:{address}")));
            }
        }
        return out;
    }
    for node in node.list().unwrap_or_default() {
        let Some(text) = node.text() else { continue };
        // IPv6 addresses have colons themselves.
        let parts = text.split_once('=').or_else(|| text.split_once(':'));
        let line = parts.and_then(|(host, at)| {
            Some(format!("{host}:{}", address(at).filter(|_| is_known_as(host))?))
        });
        let wrong = r#""HOST=ADDRESS", with an IP address or host-gateway"#;
        out.extend(line.or_else(|| node.wrong(wrong)));
    }
    out
}

fn is_known_as(host: &str) -> bool {
    !host.is_empty() && !host.contains([':', '=', '"']) && !host.contains(char::is_whitespace)
}

/// Docker takes an IPv6 address without brackets only.
fn address(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if text == "host-gateway" {
        return Some(text.to_owned());
    }
    bare.parse::<IpAddr>().ok().map(|address| address.to_string())
}

fn capabilities(node: Option<Node>) -> BTreeSet<String> {
    let nodes = node.and_then(|n| n.list()).unwrap_or_default();
    let name = |node: &Node| {
        let text = node.text()?;
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if CAPABILITIES.contains(&name) {
            return Some(name.to_owned());
        }
        let near = units::did_you_mean(units::nearest_key(name, CAPABILITIES.iter().copied()));
        node.error(format!(
            "must be a capability of Linux like NET_ADMIN, or ALL, got \"{text}\"{near}"
        ));
        None
    };
    nodes.iter().filter_map(name).collect()
}

/// As docker's own command sends them: the engine gets the content of a seccomp profile.
fn security(node: Option<Node>) -> Vec<String> {
    let nodes = node.and_then(|n| n.list()).unwrap_or_default();
    nodes.iter().filter_map(security_option).collect()
}

fn security_option(node: &Node) -> Option<String> {
    let text = node.text()?;
    // The engine still reads the colon of old files.
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    match parts {
        Some(("seccomp", value @ ("unconfined" | "builtin"))) => Some(format!("seccomp={value}")),
        Some(("seccomp", profile)) => seccomp(node, profile),
        Some(("no-new-privileges" | "writable-cgroups", "true" | "false"))
        | Some(("systempaths", "unconfined")) => Some(text.into_owned()),
        Some(("apparmor" | "label", value)) if !value.is_empty() => Some(text.into_owned()),
        None if text == "no-new-privileges" => Some(text.into_owned()),
        Some(_) | None => node.wrong(
            "no-new-privileges:true, seccomp=FILE, seccomp=unconfined, apparmor=PROFILE, \
             label=VALUE or systempaths=unconfined",
        ),
    }
}

fn seccomp(node: &Node, profile: &str) -> Option<String> {
    let text = if profile.starts_with('{') {
        profile.to_owned()
    } else if profile.starts_with('/') {
        match (node.around().public_file)(Path::new(profile)) {
            Ok(text) => text,
            Err(message) => {
                node.error(message);
                return None;
            }
        }
    } else {
        return node.wrong("seccomp=FILE with an absolute path");
    };
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(value) if value.is_object() => Some(format!("seccomp={value}")),
        Ok(_) | Err(_) => {
            node.error("names a seccomp profile that is not a JSON object");
            None
        }
    }
}

fn shm_size(node: &Node) -> Option<u64> {
    let bytes = node.number().or(node.string.as_deref()).and_then(units::bytes);
    let fits = |bytes: &u64| SHM_MIN <= *bytes && i64::try_from(*bytes).is_ok();
    bytes
        .filter(fits)
        .or_else(|| node.wrong(r#"a size of at least 4k: bytes, or like "64m" or "1g""#))
}

fn logging(section: Section) -> LogSettings {
    let is_driver = |text: &str| !text.contains(char::is_whitespace);
    let driver = section
        .get("driver")
        .and_then(|n| n.text_that(is_driver, "a logging driver of Docker, like \"local\""));
    let mut options = BTreeMap::new();
    let entries = section.section("options").map(|options| options.entries());
    for (name, node) in entries.unwrap_or_default() {
        if name.is_empty() {
            node.bad_name("an option of a logging driver needs a name");
            continue;
        }
        let value = match node.value {
            Value::NumberLit(lit) => Some(Secret::new(lit.value.to_owned())),
            Value::BooleanLit(lit) => Some(Secret::new(lit.value.to_string())),
            _ => node.secret(),
        };
        options.extend(value.map(|value| (name.to_owned(), value)));
    }
    section.done();
    LogSettings { driver, options }
}
