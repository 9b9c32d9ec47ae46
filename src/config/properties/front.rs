//! The front door, and how each service's requests are treated, made up from a seed.

use crate::config::properties::Random;
use crate::config::properties::valid::{
    HOUR, Keys, SECOND, Spec, any_text, default, flag, list, ms, number, one_of, span, text,
};

const DAY: u64 = 24 * HOUR;
const NETWORKS: [&str; 4] = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"];
const HEADERS: [&str; 3] = ["X-Env", "a!#$%&'*+.^_`|~9", "Strict-Transport-Security"];

/// Two, whose ports no service has.
pub(super) fn frontends(random: &mut Random) -> Spec {
    let redirects = random.one_in(2);
    let mut plain = Keys::new(random);
    plain.need("listen", |_| Spec::Either(vec![number(2), text("2"), text(":2")]));
    if redirects {
        plain.need("redirect", |_| text("https"));
    }
    let plain = plain.done();
    let mut tls = Keys::new(random);
    tls.need("listen", |_| text("127.0.0.1:3"));
    tls.need("certificates", |_| Spec::List(vec![text("/etc/a b.pem"), text("/é")]));
    tls.or("http2", Spec::Bool(true), flag);
    tls.may("hsts", |r| span(r, SECOND, 3660 * DAY));
    let tls = tls.done();
    Spec::Object(vec![("0-plain".to_owned(), plain), ("tls".to_owned(), tls)])
}

pub(super) fn trusted_proxies(random: &mut Random) -> Spec {
    list(random, 3, |r| one_of(r, &NETWORKS))
}

/// `port` is one that no other service has.
pub(super) fn routes(random: &mut Random, port: u64) -> Spec {
    let route = |random: &mut Random, at: usize| {
        let mut keys = Keys::new(random);
        let host = format!("h{port}-{at}.example");
        keys.need("host", |r| {
            let upper = Spec::Either(vec![text(&host), text(&host.to_uppercase())]);
            let wildcard = Spec::Text(format!("*.{host}"));
            let other = Spec::Either(vec![
                Spec::Text(format!("é{port}-{at}.example")),
                Spec::Text(format!("É{port}-{at}.EXAMPLE")),
            ]);
            r.of(&[upper, wildcard, other]).clone()
        });
        keys.or("path", text("/"), |r| {
            let api = Spec::Either(vec![text("/api"), text("/api/")]);
            r.of(&[api, text("/a/b%20c/~d!$&()*+,=:")]).clone()
        });
        keys.may("frontend", |_| text("tls"));
        keys.or("strip_path", Spec::Bool(false), flag);
        keys.done()
    };
    Spec::List((0..random.below(4)).map(|at| route(random, at)).collect())
}

fn known_span(random: &mut Random, low: u64, high: u64) -> (Spec, u64) {
    let spec = span(random, low, high);
    let Spec::Milliseconds(value) = spec else { unreachable!("a span is of milliseconds") };
    (spec, value)
}

/// No request waits longer than for the answer of a `server`.
fn sleep(keys: &mut Keys, server: u64) {
    keys.or("sleep_after", ms(300 * SECOND), |r| span(r, SECOND, DAY));
    let longest = server.min(600 * SECOND);
    let mut timeout = server.min(60 * SECOND);
    if longest < SECOND {
        return;
    }
    keys.or("wake_timeout", ms(timeout), |r| {
        let (spec, value) = known_span(r, SECOND, longest);
        timeout = value;
        spec
    });
    keys.may("wake_page", |r| span(r, SECOND, timeout));
}

/// The keys of one service.
pub(super) fn policy(keys: &mut Keys) {
    keys.or("protocol", text("http"), |_| text("h2"));
    let is_safe = keys.random.one_in(3);
    let balances = ["roundrobin", "random", "source"];
    let balances = if is_safe { &balances[..2] } else { &balances[..] };
    keys.or("balance", text("leastconn"), |r| one_of(r, balances));
    keys.or("sticky", Spec::Bool(false), |r| {
        let plain = Spec::Object(vec![("cookie".to_owned(), default(text("srv")))]);
        let usual = Spec::Either(vec![Spec::Bool(true), plain]);
        let ttl = span(r, SECOND, 365 * DAY);
        let own = vec![("cookie".to_owned(), text("a_B-9")), ("ttl".to_owned(), ttl)];
        r.of(&[usual, Spec::Object(own)]).clone()
    });
    let mut server = 300 * SECOND;
    keys.may("timeouts", |r| {
        let mut keys = Keys::new(r);
        for (key, longest) in [
            ("connect", HOUR),
            ("server", 7 * DAY),
            ("client", 7 * DAY),
            ("queue", HOUR),
            ("tunnel", 7 * DAY),
        ] {
            keys.may(key, |r| {
                let (spec, value) = known_span(r, 1, longest);
                server = if key == "server" { value } else { server };
                spec
            });
        }
        keys.done()
    });
    sleep(keys, server);
    keys.may("max_connections", |r| number(r.within(1, 100_000)));
    if is_safe {
        keys.need("retry", |_| text("safe"));
        return others(keys);
    }
    keys.or("retry", text("connect"), |r| {
        let mut keys = Keys::new(r);
        let usual = Spec::List(vec![text("conn-failure")]);
        keys.or("on", usual, |_| Spec::List(vec![text("503"), text("junk-response")]));
        keys.or("attempts", number(3), |r| number(r.within(0, 10)));
        let object = keys.done();
        r.of(&[text("connect"), object]).clone()
    });
    others(keys);
}

/// Off or not, with a history that is long enough by default.
pub(super) fn forecast(random: &mut Random) -> Spec {
    let mut keys = Keys::new(random);
    keys.or("mode", text("off"), |r| one_of(r, &["off", "shadow", "on"]));
    keys.or("horizon", ms(600 * SECOND), |r| span(r, 60 * SECOND, HOUR));
    keys.or("percentile", number(90), |r| number(r.within(50, 99)));
    keys.done()
}

pub(super) fn hooks(random: &mut Random) -> Spec {
    let mut keys = Keys::new(random);
    let command = |r: &mut Random| {
        let program = r.of(&[text("sh"), text("/a b"), text("é$HOME")]).clone();
        Spec::List(vec![program, any_text(r)])
    };
    if keys.random.one_in(2) {
        keys.need("before_stop", command);
        keys.may("after_ready", command);
    } else {
        keys.need("after_ready", command);
    }
    keys.or("timeout", ms(30 * SECOND), |r| span(r, SECOND, HOUR));
    keys.done()
}

fn others(keys: &mut Keys) {
    keys.may("allow", |r| Spec::List(vec![one_of(r, &NETWORKS)]));
    keys.may("basic_auth", |r| {
        let mut keys = Keys::new(r);
        let users = [("anna@x", Spec::Secret("a 'b' $5$".to_owned())), ("0", text("é"))];
        let users = users.map(|(name, password)| (name.to_owned(), password)).to_vec();
        keys.need("users", |_| Spec::Ordered(users));
        keys.or("realm", text("restricted"), |_| text("a 'b' #"));
        keys.done()
    });
    keys.may("rate_limit", |r| {
        let mut keys = Keys::new(r);
        keys.need("requests", |r| number(r.within(1, 1_000_000)));
        keys.or("period", ms(SECOND), |r| span(r, 100, DAY));
        keys.or("by", text("ip"), |_| text("ip"));
        keys.done()
    });
    for key in ["request_headers", "response_headers"] {
        keys.may(key, |r| {
            let value = |r: &mut Random| {
                r.of(&[Spec::Null, Spec::Secret("a 'b' %[src] \\ \"c\" #$HOME {} ~".to_owned())])
                    .clone()
            };
            Spec::Ordered(HEADERS.map(|name| (name.to_owned(), value(r))).to_vec())
        });
    }
}
