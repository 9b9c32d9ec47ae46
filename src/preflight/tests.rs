//! Whatever config is good, HAProxy accepts what is rendered of it: tried on made-up configs, with
//! the host's HAProxy and a newer one.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::properties;
use crate::docker::Docker;
use crate::haproxy::Haproxy;
use crate::model::config::{Config, ProxyConfig, ProxyMode};
use crate::model::proxy::{Backend, Routes, Server};
use crate::model::service::Service;

const CONFIGS: u64 = 120;
const BINARIES: [&str; 2] =
    ["/usr/sbin/haproxy", "/var/cache/plimsoll/haproxy-3.0/usr/sbin/haproxy"];

/// With two servers each, and with this certificate.
fn routes(config: &Config, pem: &Path) -> Routes {
    let backend = |service: &Service| {
        let server = |n: u8| Server {
            name: service.replica_name(u32::from(n)),
            address: SocketAddr::from(([127, 0, 0, n], 80)),
            draining: false,
        };
        Backend::of(service, (1..=2).map(server).collect())
    };
    let backends = config.services.values().map(|service| backend(service)).collect();
    let mut front_door = config.front_door.clone();
    for frontend in front_door.frontends.iter_mut().filter(|frontend| frontend.is_tls()) {
        frontend.certificates = vec![pem.to_owned()];
    }
    Routes { front_door, backends }
}

/// Key and certificate in one file.
fn certify(dir: &Path) -> PathBuf {
    let (key, pem) = (dir.join("key"), dir.join("pem"));
    let mut openssl = Command::new("openssl");
    openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '));
    openssl.args(["-subj", "/CN=a", "-keyout"]).arg(&key).arg("-out").arg(&pem);
    assert!(openssl.output().unwrap().status.success());
    let both = fs::read_to_string(&pem).unwrap() + &fs::read_to_string(&key).unwrap();
    fs::write(&pem, both).unwrap();
    pem
}

#[test]
fn haproxy_accepts_what_is_rendered_of_any_good_config() {
    let dir = std::env::temp_dir().join(format!("plimsoll-accepted-{}", process::id()));
    fs::create_dir(&dir).unwrap();
    let pem = certify(&dir);
    let mut frontends = 0;
    for seed in 0..CONFIGS {
        let config = properties::config(seed);
        let routes = routes(&config, &pem);
        frontends += routes.front_door.frontends.len();
        for binary in BINARIES {
            let proxy = ProxyConfig {
                mode: ProxyMode::Process,
                binary: binary.into(),
                config: dir.join("running.cfg"),
                socket: dir.join("socket"),
                pid_file: dir.join("pid"),
                certificate: config.fixed.proxy.certificate.as_ref().map(|_| pem.clone()),
                base_config: None,
                ..config.fixed.proxy.clone()
            };
            let clock = Arc::new(SystemClock::new());
            let engine = Arc::new(Docker::new(&config.fixed.docker, clock.clone()));
            let errors = Haproxy::new(&proxy, clock, engine).dry_run(&routes, &dir);
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            // Whether this host has the ports is another question.
            let refused = errors.iter().find(|error| !error.contains("cannot bind"));
            let text = fs::read_to_string(dir.join("haproxy.cfg.new")).unwrap_or_default();
            assert_eq!(refused, None, "seed {seed}, {binary}:\n{text}");
        }
    }
    assert!(20 < frontends, "{frontends}");
    fs::remove_dir_all(&dir).unwrap();
}
