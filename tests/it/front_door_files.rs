//! Files beside HAProxy's config and sockets beside its own: copies of certificates, and where ACME
//! challenges are answered.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::daemon::{reached, secs};
use crate::front_door::{Site, certify, handshake};

const CHALLENGE: &str = "http://any.example/.well-known/acme-challenge/tok";

/// As an ACME client does: `tok.thumbprint` is what stands at `CHALLENGE`.
fn put_challenge(site: &mut Site) {
    let webroot = site.harness.dir.join("webroot");
    let folder = webroot.join(".well-known/acme-challenge");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("tok"), "tok.thumbprint").unwrap();
    site.harness.set("/load_balancer/acme_webroot", json!(webroot));
}

/// Of the way of its socket HAProxy takes 97 bytes.
#[test]
fn challenges_are_answered_to_an_haproxy_that_sees_no_files() {
    for case in ["jail", "long", "closed"] {
        let mut site = Site::new(case);
        let dir = site.harness.dir.path().to_owned();
        match case {
            "jail" => {
                let jail = site.harness.dir.join("jail");
                std::fs::create_dir(&jail).unwrap();
                let text = format!("global\n  chroot {}\n", jail.display());
                let base = site.harness.dir.write("base.cfg", &text);
                site.harness.set("/load_balancer/base_config", json!(base));
            }
            "long" => {
                let name = "s".repeat(96 - dir.as_os_str().len());
                site.harness.set("/load_balancer/socket", json!(dir.join(name)));
            }
            _ => std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap(),
        }
        put_challenge(&mut site);
        let _daemon = site.start();
        assert_eq!(site.ask(&site.redirect, CHALLENGE, &[]).body, "tok.thumbprint", "{case}");
    }
}

#[test]
fn challenges_are_answered_once_the_socket_is_free() {
    let mut site = Site::new("taken");
    put_challenge(&mut site);
    site.harness.write();
    let config = &site.harness.config["load_balancer"]["socket"];
    let socket = format!("{}.acme", config.as_str().unwrap());
    let other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let daemon = site.start();
    daemon.wait(&["warn", "cannot answer ACME challenges at", &socket, "in use"], secs(5));
    drop(other);
    daemon.wait(&["info", "ACME challenges are answered"], secs(10));
    assert_eq!(site.ask(&site.http, CHALLENGE, &[]).body, "tok.thumbprint");
}

/// Names of HAProxy's copies and lists of certificates.
fn copies(site: &Site) -> Vec<String> {
    let entries = std::fs::read_dir(site.harness.dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_copy = |name: &String| {
        name.starts_with("haproxy.cfg.") && (name.ends_with(".pem") || name.ends_with(".crt-list"))
    };
    names.filter(is_copy).collect()
}

#[test]
fn keys_that_the_config_no_longer_names_are_deleted() {
    let mut site = Site::new("copies");
    certify(&site.harness, "api", "api.example");
    let [shop, api] = ["shop.pem", "api.pem"].map(|name| site.harness.dir.join(name));
    let key = "/load_balancer/frontends/https/certificates";
    site.harness.set(key, json!([shop, api]));
    let daemon = site.start();
    let own = site.harness.dir.write("haproxy.cfg.pem", "the operator's own");
    assert_eq!(copies(&site).len(), 4, "{:?}", copies(&site));
    site.harness.set(key, json!([api]));
    site.harness.write();
    daemon.signal("HUP");
    assert!(reached(secs(10), || handshake(&site, &[]) == "CN=api.example"));
    assert!(reached(secs(5), || copies(&site).len() == 3), "{:?}", copies(&site));
    let frontends = site.harness.config["load_balancer"]["frontends"].as_object_mut().unwrap();
    frontends.remove("https");
    frontends.remove("redirect");
    site.harness.config["services"]["api"].as_object_mut().unwrap().remove("routes");
    site.harness.write();
    daemon.signal("HUP");
    assert!(reached(secs(10), || copies(&site).len() == 1), "{:?}", copies(&site));
    assert!(own.exists() && shop.exists() && api.exists());
}
