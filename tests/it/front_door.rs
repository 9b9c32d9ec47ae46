//! Frontends that services share, with the real HAProxy, curl and openssl: which request goes
//! where, what the replica gets, and what changes without a loss.

use serde_json::json;

use crate::certificate::{self_signed, shown_subject};
use crate::curl::{Answer, curl};
use crate::daemon::{Daemon, plimsoll, reached, secs, signal};
use crate::fake_http;
use crate::harness::{Harness, free_address};

/// Two services behind shared frontends; their ports tell `web` from `api`.
pub(crate) struct Site {
    pub(crate) harness: Harness,
    api_port: u16,
    pub(crate) http: String,
    https: String,
    pub(crate) redirect: String,
}

impl Site {
    pub(crate) fn new(name: &str) -> Site {
        let mut harness = Harness::new(name);
        let api_port = fake_http::start_app();
        let [http, https, redirect] = [free_address(), free_address(), free_address()];
        certify(&harness, "shop", "shop.example");
        let certificates = json!([harness.dir.join("shop.pem").to_str()]);
        harness.set(
            "/load_balancer/frontends",
            json!({
                "http": { "listen": http },
                "https": {
                    "listen": https, "certificates": certificates, "hsts": "180d", "default": "web",
                },
                "redirect": { "listen": redirect, "redirect": "https" },
            }),
        );
        let mut api = harness.config["services"]["web"].clone();
        api["port"] = json!(api_port);
        for service in [&mut harness.config["services"]["web"], &mut api] {
            service.as_object_mut().unwrap().remove("listen");
        }
        api["routes"] = json!([
            { "host": "api.example" },
            { "host": "*.shop.example", "path": "/api", "strip_path": true },
            { "host": "shop.example", "path": "/api/v1", "frontend": "http", "strip_path": true },
        ]);
        harness.set("/services/api", api);
        harness.set(
            "/services/web/routes",
            json!([
                { "host": "shop.example" }, { "host": "bücher.example", "path": "/" },
            ]),
        );
        Site { harness, api_port, http, https, redirect }
    }

    pub(crate) fn start(&self) -> Daemon {
        let daemon = self.harness.start();
        let both = || {
            let web = self.ask(&self.http, "http://shop.example/", &[]);
            let api = self.ask(&self.http, "http://api.example/", &[]);
            web.status == 200 && api.status == 200
        };
        assert!(reached(secs(15), both), "{:#?}", daemon.lines());
        daemon
    }

    pub(crate) fn ask(&self, frontend: &str, url: &str, args: &[&str]) -> Answer {
        curl(frontend, url, args)
    }

    /// The service of an answer, and the path that it got.
    fn reached_by(&self, answer: &Answer) -> String {
        let mut lines = answer.body.lines();
        let Some((own, line)) = lines.next().zip(lines.next()) else {
            return answer.status.to_string();
        };
        let service = if own.ends_with(&format!(":{}", self.api_port)) { "api" } else { "web" };
        format!("{service} {}", line.split(' ').nth(1).unwrap_or_default())
    }
}

/// Key and certificate in one file.
pub(crate) fn certify(harness: &Harness, name: &str, host: &str) {
    let (chain, key) = self_signed(&[host]);
    harness.dir.write(&format!("{name}.pem"), &(chain + &key));
}

#[test]
fn each_request_goes_to_the_service_of_its_route() {
    let site = Site::new("routes");
    let _daemon = site.start();
    for (frontend, url, want) in [
        (&site.http, "http://shop.example/", "web /"),
        (&site.http, "http://SHOP.example./a?b=c", "web /a?b=c"),
        (&site.http, "http://shop.example/api/v1/x?y", "api /x?y"),
        (&site.http, "http://shop.example/api/v1", "api /"),
        (&site.http, "http://shop.example/api/v1/", "api /"),
        (&site.http, "http://shop.example/api/v1//x", "api //x"),
        (&site.http, "http://shop.example/api/v10", "web /api/v10"),
        (&site.http, "http://eu.shop.example/api/x", "api /x"),
        (&site.http, "http://eu.shop.example/x", "404"),
        (&site.http, "http://a.eu.shop.example/api/x", "404"),
        (&site.http, "http://xn--bcher-kva.example/", "web /"),
        (&site.http, "http://other.example/", "404"),
        (&site.https, "https://api.example/", "api /"),
        // The route for it is another frontend's.
        (&site.https, "https://shop.example/api/v1/x", "web /api/v1/x"),
        (&site.https, "https://other.example/x", "web /x"),
    ] {
        for args in [&["--http1.1"][..], &["--http2"], &["--http2-prior-knowledge"], &["--http1.0"]]
        {
            let answer = site.ask(frontend, url, args);
            let got = site.reached_by(&answer);
            let got = if answer.status == 404 { "404".to_owned() } else { got };
            assert_eq!(got, want, "{url} {args:?}: {answer:?}");
        }
    }
}

/// The headers that the replica got, of those that proxies write.
fn forwarded(answer: &Answer) -> Vec<&str> {
    let ours = |line: &&str| {
        ["x-forwarded", "forwarded", "x-real-ip", "host:"].iter().any(|name| line.starts_with(name))
    };
    answer.body.lines().filter(ours).collect()
}

const FORGED: [&str; 12] = [
    "-H",
    "X-Forwarded-For: 6.6.6.6",
    "-H",
    "x-forwarded-proto: gopher",
    "-H",
    "X-FORWARDED-HOST: evil.example",
    "-H",
    "X-Forwarded-Prefix: /evil",
    "-H",
    "Forwarded: for=6.6.6.6",
    "-H",
    "X-Real-IP: 6.6.6.6",
];

#[test]
fn what_clients_say_of_themselves_is_believed_from_trusted_proxies_only() {
    let mut site = Site::new("forwarded");
    let daemon = site.start();
    let port = |frontend: &str| frontend.rsplit(':').next().unwrap().to_owned();
    let (http, https) = (port(&site.http), port(&site.https));
    let url = "http://eu.shop.example/api/x";
    let host = format!("host: eu.shop.example:{http}");
    let lines = |answer: &Answer| {
        let mut lines: Vec<String> = forwarded(answer).into_iter().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // curl has an address of loopback.
    let mut want = vec![
        host.clone(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        format!("x-forwarded-host: eu.shop.example:{http}"),
        format!("x-forwarded-port: {http}"),
        "x-forwarded-prefix: /api".to_owned(),
        "x-forwarded-proto: http".to_owned(),
    ];
    assert_eq!(lines(&site.ask(&site.http, url, &FORGED)), want);
    want[0] = format!("host: eu.shop.example:{https}");
    want[2] = format!("x-forwarded-host: eu.shop.example:{https}");
    want[3] = format!("x-forwarded-port: {https}");
    want[5] = "x-forwarded-proto: https".to_owned();
    assert_eq!(lines(&site.ask(&site.https, &url.replace("http", "https"), &FORGED)), want);

    site.harness.set("/load_balancer/trusted_proxies", json!(["10.0.0.0/8", "127.0.0.0/8"]));
    site.harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "load_balancer.trusted_proxies"], secs(10));
    let trusted = || lines(&site.ask(&site.http, url, &FORGED));
    let want = [
        "forwarded: for=6.6.6.6".to_owned(),
        host,
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-for: 6.6.6.6".to_owned(),
        "x-forwarded-host: evil.example".to_owned(),
        format!("x-forwarded-port: {http}"),
        "x-forwarded-prefix: /api".to_owned(),
        "x-forwarded-proto: gopher".to_owned(),
        "x-real-ip: 6.6.6.6".to_owned(),
    ];
    assert!(reached(secs(10), || trusted() == want), "{:?}", trusted());
}

#[test]
fn plain_http_is_redirected_and_https_says_for_how_long_it_is_to_be_used() {
    let site = Site::new("redirect");
    let _daemon = site.start();
    let port = site.https.rsplit(':').next().unwrap();
    for (method, args, status) in [
        ("GET", &["--http1.1"][..], 301),
        ("GET", &["--http2-prior-knowledge"], 301),
        ("HEAD", &["--head"], 301),
        ("POST", &["-d", "x"], 308),
        ("DELETE", &["-X", "DELETE"], 308),
    ] {
        let answer = site.ask(&site.redirect, "http://any.example/a%20b?c=d&e", args);
        let want = format!("https://any.example:{port}/a%20b?c=d&e");
        assert_eq!((answer.status, answer.location), (status, want), "{method}");
    }
    // A client that says no host cannot be sent anywhere.
    let nameless = site.ask(&site.redirect, "http://any.example/", &["--http1.0", "-H", "Host:"]);
    assert_eq!(nameless.status, 400, "{nameless:?}");

    let hsts = |frontend: &str, url: &str| {
        let answer = site.ask(frontend, url, &["-i"]);
        let lower = answer.body.to_ascii_lowercase();
        lower.lines().filter(|line| line.starts_with("strict-transport-security")).count()
    };
    assert_eq!(hsts(&site.https, "https://shop.example/"), 1);
    assert_eq!(hsts(&site.http, "http://shop.example/"), 0);
    let nobody = site.ask(&site.http, "http://nobody.example/", &["-i"]);
    assert!(nobody.body.contains("No service has this address"), "{nobody:?}");
}

/// The file that a connection with this name is served with, and its version of TLS.
pub(crate) fn handshake(site: &Site, args: &[&str]) -> String {
    shown_subject(&site.https, args)
}

#[test]
fn a_certificate_is_chosen_by_name_and_old_versions_are_refused() {
    let mut site = Site::new("sni");
    certify(&site.harness, "api", "api.example");
    let both = [site.harness.dir.join("shop.pem"), site.harness.dir.join("api.pem")];
    site.harness.set("/load_balancer/frontends/https/certificates", json!(both));
    let _daemon = site.start();
    for (name, want) in [
        (Some("api.example"), "CN=api.example"),
        (Some("shop.example"), "CN=shop.example"),
        (Some("other.example"), "CN=shop.example"),
        (None, "CN=shop.example"),
    ] {
        let args = name.map_or(vec!["-noservername"], |name| vec!["-servername", name]);
        assert_eq!(handshake(&site, &args), want, "{name:?}");
    }
    assert_eq!(handshake(&site, &["-tls1_2"]), "CN=shop.example");
    assert_eq!(handshake(&site, &["-tls1_3"]), "CN=shop.example");
    assert_eq!(handshake(&site, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]), "");
}

/// Requests over HTTPS, one after the other, until it is stopped; gives what failed.
struct Asker {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<(u32, Vec<String>)>,
}

impl Asker {
    fn start(frontend: &str, url: &str) -> Asker {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_over = stop.clone();
        let (frontend, url) = (frontend.to_owned(), url.to_owned());
        let thread = std::thread::spawn(move || {
            let (mut sent, mut failed) = (0, Vec::new());
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = curl(&frontend, &url, &[]);
                sent += 1;
                if answer.status != 200 {
                    failed.push(format!("{answer:?}"));
                }
            }
            (sent, failed)
        });
        Asker { stop, thread }
    }

    #[track_caller]
    fn stop(self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (sent, failed) = self.thread.join().unwrap();
        assert!(failed.is_empty() && 5 < sent, "{sent} were sent, failed: {failed:?}");
    }
}

fn haproxy_pid(site: &Site) -> String {
    std::fs::read_to_string(site.harness.dir.join("haproxy.pid")).unwrap()
}

#[test]
fn routes_change_in_the_running_haproxy() {
    let mut site = Site::new("route-change");
    let daemon = site.start();
    let pid = haproxy_pid(&site);
    let asker = Asker::start(&site.https, "https://shop.example/x");
    let new = json!([{ "host": "new.example", "path": "/api", "strip_path": true },
                     { "host": "shop.example", "path": "/api" }]);
    site.harness.set("/services/api/routes", new);
    site.harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "services.api: routes"], secs(10));
    let got = |url: &str| site.reached_by(&site.ask(&site.http, url, &[]));
    let is_new = || got("http://new.example/api/x") == "api /x";
    assert!(reached(secs(10), is_new), "{:#?}", daemon.lines());
    for (url, want) in
        [("http://shop.example/api/v1/x", "api /api/v1/x"), ("http://shop.example/x", "web /x")]
    {
        assert_eq!(got(url), want, "{url}");
    }
    let gone = site.ask(&site.http, "http://api.example/", &[]);
    assert_eq!(gone.status, 404, "{gone:?}");
    asker.stop();
    assert_eq!(haproxy_pid(&site), pid, "it was reloaded: {:#?}", daemon.lines());
    // What the next process will read is the same.
    let map = std::fs::read_to_string(site.harness.dir.join("haproxy.cfg.http.map")).unwrap();
    assert_eq!(
        map,
        "new.example/api/ api@1\nshop.example/ web\nshop.example/api/ api\n\
                     xn--bcher-kva.example/ web\n"
    );
    let bad = format!("{:#?}", daemon.lines());
    assert!(!bad.contains("update_failed") && !bad.contains("reload_failed"), "{bad}");
}

#[test]
fn a_renewed_certificate_is_served_without_a_reload_and_a_bad_one_never_is() {
    let site = Site::new("renewal");
    let daemon = site.start();
    let pid = haproxy_pid(&site);
    let asker = Asker::start(&site.https, "https://shop.example/x");
    let pem = site.harness.dir.join("shop.pem");
    let good = std::fs::read_to_string(&pem).unwrap();
    certify(&site.harness, "other", "shop.example");
    let other = std::fs::read_to_string(site.harness.dir.join("other.pem")).unwrap();
    let (certificate, _) = other.split_once("-----BEGIN PRIVATE").unwrap();
    let (_, key) = good.split_once("-----BEGIN PRIVATE").unwrap();
    for (text, why) in [
        ("", "no private key"),
        ("-----BEGIN PRIVATE KEY-----\n", "no certificate"),
        (&good[..good.len() / 4], "no private key"),
        // The key of another one.
        (&format!("{certificate}-----BEGIN PRIVATE{key}"), "its private key is that of another"),
    ] {
        let from = daemon.lines().len();
        site.harness.dir.write("shop.pem", text);
        daemon.wait_from(
            from,
            &["warn kind=certificate.rejected", why, "the one before is served"],
            secs(10),
        );
        assert_eq!(handshake(&site, &[]), "CN=shop.example", "{why}");
    }
    let said = String::from_utf8(
        plimsoll(&["status", "--socket", site.harness.dir.join("api.sock").to_str().unwrap()])
            .stdout,
    )
    .unwrap();
    assert!(said.contains("fix: correct the file"), "{said}");

    certify(&site.harness, "shop", "renewed.example");
    daemon.wait(&["info kind=certificate.rejected", "resolved"], secs(10));
    assert!(reached(secs(10), || handshake(&site, &[]) == "CN=renewed.example"));
    asker.stop();
    assert_eq!(haproxy_pid(&site), pid, "it was reloaded: {:#?}", daemon.lines());
    // The next process reads the same.
    let from = daemon.lines().len();
    let pid: u32 = pid.trim().parse().unwrap();
    signal(pid, "KILL");
    daemon.wait_from(from, &["kind=haproxy.reloaded"], secs(10));
    assert!(reached(secs(10), || handshake(&site, &[]) == "CN=renewed.example"));
}

/// What `plimsoll routes URL` says of it.
fn foretold(config: &str, url: &str) -> String {
    let out = plimsoll(&["routes", url, "--json", "--config", config]).stdout;
    let said: serde_json::Value = serde_json::from_slice(&out).unwrap();
    match said["service"].as_str() {
        Some(service) => format!("{service} {}", said["path"].as_str().unwrap()),
        None => "404".to_owned(),
    }
}

#[test]
fn haproxy_does_as_the_command_foretells() {
    let mut site = Site::new("foretold");
    let hosts = ["a.example", "*.example", "b.a.example", "*.a.example"];
    let paths = ["/", "/a", "/a/b", "/ab", "/a/b/c"];
    let mut lists = [Vec::new(), Vec::new()];
    for (at, (host, path)) in
        hosts.iter().flat_map(|host| paths.map(|path| (host, path))).enumerate()
    {
        // Some are no one's.
        let strips = at % 2 == 0;
        if at % 5 != 3 {
            let route = json!({ "host": host, "path": path, "strip_path": strips });
            lists[at % 3 / 2].push(route);
        }
    }
    let [mut web, mut api] = lists;
    web.push(json!({ "host": "shop.example" }));
    api.extend([json!({ "path": "/any" }), json!({ "host": "api.example" })]);
    site.harness.set("/services/web/routes", json!(web));
    site.harness.set("/services/api/routes", json!(api));
    let config = site.harness.dir.join("config.json").display().to_string();
    let _daemon = site.start();
    let mut seen = std::collections::BTreeMap::new();
    for host in ["a.example", "c.example", "b.a.example", "c.a.example", "example", "x.c.example"] {
        for path in ["/", "/a", "/a/", "/ab", "/abc", "/a/b", "/a//b", "/a/b/c/d?e=/f", "/any/x"] {
            let url = format!("http://{host}{path}");
            let answer = site.ask(&site.http, &url, &[]);
            let got = match answer.status {
                404 => "404".to_owned(),
                _ => site.reached_by(&answer).split('?').next().unwrap().to_owned(),
            };
            let port = site.http.rsplit(':').next().unwrap();
            let told = foretold(&config, &format!("http://{host}:{port}{path}"));
            assert_eq!(got, told, "{url}");
            *seen.entry(got.split(' ').next().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    assert!(seen.len() == 3 && seen.values().all(|count| 3 < *count), "{seen:?}");
}

/// As certbot's `--webroot` writes it, and as an ACME server asks for it.
#[test]
fn challenges_are_answered_from_the_webroot_also_while_all_else_is_redirected() {
    let mut site = Site::new("acme");
    let webroot = site.harness.dir.join("webroot");
    let folder = webroot.join(".well-known/acme-challenge");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("tok-1_A"), "tok-1_A.thumbprint").unwrap();
    std::fs::write(folder.join("long"), "x".repeat(17 << 10)).unwrap();
    let secret = site.harness.dir.write("secret", "secret");
    std::os::unix::fs::symlink(&secret, folder.join("link")).unwrap();
    std::fs::create_dir(folder.join("folder")).unwrap();
    site.harness.set("/load_balancer/acme_webroot", json!(webroot));
    let daemon = site.start();
    let url = |token: &str| format!("http://any.example/.well-known/acme-challenge/{token}");
    for frontend in [&site.http, &site.redirect] {
        for (token, want) in [
            ("tok-1_A", Some("tok-1_A.thumbprint")),
            ("absent", None),
            ("long", None),
            ("link", None),
            ("folder", None),
            ("..%2f..%2fsecret", None),
            ("a/../tok-1_A", None),
        ] {
            let answer = site.ask(frontend, &url(token), &["--path-as-is"]);
            let body = (answer.status == 200).then_some(answer.body.as_str());
            assert_eq!(body, want, "{token}: {answer:?}");
            assert!([200, 404].contains(&answer.status), "{token}: {answer:?}");
        }
    }
    // Over HTTPS it is a path like any other.
    let https = site.ask(&site.https, &url("tok-1_A").replace("http", "https"), &[]);
    assert_eq!(site.reached_by(&https), "web /.well-known/acme-challenge/tok-1_A");

    // A folder that leads out is no folder; another one is served after a reload of the config.
    std::fs::rename(&folder, site.harness.dir.join("outside")).unwrap();
    std::os::unix::fs::symlink(site.harness.dir.join("outside"), &folder).unwrap();
    assert_eq!(site.ask(&site.redirect, &url("tok-1_A"), &[]).status, 404);
    let other = site.harness.dir.join("other/.well-known/acme-challenge");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("b"), "other").unwrap();
    site.harness.set("/load_balancer/acme_webroot", json!(site.harness.dir.join("other")));
    site.harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "acme_webroot"], secs(10));
    assert_eq!(site.ask(&site.redirect, &url("b"), &[]).body, "other");
    let lines = daemon.lines();
    assert!(!lines.iter().any(|line| line.contains("WARNING")), "{lines:#?}");
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_before_the_start() {
    let site = Site::new("before");
    let config = site.harness.write().display().to_string();
    let run = |command: &[&str]| {
        let out = plimsoll(&[command, &["--config", &config]].concat());
        String::from_utf8([out.stdout, out.stderr].concat()).unwrap()
    };
    let line = |text: &str, check: &str| {
        text.lines().filter(|line| line.contains(check)).map(str::to_owned).collect::<Vec<_>>()
    };
    let doctor = run(&["doctor"]);
    let found = line(&doctor, "certificates ");
    let ends = ["ends in 29 days", "ends in 30 days"];
    let is_said = ends.iter().any(|end| found.iter().any(|line| line.contains(end)));
    assert!(found.len() == 1 && is_said, "{doctor}");

    site.harness.dir.write("shop.pem", "nothing");
    let doctor = run(&["doctor"]);
    assert!(doctor.contains("correct the file, or `certificates`"), "{doctor}");
    let found = line(&doctor, "shop.pem: it has no private key");
    assert!(found.len() == 1 && found[0].starts_with("fails    certificates"), "{doctor}");
    let live = run(&["check", "--live"]);
    assert_eq!(line(&live, "shop.pem: it has no private key").len(), 1, "{live}");
}

#[test]
fn a_slip_in_the_config_does_not_close_a_frontend() {
    let mut site = Site::new("slip");
    let daemon = site.start();
    let wrong = [site.harness.dir.join("shp.pem")];
    site.harness.set("/load_balancer/frontends/https/certificates", json!(wrong));
    site.harness.write();
    daemon.signal("HUP");
    daemon.wait(&["warn kind=certificate.rejected", "shp.pem"], secs(10));
    assert_eq!(handshake(&site, &[]), "CN=shop.example");
    // Nor does it after a restart of everything.
    daemon.kill();
    signal(haproxy_pid(&site).trim().parse().unwrap(), "KILL");
    let _daemon = site.start();
    assert_eq!(handshake(&site, &[]), "CN=shop.example");
}
