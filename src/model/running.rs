//! A container of anybody's that runs, as far as another could be made from it.

use crate::model::container_options::ContainerOptions;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) name: String,
    /// Project and service, when docker compose made it.
    pub(crate) compose: Option<(String, String)>,
    pub(crate) image: String,
    pub(crate) ports: Vec<Port>,
    /// Without what the image brings.
    pub(crate) environment: Vec<(String, String)>,
    /// Empty: the image's own.
    pub(crate) command: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) networks: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) restart: Option<String>,
    pub(crate) nano_cpus: Option<u64>,
    pub(crate) memory: Option<u64>,
    pub(crate) options: ContainerOptions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) inside: u16,
    /// `address:port` of the host.
    pub(crate) outside: Option<String>,
}
