//! A copy of a docker compose container under the next number. Compose takes the copy for its own,
//! because it compares labels only.
//!
//! Which fields may be copied was measured on engines 20.10 to 29: an inspect also shows values
//! that were assigned to that one container, and some that two containers must not share.

use serde_json::{Map, Value, json};

use crate::docker::labels::{LABEL_REPLICA, LABEL_SERVICE};
use crate::model::replica::NUMBER_MAX;
use crate::outside::{Error, Result};

pub(crate) const LABEL_PROJECT: &str = "com.docker.compose.project";
pub(crate) const LABEL_OF: &str = "com.docker.compose.service";
pub(crate) const LABEL_NUMBER: &str = "com.docker.compose.container-number";
pub(crate) const LABEL_HASH: &str = "com.docker.compose.config-hash";
pub(crate) const LABEL_ONE_OFF: &str = "com.docker.compose.oneoff";
/// Names the container that compose replaces with it.
const LABEL_REPLACE: &str = "com.docker.compose.replace";

/// The network of every container that names no other.
const DEFAULT_BRIDGE: &str = "bridge";

/// The number in a label. Numbers only grow, so one above NUMBER_MAX is invalid: it would leave
/// none for the next container.
pub(crate) fn number_of(label: &str) -> Option<u32> {
    label.parse().ok().filter(|number| *number <= NUMBER_MAX)
}

/// A container to be created.
#[derive(Debug)]
pub(crate) struct ContainerCopy {
    pub(crate) name: String,
    pub(crate) body: Value,
    /// Networks to join before it starts, each with its endpoint.
    pub(crate) joins: Vec<(String, Value)>,
}

/// `service` is the name in the config. `image` is the template's image: its tag if that still
/// names the same image, else its id. `many_networks` is false for engines before API 1.44, which
/// create a container in one network only.
pub(crate) fn container_copy(
    template: &Value,
    service: &str,
    number: u32,
    image: &str,
    many_networks: bool,
) -> Result<ContainerCopy> {
    let old_name = text(template, "/Name").trim_start_matches('/');
    if let Some(reason) = why_not_cloneable(template) {
        return Err(Error::new(format!("{old_name} cannot be copied: {reason}")));
    }
    let name = next_name(template, old_name, number)?;
    let first = text(template, "/HostConfig/NetworkMode");
    let mut endpoints = endpoints(template, old_name, &name);
    let mut joins = Vec::new();
    if !many_networks {
        let first = if endpoints.contains_key(first) { first } else { DEFAULT_BRIDGE };
        let (made_in, later) = endpoints.into_iter().partition(|(network, _)| network == first);
        endpoints = made_in;
        joins = Map::into_iter(later).collect();
    }
    let mut body = config(template, service, number, image);
    let (host, anonymous) = host(template);
    if let Some(volumes) = body.entry("Volumes").or_insert(Value::Null).as_object_mut() {
        volumes.extend(anonymous);
    } else if !anonymous.is_empty() {
        body.insert("Volumes".to_owned(), Value::Object(anonymous));
    }
    body.insert("HostConfig".to_owned(), Value::Object(host));
    body.insert("NetworkingConfig".to_owned(), json!({ "EndpointsConfig": endpoints }));
    Ok(ContainerCopy { name, body: Value::Object(body), joins })
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn object(value: &Value, pointer: &str) -> Map<String, Value> {
    value.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Why the container cannot be copied, with the fix.
fn why_not_cloneable(template: &Value) -> Option<String> {
    let labels = object(template, "/Config/Labels");
    if labels.get(LABEL_ONE_OFF).and_then(Value::as_str) == Some("True")
        || template.pointer("/HostConfig/AutoRemove") == Some(&Value::Bool(true))
    {
        return Some("it is a one-off container of `docker compose run`".to_owned());
    }
    let managed =
        |key: &&String| ["com.docker.swarm.", "io.kubernetes."].iter().any(|p| key.starts_with(p));
    if let Some(label) = labels.keys().find(managed) {
        return Some(format!("its label {label} belongs to another orchestrator"));
    }
    if let Some(port) = fixed_port(template) {
        return Some(format!(
            "it publishes the fixed host port {port}; remove `ports` from the compose file, \
             which HAProxy does not need, or give a range"
        ));
    }
    let mode = text(template, "/HostConfig/NetworkMode");
    if matches!(mode, "host" | "none") || mode.starts_with("container:") {
        return Some(format!("its network_mode is {mode}, in which it has no address of its own"));
    }
    let networks = object(template, "/NetworkSettings/Networks");
    let fixed = |endpoint: &Value| {
        let ipam = ["/IPAMConfig/IPv4Address", "/IPAMConfig/IPv6Address"];
        ipam.iter()
            .map(|at| text(endpoint, at))
            .find(|address| !address.is_empty())
            .map(str::to_owned)
    };
    let (network, address) = networks.iter().find_map(|(name, e)| Some((name, fixed(e)?)))?;
    Some(format!(
        "its address {address} in network {network} is fixed; remove it from the compose file"
    ))
}

/// The first fixed host port. A range is not fixed: Docker takes the next free port.
fn fixed_port(template: &Value) -> Option<String> {
    let bindings = object(template, "/HostConfig/PortBindings");
    let ports = bindings.values().filter_map(Value::as_array).flatten();
    let ports = ports.map(|binding| text(binding, "/HostPort"));
    ports.filter(|port| port.parse::<u16>().is_ok_and(|port| port != 0)).map(str::to_owned).next()
}

/// Compose's names are `project-service-1`; version 1 had `project_service_1`.
fn next_name(template: &Value, old: &str, number: u32) -> Result<String> {
    let labels = object(template, "/Config/Labels");
    let old_number = labels.get(LABEL_NUMBER).and_then(Value::as_str).unwrap_or_default();
    let stem = old.strip_suffix(old_number).filter(|stem| stem.ends_with(['-', '_']));
    match stem.filter(|_| !old_number.is_empty()) {
        Some(stem) => Ok(format!("{stem}{number}")),
        None => Err(Error::new(format!(
            "{old} cannot be copied: its name does not end with its number, so it has a \
             container_name; remove that from the compose file"
        ))),
    }
}

fn config(template: &Value, service: &str, number: u32, image: &str) -> Map<String, Value> {
    let mut config = object(template, "/Config");
    let id = text(template, "/Id");
    // Chosen by Docker, not by the operator.
    if config.get("Hostname").and_then(Value::as_str) == id.get(..12) {
        config.remove("Hostname");
    }
    config.remove("MacAddress");
    config.remove("OnBuild");
    config.insert("Image".to_owned(), json!(image));
    let mut labels = object(template, "/Config/Labels");
    labels.remove(LABEL_REPLACE);
    labels.insert(LABEL_NUMBER.to_owned(), json!(number.to_string()));
    // Compose ignores these; they mark the container as a clone.
    labels.insert(LABEL_SERVICE.to_owned(), json!(service));
    labels.insert(LABEL_REPLICA.to_owned(), json!(number.to_string()));
    config.insert("Labels".to_owned(), Value::Object(labels));
    config
}

/// Also returns the anonymous volumes, by mount point: each container gets its own.
fn host(template: &Value) -> (Map<String, Value>, Map<String, Value>) {
    let mut host = object(template, "/HostConfig");
    host.remove("ContainerIDFile");
    host.remove("ConsoleSize");
    let mut anonymous = Map::new();
    let links = list(template, "/HostConfig/Links").iter().filter_map(Value::as_str).map(link);
    if let Some(there) = host.get_mut("Links").filter(|links| links.is_array()) {
        *there = links.collect();
    }
    if let Some(binds) = host.get_mut("Binds").and_then(Value::as_array_mut) {
        binds.retain(|bind| {
            let mut parts = bind.as_str().unwrap_or_default().split(':');
            let source = parts.next().unwrap_or_default();
            let target = parts.next();
            let is_own = is_anonymous(source);
            if let Some(target) = target.filter(|_| is_own) {
                anonymous.insert(target.to_owned(), json!({}));
            }
            !is_own
        });
    }
    // After compose recreated a container, an anonymous volume is here under its generated name.
    for mount in host.get_mut("Mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        if is_anonymous(text(mount, "/Source"))
            && let Some(mount) = mount.as_object_mut()
        {
            mount.remove("Source");
        }
    }
    (host, anonymous)
}

/// Docker names anonymous volumes with 64 hexadecimal digits.
fn is_anonymous(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `/db:/web/alias` is what an inspect shows for `db:alias`.
fn link(shown: &str) -> Value {
    let (target, alias) = shown.split_once(':').unwrap_or((shown, shown));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    json!(format!("{}:{alias}", target.trim_start_matches('/')))
}

fn endpoints(template: &Value, old_name: &str, name: &str) -> Map<String, Value> {
    let short_id = text(template, "/Id").get(..12).unwrap_or_default().to_owned();
    let endpoint = |network: &str, shown: &Value| {
        let mut endpoint = Map::new();
        for key in ["DriverOpts", "GwPriority", "Links"] {
            if let Some(value) = shown.get(key).filter(|value| !value.is_null()) {
                endpoint.insert(key.to_owned(), value.clone());
            }
        }
        // Engines refuse aliases on the default bridge.
        if network != DEFAULT_BRIDGE {
            let known = list(shown, "/Aliases").iter().filter_map(Value::as_str);
            let kept =
                known.filter(|alias| *alias != short_id && *alias != old_name && *alias != name);
            let aliases: Vec<&str> = kept.chain([name]).collect();
            endpoint.insert("Aliases".to_owned(), json!(aliases));
        }
        Value::Object(endpoint)
    };
    let shown = object(template, "/NetworkSettings/Networks");
    shown.iter().map(|(network, e)| (network.clone(), endpoint(network, e))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::docker::compose_clone::{container_copy, number_of};

    fn id() -> String {
        "0123456789ab".repeat(5) + "cdef"
    }

    fn template() -> Value {
        json!({
            "Id": id(),
            "Name": "/shop-web-1",
            "Config": {
                "Hostname": "0123456789ab", "MacAddress": "02:42", "OnBuild": null,
                "Image": "shop/web", "Env": ["A=b"], "Volumes": null,
                "Healthcheck": { "Test": ["CMD", "true"] },
                "Labels": {
                    "com.docker.compose.project": "shop", "com.docker.compose.service": "web",
                    "com.docker.compose.container-number": "1",
                    "com.docker.compose.config-hash": "abc", "com.docker.compose.oneoff": "False",
                    "com.docker.compose.replace": "old", "own": "kept"
                }
            },
            "HostConfig": {
                "NetworkMode": "shop_default", "ContainerIDFile": "/x", "ConsoleSize": [0, 0],
                "Links": ["/db:/shop-web-1/database"],
                "Binds": ["data:/data:rw", format!("{}:/cache", "a".repeat(64))],
                "Mounts": [{ "Type": "volume", "Source": "b".repeat(64), "Target": "/tmp2" },
                           { "Type": "volume", "Source": "named", "Target": "/srv" }],
                "PortBindings": { "8080/tcp": [{ "HostPort": "22100-22110" }] }
            },
            "NetworkSettings": { "Networks": {
                "shop_default": { "Aliases": ["shop-web-1", "web", "0123456789ab"],
                                  "IPAMConfig": null, "IPAddress": "172.18.0.2", "Links": null },
                "back": { "Aliases": ["web"], "IPAMConfig": {}, "DriverOpts": { "k": "v" } }
            } }
        })
    }

    #[test]
    fn it_is_like_the_other_but_for_what_belongs_to_that_one() {
        let made = container_copy(&template(), "web", 3, "shop/web", true).unwrap();
        assert_eq!(made.name, "shop-web-3");
        assert!(made.joins.is_empty());
        let body = &made.body;
        for gone in [
            "/Hostname",
            "/MacAddress",
            "/OnBuild",
            "/HostConfig/ContainerIDFile",
            "/HostConfig/ConsoleSize",
            "/HostConfig/Mounts/0/Source",
            "/Labels/com.docker.compose.replace",
        ] {
            assert_eq!(body.pointer(gone), None, "{gone}");
        }
        for (at, want) in [
            ("/Image", json!("shop/web")),
            ("/Env", json!(["A=b"])),
            ("/Healthcheck/Test", json!(["CMD", "true"])),
            ("/Labels/com.docker.compose.container-number", json!("3")),
            ("/Labels/com.docker.compose.config-hash", json!("abc")),
            ("/Labels/own", json!("kept")),
            ("/Labels/io.plimsoll.service", json!("web")),
            ("/Labels/io.plimsoll.replica", json!("3")),
            ("/HostConfig/Links", json!(["db:database"])),
            ("/HostConfig/Binds", json!(["data:/data:rw"])),
            ("/HostConfig/Mounts/1/Source", json!("named")),
            ("/HostConfig/PortBindings/8080~1tcp/0/HostPort", json!("22100-22110")),
            ("/Volumes", json!({ "/cache": {} })),
            (
                "/NetworkingConfig/EndpointsConfig",
                json!({
                    "back": { "Aliases": ["web", "shop-web-3"], "DriverOpts": { "k": "v" } },
                    "shop_default": { "Aliases": ["web", "shop-web-3"] },
                }),
            ),
        ] {
            assert_eq!(body.pointer(at), Some(&want), "{at}");
        }
    }

    #[test]
    fn what_the_compose_file_sets_for_a_container_is_in_its_copy() {
        let mut template = template();
        let config = [
            ("Entrypoint", json!(["/run.sh"])),
            ("StopSignal", json!("SIGQUIT")),
            ("WorkingDir", json!("/srv")),
        ];
        let host = [
            ("ExtraHosts", json!(["db:10.0.0.5"])),
            ("CapAdd", json!(["CAP_NET_ADMIN"])),
            ("CapDrop", json!(["ALL"])),
            ("SecurityOpt", json!(["no-new-privileges:true"])),
            ("Tmpfs", json!({ "/tmp": "size=64m" })),
            ("Devices", json!([{ "PathOnHost": "/dev/null" }])),
            ("Ulimits", json!([{ "Name": "core", "Soft": 0, "Hard": 0 }])),
            ("Sysctls", json!({ "net.core.somaxconn": "9" })),
            ("ShmSize", json!(128 << 20)),
            ("Init", json!(true)),
            ("ReadonlyRootfs", json!(true)),
            ("LogConfig", json!({ "Type": "local", "Config": { "max-size": "1m" } })),
            ("DeviceRequests", json!([{ "Count": -1, "Capabilities": [["gpu"]] }])),
        ];
        for (part, values) in [("Config", &config[..]), ("HostConfig", &host[..])] {
            for (key, value) in values {
                template[part][key] = value.clone();
            }
        }
        let made = container_copy(&template, "web", 2, "shop/web", true).unwrap();
        for (key, value) in config {
            assert_eq!(made.body[key], value, "{key}");
        }
        for (key, value) in host {
            assert_eq!(made.body["HostConfig"][key], value, "{key}");
        }
    }

    #[test]
    fn a_number_leaves_room_for_the_next() {
        for (label, number) in [
            ("1", Some(1)),
            ("1000000000", Some(1_000_000_000)),
            ("1000000001", None),
            ("4294967295", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(number_of(label), number, "{label}");
        }
    }

    #[test]
    fn a_host_name_that_somebody_chose_is_kept() {
        let mut template = template();
        template["Config"]["Hostname"] = json!("web");
        let made = container_copy(&template, "web", 2, "shop/web", true).unwrap();
        assert_eq!(made.body["Hostname"], "web");
    }

    #[test]
    fn an_old_engine_makes_it_in_one_network_and_it_joins_the_others() {
        let made = container_copy(&template(), "web", 2, "shop/web", false).unwrap();
        let made_in = made.body.pointer("/NetworkingConfig/EndpointsConfig").unwrap();
        assert_eq!(made_in.as_object().unwrap().keys().collect::<Vec<_>>(), ["shop_default"]);
        let joins: Vec<&str> = made.joins.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(joins, ["back"]);
    }

    #[test]
    fn the_default_bridge_takes_no_names() {
        let mut template = template();
        template["HostConfig"]["NetworkMode"] = json!("default");
        template["NetworkSettings"]["Networks"] = json!({ "bridge": { "Aliases": null } });
        let made = container_copy(&template, "web", 2, "shop/web", false).unwrap();
        let networks = made.body.pointer("/NetworkingConfig/EndpointsConfig").unwrap();
        assert_eq!((networks, made.joins.len()), (&json!({ "bridge": {} }), 0));
    }

    #[test]
    fn both_spellings_of_names_are_counted_on() {
        let mut template = template();
        template["Name"] = json!("/shop_web_1");
        assert_eq!(container_copy(&template, "web", 12, "i", true).unwrap().name, "shop_web_12");
    }

    #[test]
    fn what_there_can_be_one_of_only_is_refused_with_the_way_out() {
        let port = json!({ "80/tcp": [{ "HostIp": "", "HostPort": "8080" }] });
        for (at, value, why) in [
            ("/HostConfig/PortBindings", port, "it publishes the fixed host port 8080"),
            ("/HostConfig/NetworkMode", json!("host"), "its network_mode is host"),
            ("/HostConfig/NetworkMode", json!("container:ab"), "its network_mode is container:ab"),
            ("/HostConfig/NetworkMode", json!("none"), "its network_mode is none"),
            ("/HostConfig/AutoRemove", json!(true), "it is a one-off"),
            ("/Config/Labels/com.docker.compose.oneoff", json!("True"), "it is a one-off"),
            ("/Config/Labels/com.docker.swarm.task", json!("x"), "its label com.docker.swarm.task"),
            (
                "/NetworkSettings/Networks/back/IPAMConfig/IPv4Address",
                json!("10.0.0.9"),
                "its address 10.0.0.9 in network back is fixed",
            ),
            ("/Name", json!("/frontend"), "its name does not end with its number"),
        ] {
            let mut template = template();
            let (parent, key) = at.rsplit_once('/').unwrap();
            template.pointer_mut(parent).unwrap()[key] = value;
            let refused = container_copy(&template, "web", 2, "i", true).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused:?} has no {why:?}");
        }
        for free in [json!({}), json!(null), json!({ "80/tcp": [{ "HostPort": "" }] })] {
            let mut template = template();
            template["HostConfig"]["PortBindings"] = free;
            container_copy(&template, "web", 2, "i", true).unwrap();
        }
    }
}
