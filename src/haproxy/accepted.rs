//! Whatever config is good, HAProxy accepts what is rendered of it: tried on made-up configs, with
//! the host's HAProxy and a newer one.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use crate::config::properties;
use crate::haproxy::{front_door, map_files, render};
use crate::model::config::{Config, ProxyConfig};
use crate::model::proxy::{Backend, Routes, Server};
use crate::model::service::Service;

const CONFIGS: u64 = 120;
const BINARIES: [&str; 2] =
    ["/usr/sbin/haproxy", "/var/cache/plimsoll/haproxy-3.0/usr/sbin/haproxy"];

fn routes(config: &Config) -> Routes {
    let backend = |service: &Service| {
        let server = |n: u8| Server {
            name: service.replica_name(u32::from(n)),
            address: SocketAddr::from(([127, 0, 0, n], 80)),
            draining: false,
        };
        Backend::of(service, (1..=2).map(server).collect())
    };
    let backends = config.services.values().map(|service| backend(service)).collect();
    Routes { front_door: config.front_door.clone(), backends }
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
    let mut with_frontends = 0;
    for seed in 0..CONFIGS {
        let config = properties::config(seed);
        let proxy = ProxyConfig {
            config: dir.join("haproxy.cfg"),
            socket: dir.join("socket"),
            certificate: config.fixed.proxy.certificate.as_ref().map(|_| pem.clone()),
            base_config: None,
            ..config.fixed.proxy.clone()
        };
        let routes = routes(&config);
        let text = render::render(&proxy, &dir.join("state"), false, "", &routes);
        map_files::create_missing(&text, 0o600).unwrap();
        map_files::write(&text, 0o600).unwrap();
        for frontend in &routes.front_door.frontends {
            with_frontends += 1;
            let list = front_door::crt_list(&proxy.config, &frontend.name);
            fs::write(list, format!("{}\n", pem.display())).unwrap();
        }
        fs::write(&proxy.config, &text).unwrap();
        for binary in BINARIES {
            let out = Command::new(binary).arg("-c").arg("-f").arg(&proxy.config).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "seed {seed}, {binary}: {said}\n{text}");
        }
    }
    assert!(20 < with_frontends, "{with_frontends}");
    fs::remove_dir_all(&dir).unwrap();
}
