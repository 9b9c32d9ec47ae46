//! Renders the frontends that services share. Which request goes to which service is a map file
//! beside HAProxy's config, which a running HAProxy takes changes of; the config has the same
//! routes in comments, so that one text says everything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::haproxy::quoting::daemon_address;
use crate::haproxy::{files, policy, wake};
use crate::model::front_door::{ACME_PATH, Frontend, abstract_acme_socket, acme_socket};
use crate::model::proxy::{Backend, Routes};
use crate::model::route::STRIP_SEGMENTS_MAX;

/// The default of `timeouts.client`.
const CLIENT: Duration = Duration::from_secs(60);

/// Begins the comment before the routes of a map.
const MAP: &str = "    # map ";
/// Begins the comment of a route.
const ROUTE: &str = "    # route ";
/// Between a service and the number of segments that it does not get. No service's name has it.
const STRIP: char = '@';

/// Mozilla's "intermediate" list for TLS 1.2; all of TLS 1.3's are good.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                       ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                       ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/// Not a valid service name.
const ACME_BACKEND: &str = "_acme";

const HSTS: &str = "Strict-Transport-Security";

/// In one line; HAProxy takes 64 words.
const NAMES_MAX: usize = 40;

/// What a client gets that no service is for.
const NOT_FOUND: &str = "<!doctype html><title>404 Not Found</title><h1>404 Not Found</h1>\
                         <p>No service has this address.</p>";

/// The first line of a frontend. No service's name begins with `_`.
pub(crate) fn head(name: &str) -> String {
    format!("frontend _{name}")
}

fn map_file(config: &Path, frontend: &str) -> PathBuf {
    files::beside(config, &format!("{frontend}.map"))
}

pub(crate) fn crt_list(config: &Path, frontend: &str) -> PathBuf {
    files::beside(config, &format!("{frontend}.crt-list"))
}

/// What all shared frontends have in common.
pub(crate) struct SharedSettings<'a> {
    /// The config that HAProxy reads.
    pub(crate) config: &'a Path,
    pub(crate) routes: &'a Routes,
    /// Backends whose GETs pass HAProxy twice.
    pub(crate) safe: Vec<&'a str>,
    /// Of connections to each.
    pub(crate) limit: Option<u32>,
}

impl SharedSettings<'_> {
    pub(crate) fn render(&self, frontend: &Frontend, out: &mut String) {
        let _ = write!(out, "\n{}\n    bind {}", head(&frontend.name), frontend.listen);
        if frontend.is_tls() {
            let list = crt_list(self.config, &frontend.name);
            let alpn = if frontend.http2 { "h2,http/1.1" } else { "http/1.1" };
            let _ = write!(
                out,
                " ssl crt-list {} alpn {alpn} ssl-min-ver TLSv1.2 ciphers {CIPHERS}",
                list.display()
            );
        }
        out.push('\n');
        if let Some(limit) = self.limit {
            let _ = writeln!(out, "    maxconn {limit}");
        }
        // One frontend has one, so it is the longest.
        let clients = self.routes.backends.iter().filter_map(|b| b.policy.timeouts.client);
        policy::timeout("client", clients.max().map(|span| span.max(CLIENT)), out);
        let is_acme = self.routes.front_door.acme_webroot.is_some() && !frontend.is_tls();
        if is_acme {
            let _ = writeln!(out, "    acl acme path_beg {ACME_PATH}");
        }
        if frontend.redirects {
            self.redirect(is_acme, out);
            render_acme_route(is_acme, out);
            return;
        }
        let _ = writeln!(out, "{MAP}{}", map_file(self.config, &frontend.name).display());
        for (key, target) in entries(self.routes, frontend) {
            let _ = writeln!(out, "{ROUTE}{key} {target}");
        }
        self.forwarded(frontend, out);
        self.choose(frontend, out);
        self.send(frontend, is_acme, out);
    }

    /// Where the daemon answers. `socket` is HAProxy's.
    pub(crate) fn render_acme(&self, socket: &Path, sees_files: bool, out: &mut String) {
        if self.routes.front_door.acme_webroot.is_none() {
            return;
        }
        let (file, name) = (acme_socket(socket), abstract_acme_socket(socket));
        let address = daemon_address(&file, &name, sees_files);
        let _ = write!(
            out,
            "\nbackend {ACME_BACKEND}\n    timeout server 5s\n    server daemon {address}\n"
        );
    }

    /// Without a host there is nowhere to send the client to. `METH_GET` is GET and HEAD.
    fn redirect(&self, is_acme: bool, out: &mut String) {
        let (or_acme, and_not, unless) =
            if is_acme { (" or acme", " !acme", " unless acme") } else { ("", "", "") };
        let port = self.routes.front_door.https_suffix();
        let location =
            format!("location 'https://%[req.hdr(host),regsub(:[0-9]+$,)]{port}%[pathq]'");
        let _ = write!(
            out,
            "    http-request deny deny_status 400 unless {{ req.hdr(host) -m found }}{or_acme}\n\
             \x20   http-request redirect {location} code 301 if METH_GET{and_not}\n    \
             http-request redirect {location} code 308{unless}\n"
        );
    }

    /// What a client says of itself is believed from trusted proxies only.
    fn forwarded(&self, frontend: &Frontend, out: &mut String) {
        let trusted = &self.routes.front_door.trusted_proxies;
        for network in trusted {
            let _ = writeln!(out, "    acl trusted src {network}");
        }
        let unless = if trusted.is_empty() { "" } else { " unless trusted" };
        if !trusted.is_empty() {
            out.push_str(
                "    http-request set-var(txn.client) req.hdr_ip(X-Forwarded-For,-1) \
                 if trusted { req.hdr(X-Forwarded-For) -m found }\n",
            );
        }
        for header in ["X-Forwarded- -m beg", "Forwarded", "X-Real-IP"] {
            let _ = writeln!(out, "    http-request del-header {header}{unless}");
        }
        let scheme = if frontend.is_tls() { "https" } else { "http" };
        for (header, value) in
            [("Proto", scheme), ("Host", "%[req.hdr(host)]"), ("Port", "%[dst_port]")]
        {
            let name = format!("X-Forwarded-{header}");
            let unless = if trusted.is_empty() {
                String::new()
            } else {
                format!(" unless {{ req.hdr({name}) -m found }}")
            };
            let _ = writeln!(out, "    http-request set-header {name} {value}{unless}");
        }
    }

    /// Sets the variables `backend` and, for a path that the replica does not get, `strip`.
    fn choose(&self, frontend: &Frontend, out: &mut String) {
        let map = map_file(self.config, &frontend.name);
        let map = map.display();
        let set = "    http-request set-var";
        let _ = write!(
            out,
            "{set}(txn.host) req.hdr(host),field(1,:),lower\n\
             {set}(txn.host) var(txn.host),regsub(\\.$,) if {{ var(txn.host) -m end . }}\n\
             {set}(txn.path) path,concat(/)\n\
             {set}(txn.route) var(txn.host),concat(,txn.path),map_beg({map})\n\
             {set}(txn.domain) var(txn.host),field(2,.,0) unless {{ var(txn.route) -m found }}\n"
        );
        for host in ["*.),concat(,txn.domain", "*"] {
            let _ = writeln!(
                out,
                "{set}(txn.route) str({host}),concat(,txn.path),map_beg({map}) \
                 unless {{ var(txn.route) -m found }}"
            );
        }
        let _ = writeln!(out, "{set}(txn.backend) var(txn.route),field(1,{STRIP})");
        if !self.routes.strips() {
            return;
        }
        let _ = writeln!(out, "{set}(txn.strip) var(txn.route),field(2,{STRIP})");
        for count in 1..=STRIP_SEGMENTS_MAX {
            let rest = count + 2;
            let _ = write!(
                out,
                "    http-request set-header X-Forwarded-Prefix /%[path,field(2,/,{count})] \
                 if {{ var(txn.strip) -m str {count} }}\n    \
                 http-request set-path /%[path,field({rest},/,0)] \
                 if {{ var(txn.strip) -m str {count} }}\n"
            );
        }
    }

    fn send(&self, frontend: &Frontend, is_acme: bool, out: &mut String) {
        let default = frontend.default.as_ref();
        let backends = &self.routes.backends;
        let default = backends.iter().map(|b| &b.service).find(|name| Some(*name) == default);
        let or_acme = if is_acme { " or acme" } else { "" };
        let _ = match default {
            Some(name) => writeln!(
                out,
                "    http-request set-var(txn.backend) str({name}) \
                 unless {{ var(txn.backend) -m found }}"
            ),
            None => writeln!(
                out,
                "    http-request return status 404 content-type text/html string '{NOT_FOUND}' \
                 unless {{ var(txn.backend) -m found }}{or_acme}"
            ),
        };
        if let Some(age) = frontend.hsts {
            self.hsts(age, out);
        }
        render_acme_route(is_acme, out);
        for backend in backends.iter().filter(|backend| wake::page(backend).is_some()) {
            let name = backend.service.as_str();
            let gets_page = wake::gets_page(name);
            let _ = writeln!(
                out,
                "    use_backend {name}:page if {{ var(txn.backend) -m str {name} }} {gets_page}"
            );
        }
        for names in self.safe.chunks(NAMES_MAX) {
            let safe = names.join(" ");
            let _ = writeln!(
                out,
                "    use_backend %[var(txn.backend)]:first \
                 if METH_GET {{ var(txn.backend) -m str {safe} }}"
            );
        }
        out.push_str("    use_backend %[var(txn.backend)]\n");
    }

    /// What an app or the config of its service says goes before.
    fn hsts(&self, age: Duration, out: &mut String) {
        let removes = |b: &&Backend| {
            let headers = &b.policy.response_headers;
            headers.iter().any(|(name, value)| name.eq_ignore_ascii_case(HSTS) && value.is_none())
        };
        let without = self.routes.backends.iter().filter(removes).map(|b| b.service.as_str());
        let without: Vec<&str> = without.collect();
        for names in without.chunks(NAMES_MAX) {
            let _ = writeln!(out, "    acl no_hsts var(txn.backend) -m str {}", names.join(" "));
        }
        let or_without = if without.is_empty() { "" } else { " or no_hsts" };
        let _ = writeln!(
            out,
            "    http-after-response set-header {HSTS} max-age={} \
             unless {{ res.hdr({HSTS}) -m found }}{or_without}",
            age.as_secs()
        );
    }
}

fn render_acme_route(is_acme: bool, out: &mut String) {
    if is_acme {
        let _ = writeln!(out, "    use_backend {ACME_BACKEND} if acme");
    }
}

/// The lines of a frontend's map.
fn entries(routes: &Routes, frontend: &Frontend) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    for backend in &routes.backends {
        for route in backend.routes.iter().filter(|route| frontend.has(route)) {
            let service = backend.service.as_str();
            let target = match route.stripped() {
                0 => service.to_owned(),
                count => format!("{service}{STRIP}{count}"),
            };
            entries.insert(route.key(), target);
        }
    }
    entries
}

/// The map files of a text that we rendered, each with its content.
pub(crate) fn maps(text: &str) -> Vec<(PathBuf, String)> {
    let mut maps: Vec<(PathBuf, String)> = Vec::new();
    for line in text.lines() {
        if let Some(file) = line.strip_prefix(MAP) {
            maps.push((PathBuf::from(file), String::new()));
        } else if let (Some(entry), Some((_, content))) =
            (line.strip_prefix(ROUTE), maps.last_mut())
        {
            content.push_str(entry);
            content.push('\n');
        }
    }
    maps
}
