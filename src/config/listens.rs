//! Addresses that HAProxy is to open, each for one service or frontend.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::cursor::Node;
use crate::config::values::port;
use crate::model::config::Config;
use crate::model::service::Listen;

/// The key of the config that has each port and address.
#[derive(Clone, Default)]
pub(crate) struct Listens {
    /// An address of `None` is every address and sorts first.
    taken: BTreeMap<(u16, Option<IpAddr>), String>,
    /// `api.listen`.
    api: Option<SocketAddr>,
}

impl Listens {
    pub(crate) fn new(api: Option<SocketAddr>) -> Listens {
        Listens { taken: BTreeMap::new(), api }
    }

    /// Those of a config that was read.
    pub(crate) fn of(config: &Config) -> Listens {
        let mut listens = Listens::new(config.fixed.api.listen);
        for frontend in &config.front_door.frontends {
            listens.take(&frontend.listen, &format!("load_balancer.frontends.{}", frontend.name));
        }
        for service in config.services.values() {
            let owner = format!("services.{}", service.name);
            service.listen.iter().for_each(|listen| listens.take(listen, &owner));
        }
        listens
    }

    /// Reads the address of `owner`, and reports one that somebody else has.
    pub(crate) fn read(&mut self, node: &Node, owner: &str) -> Option<Listen> {
        let listen = listen(node)?;
        if let Some(other) = self.other(&listen) {
            node.error(format!("{listen} is already used by {other}"));
        }
        if let Some(api) = self.api.filter(|api| collide(*api, &listen)) {
            node.warning(format!("{api} is also api.listen: only one of the two can be opened"));
        }
        self.take(&listen, owner);
        Some(listen)
    }

    pub(crate) fn take(&mut self, listen: &Listen, owner: &str) {
        let place = (listen.port, listen.address);
        self.taken.entry(place).or_insert_with(|| owner.to_owned());
    }

    /// Who already uses the port on this address, or on every address.
    pub(crate) fn other(&self, listen: &Listen) -> Option<&String> {
        let everywhere = (listen.port, None);
        if listen.address.is_some() {
            let place = (listen.port, listen.address);
            return self.taken.get(&everywhere).or_else(|| self.taken.get(&place));
        }
        let (place, name) = self.taken.range(everywhere..).next()?;
        (place.0 == listen.port).then_some(name)
    }
}

/// A port, or `address:port`.
fn listen(node: &Node) -> Option<Listen> {
    let everywhere = |port| Listen { address: None, port };
    let Some(text) = node.string.as_deref() else {
        return port(node).map(everywhere);
    };
    let digits = text.strip_prefix(':').unwrap_or(text);
    if digits.bytes().all(|b| b.is_ascii_digit())
        && let Some(port) = digits.parse().ok().filter(|port| *port != 0)
    {
        return Some(everywhere(port));
    }
    let address = text.parse::<SocketAddr>().ok().filter(|a| a.port() != 0);
    match address {
        Some(address) => Some(Listen { address: Some(address.ip()), port: address.port() }),
        None => node.wrong(r#"a port like 80, or an address and port like "127.0.0.1:80""#),
    }
}

fn collide(api: SocketAddr, listen: &Listen) -> bool {
    let is_same = |ip: IpAddr| ip == api.ip() || ip.is_unspecified() || api.ip().is_unspecified();
    api.port() == listen.port && listen.address.is_none_or(is_same)
}
