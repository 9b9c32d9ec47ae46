//! Containers that run as drafts: those of one compose service are one.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::cli::init::draft::Draft;
use crate::cli::init::options;
use crate::model::running::Running;

pub(crate) fn drafts(mut all: Vec<Running>) -> Vec<Draft> {
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let mut seen = BTreeSet::new();
    all.retain(|one| one.compose.is_none() || seen.insert(one.compose.clone()));
    all.iter().map(draft).collect()
}

fn draft(container: &Running) -> Draft {
    let mut draft = match &container.compose {
        Some((_, service)) => Draft::new(service),
        None => Draft::new(&container.name),
    };
    match &container.compose {
        // What its containers are like is the compose file's.
        Some((project, service)) => {
            draft.put("compose", json!({ "project": project, "service": service }));
        }
        None => {
            draft.remarks.push(format!("container {}", container.name));
            draft.put("image", container.image.as_str());
        }
    }
    let published = container.ports.iter().find(|port| port.outside.is_some());
    if let Some(port) = published.or(container.ports.first()) {
        draft.put("port", port.inside);
        if let Some(outside) = &port.outside {
            let plain = outside.rsplit_once(':').filter(|(host, _)| is_everywhere(host));
            let port = plain.and_then(|(_, port)| port.parse::<u16>().ok());
            let listen = port.map_or(json!(outside), |port| json!(port));
            let why = match &container.compose {
                Some(_) => {
                    "compose publishes this now: make it `expose` there first, HAProxy takes it"
                }
                None => "published now: stop that container first",
            };
            draft.guess("listen", listen, why);
        }
    } else if container.compose.is_none() {
        draft.unfit = Some("it has no port, so that HAProxy could not reach it".to_owned());
    }
    draft.guess_bounds(1);
    if container.compose.is_none() {
        make(container, &mut draft);
    }
    draft
}

/// What it is made with.
fn make(container: &Running, draft: &mut Draft) {
    match container.nano_cpus {
        Some(nano) => draft.put("cpus", nano as f64 / 1e9),
        None => draft.guess("cpus", 1, "without a limit, thresholds are % of one core"),
    }
    if let Some(bytes) = container.memory {
        draft.put("memory", bytes);
    }
    let environment: Map<String, Value> =
        container.environment.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    if !environment.is_empty() {
        draft.put("environment", environment);
    }
    for (name, words) in [
        ("command", &container.command),
        ("volumes", &container.volumes),
        ("networks", &container.networks),
    ] {
        if !words.is_empty() {
            draft.put(name, words.clone());
        }
    }
    for (name, word) in [("user", &container.user), ("restart", &container.restart)] {
        if let Some(word) = word {
            draft.put(name, word.as_str());
        }
    }
    options::put(&container.options, draft);
}

fn is_everywhere(host: &str) -> bool {
    ["", "0.0.0.0", "::", "[::]"].contains(&host)
}

#[cfg(test)]
mod tests {
    use crate::cli::init::draft::write;
    use crate::cli::init::running::drafts;
    use crate::config;
    use crate::model::running::{Port, Running};
    use crate::model::service::Origin;

    #[test]
    fn containers_become_services_and_those_of_one_compose_service_one() {
        let port =
            |inside, outside: Option<&str>| Port { inside, outside: outside.map(str::to_owned) };
        let web = |n: u32| Running {
            name: format!("shop-web-{n}"),
            compose: Some(("shop".to_owned(), "web".to_owned())),
            image: "shop/web:1".to_owned(),
            ports: vec![port(9000, None), port(8080, Some("0.0.0.0:80"))],
            environment: vec![("MODE".to_owned(), "fast".to_owned())],
            nano_cpus: Some(500_000_000),
            memory: Some(64 << 20),
            networks: vec!["shop_default".to_owned()],
            ..Running::default()
        };
        let batch =
            Running { name: "batch".to_owned(), image: "b".to_owned(), ..Running::default() };
        let text = write(&[], drafts(vec![web(1), web(2), batch]));
        let loaded = config::parse("made", &text);
        assert!(loaded.problems.iter().all(|p| p.is_warning), "{:?}\n{text}", loaded.problems);
        let config = loaded.config.unwrap();
        assert_eq!(config.services.len(), 1, "{text}");
        let web = config.services.values().next().unwrap();
        assert_eq!((web.name.as_str(), web.port), ("web", 8080));
        assert_eq!(web.listen.as_ref().map(|listen| listen.port), Some(80));
        assert_eq!(
            web.container.origin,
            Origin::Compose { project: "shop".to_owned(), service: "web".to_owned() }
        );
        assert!(text.contains("// left out: it has no port"), "{text}");
    }
}
