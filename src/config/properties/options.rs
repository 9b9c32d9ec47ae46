//! What else a container is made with, made up from a seed.

use crate::config::properties::valid::{Keys, Spec, flag, list, number, one_of, text};

const SECURITY: [&str; 4] =
    ["no-new-privileges", "seccomp=unconfined", "apparmor=a b", "systempaths=unconfined"];

pub(super) fn options(keys: &mut Keys) {
    keys.may("entrypoint", |r| list(r, 3, |r| one_of(r, &["/é", "-v", "a b"])));
    keys.may("hostname", |r| one_of(r, &["a", "A-1.example", "0"]));
    keys.may("working_dir", |r| one_of(r, &["/", "/a b/é"]));
    keys.may("stop_signal", |r| one_of(r, &["SIGTERM", "quit", "64", "SIGRTMIN+3"]));
    keys.may("init", flag);
    keys.or("read_only", Spec::Bool(false), flag);
    keys.or("extra_hosts", Spec::List(Vec::new()), |_| {
        Spec::Either(vec![
            Spec::Object(vec![("db".to_owned(), text("10.0.0.5"))]),
            Spec::List(vec![Spec::Either(vec![text("db=10.0.0.5"), text("db:10.0.0.5")])]),
        ])
    });
    keys.or("cap_add", Spec::List(Vec::new()), |_| {
        Spec::List(vec![Spec::Either(vec![text("NET_ADMIN"), text("cap_net_admin")])])
    });
    keys.or("cap_drop", Spec::List(Vec::new()), |r| list(r, 2, |r| one_of(r, &["ALL", "KILL"])));
    keys.or("security_opt", Spec::List(Vec::new()), |r| list(r, 2, |r| one_of(r, &SECURITY)));
    keys.may("tmpfs", |r| {
        let path = one_of(r, &["/tmp", "/a b:size=64m,mode=1777,noexec"]);
        Spec::Either(vec![path.clone(), Spec::List(vec![path])])
    });
    keys.or("devices", Spec::List(Vec::new()), |_| {
        let long = vec![("source".to_owned(), text("/dev/a")), ("target".to_owned(), text("/b"))];
        let short = ["/dev/a:/b", "/dev/a:/b:rwm"].map(text);
        Spec::List(vec![Spec::Either([vec![Spec::Object(long)], short.to_vec()].concat())])
    });
    keys.may("ulimits", |r| {
        let limit = number(r.within(0, u64::from(u32::MAX)));
        let both = ["soft", "hard"].map(|key| (key.to_owned(), limit.clone()));
        let either = Spec::Either(vec![limit, Spec::Object(both.to_vec())]);
        Spec::Object(vec![("nofile".to_owned(), either)])
    });
    keys.may("sysctls", |r| {
        let limit = r.within(1, 9999);
        let map = Spec::Object(vec![("net.core.somaxconn".to_owned(), number(limit))]);
        let line = Spec::Text(format!("net.core.somaxconn={limit}"));
        Spec::Either(vec![map, Spec::List(vec![line])])
    });
    keys.may("shm_size", |r| Spec::Bytes(r.within(4 << 10, 1 << 40)));
    keys.may("gpus", |_| {
        let one = |pairs: Vec<(String, Spec)>| Spec::List(vec![Spec::Object(pairs)]);
        let all = one(vec![("count".to_owned(), text("all"))]);
        Spec::Either(vec![text("all"), one(Vec::new()), all])
    });
    keys.may("logging", |_| {
        let token = vec![("token".to_owned(), Spec::Secret("a b".to_owned()))];
        let pairs = [("driver", text("local")), ("options", Spec::Object(token))];
        Spec::Object(pairs.map(|(key, value)| (key.to_owned(), value)).to_vec())
    });
}
