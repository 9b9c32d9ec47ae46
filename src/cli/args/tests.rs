//! Words and what they become.

use crate::cli::args::{Command, Whom, parse};
use crate::cli::help::Topic;

fn whom(to: &Whom) -> String {
    to.socket.as_ref().unwrap_or(&to.config).display().to_string()
}

fn parsed(line: &str) -> String {
    match parse(["plimsoll"].into_iter().chain(line.split_whitespace()).map(Into::into)) {
        Ok(Command::Help(topic)) => match topic {
            Topic::Short => "help short".to_owned(),
            Topic::All => "help all".to_owned(),
            Topic::Brief(entry) => format!("help short {}", entry.name),
            Topic::Whole(entry) => format!("help {}", entry.name),
        },
        Ok(Command::Version) => "version".to_owned(),
        Ok(Command::Check { config, json, live }) => {
            format!("check {} json={json} live={live}", config.display())
        }
        Ok(Command::Reload { to }) => format!("reload {}", whom(&to)),
        Ok(Command::Completions(shell)) => format!("completions {shell:?}"),
        Ok(Command::Doctor { config, json }) => format!("doctor {} {json}", config.display()),
        Ok(Command::Events(a)) => {
            let (service, since, whom) = (a.service, a.since, whom(&a.to));
            format!("events {service:?} {since:?} follow={} json={} {whom}", a.follow, a.json)
        }
        Ok(Command::Explain { service, json, to }) => {
            format!("explain {service} json={json} {}", whom(&to))
        }
        Ok(Command::Healthcheck { to }) => format!("healthcheck {}", whom(&to)),
        Ok(Command::Init(a)) => format!("init {:?} {:?}", a.compose, a.output),
        Ok(Command::Pause { what, span, to }) => {
            format!("pause {what:?} {span:?} {}", whom(&to))
        }
        Ok(Command::Restart { service, to }) => format!("restart {service} {}", whom(&to)),
        Ok(Command::Resume { what, to }) => format!("resume {what:?} {}", whom(&to)),
        Ok(Command::Scale(a)) => {
            let (span, reason) = (a.span.as_deref(), a.reason.as_deref());
            format!("scale {} {:?} {span:?} {reason:?} {}", a.service, a.count, whom(&a.to))
        }
        Ok(Command::Status(a)) => {
            let whom = whom(&a.to);
            format!("status {:?} watch={} json={} {whom}", a.service, a.watch, a.json)
        }
        Ok(Command::Run(o)) => {
            format!("run {} once={} dry={}", o.config_file.display(), o.once, o.dry_run)
        }
        Ok(Command::Schedule(a)) => {
            let (from, until) = (a.from.as_deref(), a.until.as_deref());
            format!("schedule {} {from:?} {until:?} json={}", a.service, a.json)
        }
        Ok(Command::Simulate(a)) => {
            let times = [a.start, a.start_up, a.capacity].map(Option::unwrap_or_default);
            let svg = a.svg.unwrap_or_default();
            let (load, svg) = (a.load.display(), svg.display());
            let service = a.service.unwrap_or_default();
            format!("simulate {load} {service:?} {} {svg} json={}", times.join("/"), a.json)
        }
        Err(message) => format!("error: {message}"),
    }
}

#[test]
fn words_become_commands() {
    for (line, want) in [
        ("-h", "help short"),
        ("--help", "help all"),
        ("help", "help all"),
        ("help run", "help run"),
        ("run --help", "help run"),
        ("check -h", "help short check"),
        ("--version", "version"),
        ("check --config a.json", "check a.json json=false live=false"),
        ("check --live --config=a.json --json", "check a.json json=true live=true"),
        ("run --config a --once --dry-run", "run a once=true dry=true"),
        ("reload --config a", "reload a"),
        ("reload -h", "help short reload"),
        ("schedule --help", "help schedule"),
        ("schedule web", "schedule web None None json=false"),
        ("schedule --json --from=a web --until b", r#"schedule web Some("a") Some("b") json=true"#),
        ("run --config a", "run a once=false dry=false"),
        ("simulate --load a", r#"simulate a "" //  json=false"#),
        (
            "simulate --svg=s --load a --json --start b --start-up=c --capacity d --service e",
            r#"simulate a "e" b/c/d s json=true"#,
        ),
        ("simulate -h", "help short simulate"),
        ("help simulate", "help simulate"),
        ("status --socket s", "status None watch=false json=false s"),
        (
            "status web --json --socket=s --config c",
            r#"status Some("web") watch=false json=true s"#,
        ),
        ("status --watch --socket s", "status None watch=true json=false s"),
        (
            "events --follow --since=90s --service web --socket s",
            r#"events Some("web") Some(Ago(90s)) follow=true json=false s"#,
        ),
        ("events --since 60 --socket s", "events None Some(Ago(60s)) follow=false json=false s"),
        (
            "events --json --since 2026-10-25T02:00:00+02:00 --socket s",
            "events None Some(At(2026-10-25T00:00:00Z)) follow=false json=true s",
        ),
        ("explain web --config c", "explain web json=false c"),
        ("init --compose a --output=b", r#"init Some("a") Some("b")"#),
        ("doctor --json --config c", "doctor c true"),
        ("completions zsh", "completions Zsh"),
        ("healthcheck --config c", "healthcheck c"),
        ("healthcheck -h", "help short healthcheck"),
        ("scale web 4 --config c", "scale web Exactly(4) None None c"),
        ("scale web 0 --for 2h --config c", r#"scale web Exactly(0) Some("2h") None c"#),
        ("scale --reason sale web +2 --config c", r#"scale web By(2) None Some("sale") c"#),
        ("scale web -1 --config c", "scale web By(-1) None None c"),
        ("scale web -12 --for 5m --config c", r#"scale web By(-12) Some("5m") None c"#),
        ("scale web auto --config c", "scale web Auto None None c"),
        ("pause web --for 120 --config c", r#"pause One("web") Some("120") c"#),
        ("pause web --for 10m --config c", r#"pause One("web") Some("10m") c"#),
        ("pause --all --config c", "pause All None c"),
        ("resume web --config c", r#"resume One("web") c"#),
        ("restart web --config c", "restart web c"),
    ] {
        assert_eq!(parsed(line), want, "{line}");
    }
}

#[test]
fn wrong_words_are_told() {
    for (line, want) in [
        ("", "no command is given"),
        ("start", "`start` is no command"),
        ("help start", "`start` is no command"),
        ("explan", "`explan` is no command, `explain` is"),
        ("statsu web", "`statsu` is no command, `status` is"),
        ("--frobnicate", "--frobnicate"),
        ("check --once", "--once"),
        ("check --config", "--config"),
        ("run extra", "extra"),
        ("reload web", "web"),
        ("schedule", "which service?"),
        ("schedule a b", "b"),
        ("schedule a --once", "--once"),
        ("run --once --once", "`--once` is given twice"),
        ("run --config a --config b", "`--config` is given twice"),
        ("run --once=yes", "--once"),
        ("simulate", "which trace?"),
        ("simulate a", "\"a\""),
        ("simulate --load", "--load"),
        ("simulate --load a --load b", "`--load` is given twice"),
        ("schedule a --load b", "--load"),
        ("events --since yesterday", "`--since yesterday` is neither"),
        ("events web", "web"),
        ("explain", "which service?"),
        ("completions", "for which shell?"),
        ("completions csh", "`csh` is none of"),
        ("restart", "which service?"),
        ("restart --all", "--all"),
        ("scale", "which service?"),
        ("scale web", "to how many?"),
        ("scale -1 web", "-1"),
        ("scale web -1 2", "2"),
        ("scale web -0", "`-0` is none of"),
        ("scale web -1x", "`-1x` is none of"),
        ("scale web ++1", "`++1` is none of"),
        ("scale web 4294967296", "is none of"),
        ("scale web many", "`many` is none of"),
        ("scale web 4 --for 5d", "`--for 5d` is no time"),
        ("scale web 4 --for 0s", "`--for 0s` is no time"),
        ("scale web 4 --for 0", "`--for 0` is no time"),
        ("scale web auto --for 5m", "go with a number"),
        ("pause", "which service? or --all"),
        ("pause web --all", "not both"),
        ("resume web --for 5m", "--for"),
        ("status a b", "b"),
        ("status -1", "-1"),
    ] {
        let got = parsed(line);
        assert!(got.starts_with("error: ") && got.contains(want), "{line}: {got}");
    }
}
