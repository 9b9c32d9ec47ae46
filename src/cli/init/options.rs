//! The options of a container as keys of a draft.

use serde_json::{Map, Value, json};

use crate::cli::init::draft::Draft;
use crate::model::container_options::ContainerOptions;

pub(crate) fn put(options: &ContainerOptions, draft: &mut Draft) {
    for (key, value) in keys(options) {
        draft.put(key, value);
    }
}

fn keys(options: &ContainerOptions) -> Vec<(&'static str, Value)> {
    let some = |set: bool, value: Value| Some(value).filter(|_| set);
    let devices = options.devices.iter();
    let devices: Vec<String> =
        devices.map(|d| format!("{}:{}:{}", d.host, d.container, d.permissions)).collect();
    let tmpfs = options.tmpfs.iter().map(|(path, with)| match with.as_str() {
        "" => path.clone(),
        with => format!("{path}:{with}"),
    });
    let tmpfs: Vec<String> = tmpfs.collect();
    let ulimits = options.ulimits.iter();
    let ulimits: Map<String, Value> = ulimits
        .map(|(name, of)| (name.clone(), json!({ "soft": of.soft, "hard": of.hard })))
        .collect();
    let all = [
        ("entrypoint", options.entrypoint.as_ref().map(|words| json!(words))),
        ("hostname", options.hostname.as_ref().map(|name| json!(name))),
        ("working_dir", options.working_dir.as_ref().map(|path| json!(path))),
        ("stop_signal", options.stop_signal.as_ref().map(|signal| json!(signal))),
        ("init", options.init.map(|init| json!(init))),
        ("read_only", some(options.read_only, json!(true))),
        ("extra_hosts", some(!options.extra_hosts.is_empty(), json!(options.extra_hosts))),
        ("cap_add", some(!options.cap_add.is_empty(), json!(options.cap_add))),
        ("cap_drop", some(!options.cap_drop.is_empty(), json!(options.cap_drop))),
        ("security_opt", some(!options.security_opt.is_empty(), json!(options.security_opt))),
        ("tmpfs", some(!tmpfs.is_empty(), json!(tmpfs))),
        ("devices", some(!devices.is_empty(), json!(devices))),
        ("ulimits", some(!ulimits.is_empty(), json!(ulimits))),
        ("sysctls", some(!options.sysctls.is_empty(), json!(options.sysctls))),
        ("shm_size", options.shm_size.map(|bytes| json!(bytes))),
        ("gpus", some(!options.gpus.is_empty(), gpus(options))),
        ("logging", logging(options)),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn gpus(options: &ContainerOptions) -> Value {
    let gpu = options.gpus.iter().map(|gpu| {
        let mut out = json!({ "capabilities": gpu.capabilities });
        if !gpu.driver.is_empty() {
            out["driver"] = json!(gpu.driver);
        }
        match gpu.device_ids.as_slice() {
            [] => out["count"] = json!(gpu.count),
            ids => out["device_ids"] = json!(ids),
        }
        if !gpu.options.is_empty() {
            out["options"] = json!(gpu.options);
        }
        out
    });
    gpu.collect()
}

/// The file is for its owner alone, as the values of the environment are in it too.
fn logging(options: &ContainerOptions) -> Option<Value> {
    let logging = options.logging.as_ref()?;
    let pairs = logging.options.iter().map(|(name, value)| (name.clone(), json!(value.expose())));
    let mut out = json!({ "options": pairs.collect::<Map<String, Value>>() });
    if let Some(driver) = &logging.driver {
        out["driver"] = json!(driver);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use crate::cli::init::draft::{Draft, write};
    use crate::cli::init::options::put;
    use crate::config;

    /// With a value for each key.
    const ALL: &str = r#""entrypoint": ["/run.sh"], "hostname": "web", "working_dir": "/srv",
        "stop_signal": "SIGQUIT", "init": true, "read_only": true,
        "extra_hosts": ["db:10.0.0.5", "six:::1", "here:host-gateway"],
        "cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"],
        "tmpfs": ["/tmp:size=4m", "/run"], "devices": ["/dev/null:/dev/n:rw"],
        "ulimits": { "nofile": { "soft": 1, "hard": 2 }, "memlock": -1 },
        "sysctls": { "net.core.somaxconn": "9" }, "shm_size": "8m",
        "gpus": [{ "count": 2, "driver": "nvidia" }, { "device_ids": ["a"] }],
        "logging": { "driver": "local", "options": { "max-size": "1m" } }"#;

    #[test]
    fn what_a_container_has_is_carried_over_and_means_the_same() {
        let text = format!(
            r#"{{"services": {{"web": {{"image": "w", "port": 80, "max_replicas": 1, {ALL}}}}}}}"#
        );
        let loaded = config::parse("c", &text);
        let want = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let want = &want.services.values().next().unwrap().container.options;
        let mut draft = Draft::new("web");
        draft.put("image", "w");
        draft.put("port", 80);
        put(want, &mut draft);
        let text = write(&[], vec![draft]);
        let loaded = config::parse("made", &text);
        assert!(loaded.problems.iter().all(|p| p.is_warning), "{:?}\n{text}", loaded.problems);
        let got = loaded.config.unwrap();
        assert_eq!(&got.services.values().next().unwrap().container.options, want, "{text}");
    }
}
