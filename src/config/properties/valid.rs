//! Configs made up from a seed that are good, with every key there is, up to the ends of every
//! range. They know nothing of the model: what a key means is for the parser to say.

use crate::config::properties::Random;
use crate::config::properties::following::{behavior, metrics};
use crate::config::properties::front;
use crate::config::properties::options;
use crate::config::properties::webhooks::webhook;

/// What is to be said, in whatever spelling.
#[derive(Clone)]
pub(crate) enum Spec {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    /// May stand in a file.
    Secret(String),
    Milliseconds(u64),
    Bytes(u64),
    List(Vec<Spec>),
    Object(Vec<(String, Spec)>),
    /// The order counts.
    Ordered(Vec<(String, Spec)>),
    /// All the same.
    Either(Vec<Spec>),
    /// Of a key: what it is when it is left out.
    Default(Box<Spec>),
}

pub(super) const SECOND: u64 = 1000;
pub(super) const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
const LETTERS: [&str; 14] =
    ["a", "b", "Z", "0", "9", "é", "😀", " ", "\"", "\\", "$", "${", "'", "//"];
const PLAIN: [&str; 6] = ["a", "b", "c", "X", "0", "7"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ZONES: [&str; 6] =
    ["UTC", "Asia/Dhaka", "Europe/Berlin", "America/New_York", "Etc/GMT+1", "EST5EDT"];
pub(super) const URLS: [&str; 4] = [
    "http://127.0.0.1:9000/depth",
    "http://[::1]:9000/",
    "http://a?q=1",
    "http://me:p%2F@shop.example",
];

pub(super) fn text(value: &str) -> Spec {
    Spec::Text(value.to_owned())
}

pub(super) fn number(value: u64) -> Spec {
    Spec::Number(value.to_string())
}

pub(super) fn ms(value: u64) -> Spec {
    Spec::Milliseconds(value)
}

pub(super) fn default(spec: Spec) -> Spec {
    Spec::Default(Box::new(spec))
}

/// Keys, some of them left out.
pub(super) struct Keys<'r> {
    pub(super) random: &'r mut Random,
    keys: Vec<(String, Spec)>,
}

impl Keys<'_> {
    pub(super) fn new(random: &mut Random) -> Keys<'_> {
        Keys { random, keys: Vec::new() }
    }

    pub(super) fn need(&mut self, key: &str, make: impl FnOnce(&mut Random) -> Spec) {
        let spec = make(self.random);
        self.keys.push((key.to_owned(), spec));
    }

    pub(super) fn may(&mut self, key: &str, make: impl FnOnce(&mut Random) -> Spec) {
        if self.random.one_in(2) {
            self.need(key, make);
        }
    }

    /// Left out, made up, or what it would be if it were left out.
    pub(super) fn or(&mut self, key: &str, usual: Spec, make: impl FnOnce(&mut Random) -> Spec) {
        match self.random.below(3) {
            0 => (),
            1 => self.need(key, |_| default(usual)),
            _ => self.need(key, make),
        }
    }

    pub(super) fn done(self) -> Spec {
        Spec::Object(self.keys)
    }
}

/// Hundredths, as a number with as many decimals as it needs, or two.
pub(super) fn hundredths(random: &mut Random, low: u64, high: u64) -> Spec {
    decimal(2, random, low, high)
}

pub(super) fn thousandths(random: &mut Random, low: u64, high: u64) -> Spec {
    decimal(3, random, low, high)
}

fn decimal(places: usize, random: &mut Random, low: u64, high: u64) -> Spec {
    let value = random.within(low, high);
    let one = if places == 2 { 100 } else { 1000 };
    let whole = value / one;
    let part = value % one;
    let mut all = vec![Spec::Number(format!("{whole}.{part:0places$}"))];
    if part.is_multiple_of(10) {
        let fewer = places - 1;
        all.push(Spec::Number(format!("{whole}.{:0fewer$}", part / 10)));
    }
    if part == 0 {
        all.push(number(whole));
    }
    Spec::Either(all)
}

pub(super) fn span(random: &mut Random, low: u64, high: u64) -> Spec {
    let value = random.within(low, high);
    let whole = value - value % SECOND;
    ms(if random.one_in(2) && low <= whole { whole } else { value })
}

pub(super) fn list(random: &mut Random, most: usize, make: impl Fn(&mut Random) -> Spec) -> Spec {
    Spec::List((0..random.below(most + 1)).map(|_| make(random)).collect())
}

fn word(random: &mut Random, letters: &[&str]) -> String {
    (0..=random.below(8)).map(|_| random.word(letters)).collect()
}

pub(super) fn any_text(random: &mut Random) -> Spec {
    Spec::Text(word(random, &LETTERS))
}

/// Of 1 byte more than the slash to `longest`.
fn path(random: &mut Random, longest: usize) -> Spec {
    let name = word(random, &PLAIN);
    let deep = if random.one_in(4) { longest - name.len() - 1 } else { 0 };
    Spec::Text(format!("/{}{name}", "d".repeat(deep)))
}

pub(super) fn one_of(random: &mut Random, all: &[&str]) -> Spec {
    text(random.word(all))
}

pub(super) fn flag(random: &mut Random) -> Spec {
    Spec::Bool(random.one_in(2))
}

fn window(keys: &mut Keys, must: bool) {
    let time = |random: &mut Random, last: u64| {
        let minute = random.within(0, last);
        Spec::Text(format!("{:02}:{:02}", minute / 60, minute % 60))
    };
    let (start, end) = (|r: &mut Random| time(r, 1439), |r: &mut Random| time(r, 1440));
    if must {
        keys.need("start", start);
        keys.need("end", end);
    } else {
        keys.or("start", text("09:00"), start);
        keys.or("end", text("17:00"), end);
    }
    keys.or("timezone", text("UTC"), |r| one_of(r, &ZONES));
    keys.or("days", Spec::List(DAYS.map(text).to_vec()), |r| {
        let mut days = DAYS.map(text).to_vec();
        r.shuffle(&mut days);
        days.truncate(1 + r.below(DAYS.len()));
        Spec::List(days)
    });
    keys.or("holidays", Spec::List(Vec::new()), |r| {
        list(r, 3, |r| one_of(r, &["2026-12-25", "2028-02-29", "0001-01-01", "9999-12-31"]))
    });
}

fn hours(random: &mut Random) -> Spec {
    let mut keys = Keys::new(random);
    window(&mut keys, false);
    keys.done()
}

fn bounds(keys: &mut Keys, least: u64) -> (u64, u64) {
    let high = keys.random.within(1, 1000);
    let low = if keys.random.one_in(3) { high } else { keys.random.within(least, high) };
    if low == 1 {
        keys.need("min_replicas", |_| default(number(1)));
    } else {
        keys.need("min_replicas", |_| number(low));
    }
    keys.need("max_replicas", |_| number(high));
    (low, high)
}

fn schedule(random: &mut Random, index: usize) -> Spec {
    let mut keys = Keys::new(random);
    let name = format!("schedule-{}", index + 1);
    keys.or("name", Spec::Text(name), |_| Spec::Text(format!("é window {index}")));
    window(&mut keys, true);
    bounds(&mut keys, 0);
    keys.or("prewarm", ms(0), |r| span(r, 0, DAY));
    keys.done()
}

fn health(random: &mut Random) -> Spec {
    let kind = random.word(&["http", "tcp", "docker", "none"]);
    let mut keys = Keys::new(random);
    if kind == "tcp" {
        keys.need("type", |_| default(text(kind)));
    } else {
        keys.need("type", |_| text(kind));
    }
    if kind == "http" {
        keys.or("path", text("/"), |r| one_of(r, &["/health?full=1", "/", "//~!$%&()*+,;=:@[]"]));
        keys.or("expect_status", text("200-399"), |r| {
            let low = r.within(100, 300);
            let high = r.within(300, 599);
            let one = Spec::Either(vec![number(low), Spec::Text(low.to_string())]);
            let several = Spec::Text(format!("{low}-{high},{high} , 418"));
            if r.one_in(2) { one } else { several }
        });
        keys.or("headers", Spec::Ordered(Vec::new()), |r| {
            let value = Spec::Secret(if r.one_in(3) { String::new() } else { "a b~".to_owned() });
            Spec::Ordered(vec![("X-Key!".to_owned(), value), ("Host".to_owned(), text("a.b"))])
        });
        keys.or("scheme", text("http"), |_| text("https"));
        keys.or("verify", Spec::Bool(false), flag);
    }
    keys.may("port", |r| number(r.within(1, 65_535)));
    let interval = keys.random.within(100, HOUR);
    keys.need("interval", |_| ms(interval));
    let usual = interval.min(5 * SECOND);
    keys.or("timeout", ms(usual), |r| ms(r.within(100, interval)));
    keys.or("healthy_after", number(1), |r| number(r.within(1, 100)));
    keys.or("unhealthy_after", number(3), |r| number(r.within(1, 100)));
    keys.or("start_period", ms(30 * SECOND), |r| span(r, 0, HOUR));
    keys.done()
}

fn rollout(random: &mut Random) -> Spec {
    let mut keys = Keys::new(random);
    keys.or("max_surge", number(1), |r| number(r.within(1, 1000)));
    keys.or("max_unavailable", number(0), |r| number(r.within(0, 1000)));
    keys.or("progress_deadline", ms(600 * SECOND), |r| span(r, SECOND, DAY));
    keys.or("rollback", Spec::Bool(true), flag);
    keys.done()
}

fn image_updates(random: &mut Random) -> Spec {
    let mut keys = Keys::new(random);
    keys.or("check", ms(600 * SECOND), |r| span(r, 10 * SECOND, DAY));
    keys.done()
}

fn variables(random: &mut Random) -> Spec {
    let names = ["A", "é b", "PATH", "x.y-z", "$"];
    let mut pairs = Vec::new();
    for name in names {
        let value = if random.one_in(4) { String::new() } else { word(random, &LETTERS) };
        pairs.push((name, value));
    }
    random.shuffle(&mut pairs);
    pairs.truncate(random.below(pairs.len() + 1));
    if random.one_in(4) {
        let number = (Spec::Number("1e9".to_owned()), "1e9".to_owned());
        let (spec, text) = random.of(&[number, (Spec::Bool(true), "true".to_owned())]).clone();
        let either = Spec::Either(vec![spec, Spec::Secret(text)]);
        return Spec::Object(vec![("N".to_owned(), either)]);
    }
    let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), Spec::Secret(v.clone())));
    let list = pairs.iter().map(|(k, v)| Spec::Text(format!("{k}={v}")));
    Spec::Either(vec![Spec::Object(map.collect()), Spec::List(list.collect())])
}

fn container(keys: &mut Keys) {
    keys.or("command", Spec::List(Vec::new()), |r| list(r, 3, any_text));
    keys.or("environment", Spec::List(Vec::new()), variables);
    keys.or("volumes", Spec::List(Vec::new()), |r| {
        let all =
            ["/srv/a b:/data:ro", "ca_che.1-x:/var/cache", "/:/é:rw,rslave", "aa://:z,nocopy"];
        list(r, 3, |r| one_of(r, &all))
    });
    keys.or("networks", Spec::List(Vec::new()), |r| list(r, 3, any_text));
    keys.or("labels", Spec::Object(Vec::new()), |r| {
        Spec::Object(vec![("io.plimsoll".to_owned(), any_text(r)), ("é".to_owned(), text(""))])
    });
    keys.may("user", any_text);
    keys.or("restart", text("no"), |r| {
        let times = format!("on-failure:{}", r.within(0, u64::from(u32::MAX)));
        let all = [Spec::Either(vec![text("on-failure"), text("on-failure:0")]), Spec::Text(times)];
        let plain = one_of(r, &["always", "unless-stopped", "no"]);
        if r.one_in(2) { r.of(&all).clone() } else { plain }
    });
    keys.may("cpus", |r| thousandths(r, 10, 1_024_000));
    keys.may("memory", |r| {
        let mebi = r.within(6, 1 << 20) << 20;
        Spec::Bytes(if r.one_in(2) { mebi } else { r.within(6 << 20, u64::MAX / 2) })
    });
    options::options(keys);
}

fn listen(random: &mut Random, port: u64) -> Spec {
    match random.below(3) {
        0 => Spec::Either(vec![number(port), Spec::Text(port.to_string())]),
        1 => Spec::Text(format!("127.0.0.1:{port}")),
        _ => Spec::Either(vec![
            Spec::Text(format!("[::1]:{port}")),
            Spec::Text(format!("[0:0:0:0:0:0:0:1]:0{port}")),
        ]),
    }
}

fn cooldown(random: &mut Random) -> Spec {
    let both =
        |up: Spec, down: Spec| Spec::Object(vec![("up".to_owned(), up), ("down".to_owned(), down)]);
    let up = span(random, 0, DAY);
    if random.one_in(2) {
        return Spec::Either(vec![up.clone(), both(up.clone(), up)]);
    }
    both(up, default(ms(60 * SECOND)))
}

fn load(keys: &mut Keys, is_swarm: bool, has_choice: bool) {
    let has_metrics = keys.random.one_in(2) || (is_swarm && has_choice);
    if has_metrics {
        keys.need("metrics", |r| metrics(r, is_swarm));
    }
    if !is_swarm && (keys.random.one_in(2) || (has_choice && !has_metrics)) {
        let lower = keys.random.within(0, 999_999);
        keys.need("scale_down_threshold", |r| hundredths(r, lower, lower));
        keys.need("scale_up_threshold", |r| hundredths(r, lower + 1, 1_000_000));
    }
}

fn service(random: &mut Random, port: u64, has_hours: bool, has_frontends: bool) -> Spec {
    let is_swarm = random.one_in(4);
    let mut keys = Keys::new(random);
    if is_swarm {
        keys.need("engine", |_| text("swarm"));
        keys.need("swarm_service", any_text);
    } else {
        keys.or("engine", text("docker"), |_| text("docker"));
    }
    let is_compose = keys.random.one_in(2);
    if is_compose {
        keys.need("compose", |r| {
            let names = [("project", any_text(r)), ("service", any_text(r))];
            Spec::Object(names.map(|(key, spec)| (key.to_owned(), spec)).to_vec())
        });
    } else {
        keys.need("image", |r| one_of(r, &["a", "registry.example:5000/web:1.4", "é\"${"]));
    }
    keys.need("port", |r| number(r.within(1, 65_535)));
    keys.may("listen", |r| listen(r, port));
    let (low, high) = bounds(&mut keys, u64::from(is_compose));
    load(&mut keys, is_swarm, low < high);
    if !is_swarm {
        keys.may("hooks", front::hooks);
        keys.may("forecast", front::forecast);
    }
    if !is_compose {
        container(&mut keys);
    }
    if !is_compose && !is_swarm {
        keys.may("image_updates", image_updates);
    }
    keys.may("behavior", behavior);
    keys.or("cooldown_period", ms(60 * SECOND), cooldown);
    let has_own = keys.random.one_in(2);
    if has_own {
        keys.need("business_hours", hours);
    }
    if has_hours || has_own {
        keys.or("business_hours_only", Spec::Bool(false), flag);
    }
    keys.or("outside_hours", text("hold"), |r| {
        let count = number(r.within(0, high));
        let min = Spec::Either(vec![text("min"), number(low)]);
        r.of(&[count, min]).clone()
    });
    keys.may("schedules", |r| Spec::List((0..r.below(4)).map(|i| schedule(r, i)).collect()));
    keys.may("health_check", health);
    keys.may("rollout", rollout);
    front::policy(&mut keys);
    if has_frontends {
        keys.may("routes", |r| front::routes(r, port));
    }
    keys.or("priority", number(50), |r| number(r.within(0, 100)));
    keys.or("drain_timeout", ms(30 * SECOND), |r| span(r, 0, DAY));
    keys.or("stop_timeout", ms(10 * SECOND), |r| span(r, 0, HOUR));
    keys.done()
}

fn load_balancer(random: &mut Random, has_frontends: bool) -> Spec {
    let mut keys = Keys::new(random);
    // With none, no metric could be HAProxy's.
    keys.or("mode", text("process"), |r| one_of(r, &["process", "systemd", "container"]));
    keys.or("binary", text("/usr/sbin/haproxy"), |r| path(r, 500));
    keys.may("base_config", |_| text("/etc/haproxy/haproxy.cfg"));
    if has_frontends {
        // Their files have its name, which is part of HAProxy's expressions.
        keys.may("config", |_| default(text("/var/lib/plimsoll/haproxy.cfg")));
        keys.need("frontends", front::frontends);
        keys.may("acme_webroot", |r| path(r, 500));
    } else {
        keys.or("config", text("/var/lib/plimsoll/haproxy.cfg"), |_| text("/a_b-1.cfg"));
    }
    keys.or("trusted_proxies", Spec::List(Vec::new()), front::trusted_proxies);
    keys.or("pid_file", text("/run/plimsoll/haproxy.pid"), |_| text("/ pid"));
    keys.or("socket", text("/run/plimsoll/haproxy.sock"), |r| path(r, 97));
    keys.may("unit", |r| one_of(r, &["haproxy.service", "haproxy@web-1", r"a\x2db"]));
    keys.may("container", |r| one_of(r, &["haproxy", "0", "site_haproxy-1.x"]));
    keys.may("stats_port", |r| number(r.within(8081, 65_534)));
    keys.need("cert_path", |r| path(r, 500));
    keys.or("https_enabled", Spec::Bool(false), flag);
    keys.may("max_connections", |r| number(r.within(100, 1_000_000)));
    keys.or("hard_stop_after", ms(600 * SECOND), |r| span(r, SECOND, DAY));
    keys.or("min_reload_interval", ms(2 * SECOND), |r| span(r, 100, HOUR));
    keys.done()
}

fn autoscaler(random: &mut Random, has_hours: bool) -> Spec {
    let mut keys = Keys::new(random);
    keys.or("check_interval", ms(15 * SECOND), |r| span(r, SECOND, HOUR));
    keys.or("log_level", text("info"), |r| {
        let word = r.word(&["error", "warn", "info", "debug", "trace"]);
        Spec::Either(vec![text(word), Spec::Text(word.to_uppercase())])
    });
    keys.or("log_format", text("text"), |r| one_of(r, &["text", "json", "journal"]));
    keys.or("state_dir", text("/var/lib/plimsoll"), |r| path(r, 500));
    keys.or("dry_run", Spec::Bool(false), flag);
    keys.or("memory_reserve", number(5), |r| hundredths(r, 0, 9000));
    keys.or("cpu_reserve", number(5), |r| hundredths(r, 0, 5000));
    keys.or("remove_orphans", Spec::Bool(false), flag);
    keys.or("labels", Spec::Bool(true), flag);
    keys.or("history", ms(90 * 24 * HOUR), |r| span(r, 24 * HOUR, 3650 * 24 * HOUR));
    keys.or("report", text("off"), |r| one_of(r, &["off", "weekly"]));
    keys.may("backup", |_| Spec::List(vec![Spec::Null]));
    if has_hours {
        keys.need("business_hours", hours);
    }
    keys.done()
}

pub(crate) fn config(random: &mut Random) -> Spec {
    let has_hours = random.one_in(2);
    let mut keys = Keys::new(random);
    keys.may("$schema", |_| text("config.schema.json"));
    if has_hours {
        keys.need("autoscaler", |r| autoscaler(r, true));
    } else {
        keys.may("autoscaler", |r| autoscaler(r, false));
    }
    keys.may("docker", |r| {
        let is_tcp = r.one_in(3);
        let mut keys = Keys::new(r);
        if is_tcp {
            keys.need("socket", |r| one_of(r, &["tcp://127.0.0.1:2375", "tcp://docker/"]));
            keys.may("tls", |r| {
                let mut keys = Keys::new(r);
                keys.may("ca", |r| path(r, 500));
                keys.done()
            });
        } else {
            keys.or("socket", text("/var/run/docker.sock"), |r| path(r, 500));
        }
        keys.or("timeout", ms(30 * SECOND), |r| span(r, SECOND, 600 * SECOND));
        keys.may("config", |r| path(r, 500));
        keys.done()
    });
    keys.may("api", |r| {
        let protects = r.one_in(2);
        let mut keys = Keys::new(r);
        keys.or("listen", text("127.0.0.1:8000"), |r| {
            r.of(&[Spec::Null, text("[::1]:1"), text("0.0.0.0:65535")]).clone()
        });
        keys.or("socket", text("/run/plimsoll/plimsoll.sock"), |r| path(r, 102));
        if protects {
            keys.need("token", |_| Spec::Secret("0123456789abcde${".to_owned()));
            keys.or("protect_reads", Spec::Bool(false), |_| Spec::Bool(true));
        } else {
            keys.may("token", |_| Spec::Secret("0123456789abcde${".to_owned()));
        }
        keys.or("hosts", Spec::List(Vec::new()), |r| {
            list(r, 3, |r| r.of(&[text("a"), text("Plimsoll.lan."), text("x_1.y-2.z")]).clone())
        });
        keys.done()
    });
    let has_frontends = keys.random.one_in(2);
    if has_frontends {
        keys.need("load_balancer", |r| load_balancer(r, true));
    } else {
        keys.may("load_balancer", |r| load_balancer(r, false));
    }
    keys.or("notifications", Spec::List(Vec::new()), |r| list(r, 2, webhook));
    keys.may("servers", |_| Spec::Null);
    keys.may("monitoring", |_| Spec::Bool(true));
    keys.need("services", |r| {
        let names = ["web", "0", "A.b-c_d", &"n".repeat(63)].map(str::to_owned);
        let there = names.into_iter().filter(|_| r.one_in(2)).collect::<Vec<_>>();
        let ports = [1, 80, 8080, 65_535];
        let all = there.into_iter().zip(ports);
        let one = |(name, port)| (name, service(r, port, has_hours, has_frontends));
        Spec::Object(all.map(one).collect())
    });
    keys.done()
}
