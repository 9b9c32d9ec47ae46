//! Why Docker cannot be reached, and what to do.

use std::io::{self, ErrorKind};

use crate::http_client::tls;
use crate::model::docker_host::DockerHost;
use crate::outside::Error;

pub(super) fn unreachable_docker(host: &DockerHost, err: &ureq::Error) -> Error {
    let is_tcp = matches!(host, DockerHost::Tcp(_));
    let why = match err {
        ureq::Error::Io(err) if err.kind() == ErrorKind::PermissionDenied => {
            "permission denied (is this user in group docker?)".to_owned()
        }
        ureq::Error::Io(err) if err.kind() == ErrorKind::NotFound => {
            "no such socket (is Docker installed and running? see docker.socket)".to_owned()
        }
        ureq::Error::Io(err) if err.kind() == ErrorKind::ConnectionRefused && is_tcp => {
            "connection refused (is the proxy or Docker running? see docker.socket)".to_owned()
        }
        ureq::Error::Io(err) if err.kind() == ErrorKind::ConnectionRefused => {
            "connection refused (is Docker running?)".to_owned()
        }
        ureq::Error::Io(err) => of_tls(host, err).unwrap_or_else(|| err.to_string()),
        ureq::Error::HostNotFound => "its name has no address (see docker.socket)".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time (see docker.timeout)".to_owned(),
        err => err.to_string(),
    };
    Error::new(format!("cannot reach Docker at {host}: {why}"))
}

/// In the words of this config.
fn of_tls(host: &DockerHost, err: &io::Error) -> Option<String> {
    let has_client = matches!(host, DockerHost::Tcp(tcp)
        if tcp.tls.as_ref().is_some_and(|tls| tls.client.is_some()));
    let why = tls::fault_with(
        err,
        "set docker.tls.ca to the certificate of its CA",
        "remove docker.tls, or name Docker's TLS port in docker.socket",
    )?;
    Some(match why {
        // Which alert it is depends on the version of Docker and of TLS.
        why if why.contains("received fatal alert") && !has_client => {
            "Docker asks for a certificate of the client; set docker.tls.cert and docker.tls.key"
                .to_owned()
        }
        why if why.contains("received fatal alert") => {
            format!(
                "{why}; is docker.tls.cert signed by the CA that Docker trusts, and not expired?"
            )
        }
        why => why,
    })
}
