//! Checks of the operator's base config that `haproxy -c` does not make. Otherwise HAProxy would
//! fail after it asked the old process to pause its listeners, which clients notice.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::haproxy::{Haproxy, identity, proc_net};
use crate::model::config::{HAPROXY_SOCKET_MAX, ProxyMode};
use crate::model::front_door::acme_socket;
use crate::outside::{Error, Result};
use crate::regular_file;

impl Haproxy {
    /// Whether HAProxy can connect to a socket beside its own: no `chroot`, folders that its
    /// account may enter, and a path that it takes. Which config a unit of systemd's reads beside
    /// ours is not known.
    pub(crate) fn sees_files(&self) -> bool {
        let path = acme_socket(&self.config.socket);
        let is_open = match self.config.mode {
            ProxyMode::Process => identity::own_uid() != Some(0) || may_enter(&path),
            ProxyMode::Container(_) => true,
            ProxyMode::Systemd(_) | ProxyMode::None => false,
        };
        let base = self.config.base_config.as_deref();
        let text = base.map(|base| regular_file::text(base).unwrap_or_default());
        let is_jail = |line: &str| line.trim_start().starts_with("chroot");
        is_open
            && path.as_os_str().len() <= HAPROXY_SOCKET_MAX
            && text.is_none_or(|text| !text.lines().any(is_jail))
    }

    /// To be called before the old process is asked to finish.
    pub(crate) fn check_base_config(&self) -> Result<()> {
        let Some(base) = &self.config.base_config else { return Ok(()) };
        match self.config.mode {
            ProxyMode::Process | ProxyMode::Systemd(_) => (),
            // It may have other files and another network than plimsoll.
            ProxyMode::Container(_) | ProxyMode::None => return Ok(()),
        }
        // HAProxy itself reports a file that cannot be read.
        let text = regular_file::text(base).unwrap_or_default();
        let cannot = |what: String, err| {
            Error::caused(format!("haproxy: cannot {what} (see {})", base.display()), err)
        };
        // HAProxy may have permissions that plimsoll lacks, so only certain failures count.
        if let Some(jail) = chroot(&text)
            && let Err(err) = fs::metadata(jail)
            && err.kind() == ErrorKind::NotFound
        {
            return Err(cannot(format!("chroot to {jail}"), err));
        }
        let listeners = binds(&text);
        if listeners.is_empty() {
            return Ok(());
        }
        let serving = self.socket.pid().ok();
        let pids: BTreeSet<u32> = self.all_pids().into_iter().chain(serving).collect();
        // If the listeners cannot be read, HAProxy finds out by itself.
        let Ok(held) = proc_net::listening(&pids) else { return Ok(()) };
        for address in listeners.into_iter().filter(|a| !held.contains(&a.port())) {
            if let Err(err) = TcpListener::bind(address)
                && matches!(err.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
            {
                return Err(cannot(format!("bind {address}"), err));
            }
        }
        Ok(())
    }
}

/// Whether every account may enter the folders above a file.
fn may_enter(path: &Path) -> bool {
    let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    let mut modes = folders.map(|folder| fs::metadata(folder).map(|meta| meta.mode()));
    modes.all(|mode| mode.is_ok_and(|mode| mode & 0o001 != 0))
}

/// The directory of the last `chroot` line. Variables and other expressions are left to HAProxy.
fn chroot(text: &str) -> Option<&str> {
    let jail = text.lines().rev().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "chroot").and_then(|_| words.next())
    });
    let jail = jail?.trim_matches(['"', '\'']);
    (jail.starts_with('/') && !jail.contains(['$', '\\', '"', '\''])).then_some(jail)
}

/// Numeric addresses of `bind` lines. Other sockets, port ranges, names, variables, and addresses
/// bound to an interface or a namespace are left to HAProxy.
pub(crate) fn binds(text: &str) -> Vec<SocketAddr> {
    let plain = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let special = ["interface", "namespace", "transparent"];
        let is_bind = words.first() == Some(&"bind") && !special.iter().any(|w| words.contains(w));
        words.get(1).filter(|_| is_bind).map(|places| (*places).to_owned())
    };
    let places: Vec<String> = text.lines().filter_map(plain).collect();
    places.iter().flat_map(|places| places.split(',')).filter_map(address).collect()
}

fn address(place: &str) -> Option<SocketAddr> {
    let (ip, port) = place.rsplit_once(':')?;
    let ip = ip.strip_prefix("ipv4@").or(ip.strip_prefix("ipv6@")).unwrap_or(ip);
    let ip = match ip.trim_start_matches('[').trim_end_matches(']') {
        "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "::" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        other => other.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use crate::haproxy::base_config::{binds, chroot};

    #[test]
    fn a_chroot_is_found_where_it_is_plain() {
        for (text, jail) in [
            ("global\n  chroot /var/lib/haproxy\n  daemon\n", Some("/var/lib/haproxy")),
            ("global\n\tchroot  '/srv/jail' # why\n", Some("/srv/jail")),
            ("chroot /a\nchroot \"/b\"\n", Some("/b")),
            ("# chroot /a\n  server chroot /a\n  chroot\n", None),
            ("chroot \"$JAIL\"\nchroot relative\n", None),
            ("", None),
        ] {
            assert_eq!(chroot(text), jail, "{text}");
        }
    }

    #[test]
    fn an_address_is_tried_where_it_is_plain() {
        for (line, found) in [
            ("  bind :80", vec!["0.0.0.0:80"]),
            ("\tbind *:80 v4v6 name x", vec!["0.0.0.0:80"]),
            ("bind 10.0.0.1:80,[::1]:443 ssl crt /a.pem", vec!["10.0.0.1:80", "[::1]:443"]),
            ("bind :::80", vec!["[::]:80"]),
            ("bind ipv4@127.0.0.1:8404", vec!["127.0.0.1:8404"]),
            ("bind unix@/run/x.sock mode 600", vec![]),
            ("bind /run/x.sock", vec![]),
            ("bind :8000-8010", vec![]),
            ("bind \"${ADDRESS}\":80", vec![]),
            ("bind web.example:80", vec![]),
            ("bind :80 interface eth1", vec![]),
            ("# bind :80", vec![]),
            ("server bind :80", vec![]),
            ("bind", vec![]),
        ] {
            let shown: Vec<String> = binds(line).iter().map(ToString::to_string).collect();
            assert_eq!(shown, found, "{line}");
        }
    }
}
