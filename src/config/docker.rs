//! `docker`: where the Engine API is, and the default of it that the environment names.

use std::time::Duration;

use crate::config::cursor::Section;
use crate::config::values::path;
use crate::model::config::DockerConfig;
use crate::model::docker_host::{DEFAULT_SOCKET, DockerHost, DockerTls, Exposure};

const TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);
/// What `docker` reads where no certificates are named.
const CERTIFICATES: &str = ".docker";

pub(crate) fn docker(root: &Section) -> DockerConfig {
    let section = root.section("docker");
    let timeout = section.as_ref().and_then(|section| section.get("timeout"));
    let timeout = timeout.and_then(|n| n.duration(Duration::from_secs(1)..=LONGEST));
    let has_tls = section.as_ref().is_some_and(|section| section.has("tls"));
    let own_tls = section.as_ref().and_then(|section| section.section("tls")).and_then(tls);
    let socket = section.as_ref().and_then(|section| section.get("socket"));
    let from_environment = root.variable("DOCKER_HOST").filter(|text| !text.is_empty());
    let (read, is_from_environment) = match (&socket, &from_environment) {
        (Some(node), _) => {
            let read = node.text().map(|text| DockerHost::parse(&text, own_tls));
            let host = read.and_then(|read| read.map_err(|why| node.error(why)).ok());
            let (error, warning) = (|why| node.error(why), |why| node.warning(why));
            (host.inspect(|host| judge(host, &error, &warning)), false)
        }
        (None, Some(text)) => {
            let from = |why| format!("from the environment variable DOCKER_HOST: {why}");
            let error = |why| root.error_at("docker.socket", from(why));
            let tls = own_tls.or_else(|| tls_of_environment(root, &error));
            let host = DockerHost::parse(text, tls).map_err(error).ok();
            let warning = |why| root.warning_at("docker.socket", from(why));
            (host.inspect(|host| judge(host, &error, &warning)), true)
        }
        (None, None) => (None, false),
    };
    let host = read.unwrap_or_else(|| DockerHost::Unix(DEFAULT_SOCKET.into()));
    if let (Some(section), DockerHost::Unix(_), true) = (&section, &host, has_tls)
        && let Some(node) = section.get("tls")
    {
        node.error("is for an address of TCP only; set docker.socket to tcp://HOST:PORT");
    }
    let config = section.as_ref().and_then(|section| path(section.get("config")));
    if let Some(section) = section {
        section.done();
    }
    DockerConfig { host, is_from_environment, timeout: timeout.unwrap_or(TIMEOUT), config }
}

fn tls(section: Section) -> Option<DockerTls> {
    let ca = path(section.get("ca"));
    let cert = path(section.get("cert"));
    let key = path(section.get("key"));
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if section.has(one) && !section.has(other) {
            section.error(format!("`{other}` is missing: Docker asks for certificate and key"));
        }
    }
    if section.has("cert") && !section.has("ca") {
        section.error("`ca` is missing: the file of the CA that signed Docker's certificate");
    }
    section.done();
    Some(DockerTls { ca, client: cert.zip(key) })
}

/// As `docker` does: any value of DOCKER_TLS_VERIFY turns TLS on, DOCKER_CERT_PATH alone does not.
fn tls_of_environment(root: &Section, error: &dyn Fn(String)) -> Option<DockerTls> {
    let variable = |name| root.variable(name).filter(|text| !text.is_empty());
    variable("DOCKER_TLS_VERIFY")?;
    let folder = variable("DOCKER_CERT_PATH")
        .or_else(|| variable("HOME").map(|home| format!("{home}/{CERTIFICATES}")));
    match folder.filter(|folder| folder.starts_with('/')) {
        Some(folder) => {
            let at = |name: &str| format!("{folder}/{name}").into();
            let client = Some((at("cert.pem"), at("key.pem")));
            Some(DockerTls { ca: Some(at("ca.pem")), client })
        }
        None => {
            error("with DOCKER_TLS_VERIFY, DOCKER_CERT_PATH must be an absolute path".to_owned());
            None
        }
    }
}

/// Whoever reaches Docker's API without a proxy that filters is root on its host.
fn judge(host: &DockerHost, error: &dyn Fn(String), warning: &dyn Fn(String)) {
    let DockerHost::Tcp(tcp) = host else { return };
    match (tcp.exposure(), &tcp.tls) {
        (Exposure::Loopback | Exposure::Container, _) | (Exposure::Network, Some(_)) => (),
        (Exposure::Network, None) => warning(format!(
            "{host} is without TLS, and whoever is in that network may control Docker, which is \
             root on this host; set docker.tls, or have Docker or its proxy listen on 127.0.0.1"
        )),
        (Exposure::Internet, None) => error(format!(
            "{host} is no private address and without TLS: anybody may control Docker, which is \
             root on its host; set docker.tls, or have Docker or its proxy listen on 127.0.0.1"
        )),
        (Exposure::Internet, Some(_)) => warning(format!(
            "{host} is no private address; Docker has to run on this host, or HAProxy does not \
             reach the replicas"
        )),
    }
}
