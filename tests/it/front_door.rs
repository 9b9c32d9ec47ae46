//! Frontends that services share, with the real HAProxy, curl and openssl: which request goes where,
//! what the replica gets, and what changes without a loss.

use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::{Daemon, reached, secs};
use crate::fake_http;
use crate::harness::{Harness, free_address};

/// What curl got: the status, and the body or the `Location`.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    location: String,
    body: String,
}

/// Two services behind shared frontends; `web` and `api` are told apart by their ports.
struct Site {
    harness: Harness,
    api_port: u16,
    http: String,
    https: String,
    redirect: String,
}

impl Site {
    fn new(name: &str) -> Site {
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

    fn start(&self) -> Daemon {
        let daemon = self.harness.start();
        let both = || {
            let web = self.ask(&self.http, "http://shop.example/", &[]);
            let api = self.ask(&self.http, "http://api.example/", &[]);
            web.status == 200 && api.status == 200
        };
        assert!(reached(secs(15), both), "{:#?}", daemon.lines());
        daemon
    }

    /// `url` names no port: that is the frontend's.
    fn ask(&self, frontend: &str, url: &str, args: &[&str]) -> Answer {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let (address, port) = frontend.split_once(':').unwrap();
        let resolve = format!("{host}:{port}:{address}");
        let url = format!("{scheme}://{host}:{port}/{path}");
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "10", "--noproxy", "*", "--resolve", &resolve]);
        curl.args(["-w", "\n%{http_code} %{redirect_url}"]).args(args).arg(url);
        let out = String::from_utf8(curl.output().unwrap().stdout).unwrap();
        let (body, last) = out.rsplit_once('\n').unwrap();
        let (status, location) = last.split_once(' ').unwrap();
        let (location, body) = (location.to_owned(), body.to_owned());
        Answer { status: status.parse().unwrap(), location, body }
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
fn certify(harness: &Harness, name: &str, host: &str) {
    let at = |ending: &str| harness.dir.join(&format!("{name}.{ending}")).display().to_string();
    let (key, pem) = (at("key"), at("pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "30", "-subj", &format!("/CN={host}"), "-addext"]);
    openssl.arg(format!("subjectAltName=DNS:{host}")).args(["-keyout", &key, "-out", &pem]);
    assert!(openssl.output().unwrap().status.success());
    let both = std::fs::read_to_string(&pem).unwrap() + &std::fs::read_to_string(&key).unwrap();
    harness.dir.write(&format!("{name}.pem"), &both);
    std::fs::remove_file(key).unwrap();
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
