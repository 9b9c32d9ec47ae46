//! Words and what they become.

use crate::cli::args::cli_command::{
    CliCommand, DaemonAddr, HistoryArgs, HistorySince, LoadSource, SimulateArgs, Topic,
};
use crate::cli::args::{commands, parse};
use crate::cli::help;
fn addr(to: &DaemonAddr) -> String {
    to.socket.as_ref().unwrap_or(&to.config.path).display().to_string()
}

fn helped(topic: Topic) -> String {
    match (help::text(&topic), topic) {
        (Err(message), _) => format!("error: {message}"),
        (Ok(_), Topic::Short) => "help short".to_owned(),
        (Ok(_), Topic::All) => "help all".to_owned(),
        (Ok(_), Topic::Brief(command)) => format!("help short {command}"),
        (Ok(_), Topic::Whole(command)) => format!("help {command}"),
    }
}

fn simulated(a: SimulateArgs) -> String {
    let times = [a.start, a.start_up, a.capacity].map(Option::unwrap_or_default);
    let svg = a.svg.unwrap_or_default();
    let load = match &a.load {
        LoadSource::Trace(file) => file.display().to_string(),
        LoadSource::History { span, default } => {
            let config = a.config.path.display();
            format!("{}s {config} {}", span.as_secs(), default.path.display())
        }
    };
    let svg = svg.display();
    let service = a.service.unwrap_or_default();
    let forecast = if a.forecast { " forecast" } else { "" };
    let times = times.join("/");
    format!("simulate {load} {service:?} {times} {svg} json={}{forecast}", a.json)
}

fn parsed(line: &str) -> String {
    match parse(["plimsoll"].into_iter().chain(line.split_whitespace()).map(Into::into)) {
        Ok(CliCommand::Help(topic)) => helped(topic),
        Ok(CliCommand::Version) => "version".to_owned(),
        Ok(CliCommand::Check(a)) => {
            let file = a.compose.unwrap_or(a.config.path);
            format!("check {} json={} live={}", file.display(), a.json, a.live)
        }
        Ok(CliCommand::Reload { to }) => format!("reload {}", addr(&to)),
        Ok(CliCommand::Advise(a)) => {
            let given = [a.slo, a.start_up].map(Option::unwrap_or_default).join("/");
            format!("advise {} {:?} {} {given} json={}", a.service, a.since, a.since_text, a.json)
        }
        Ok(CliCommand::Completions(shell)) => format!("completions {shell:?}"),
        Ok(CliCommand::Doctor { config, json }) => {
            format!("doctor {} {json}", config.path.display())
        }
        Ok(CliCommand::Events(a)) => {
            let service = a.service;
            let since = a.since;
            let addr = addr(&a.to);
            format!("events {service:?} {since:?} follow={} json={} {addr}", a.follow, a.json)
        }
        Ok(CliCommand::Explain { service, json, to }) => {
            format!("explain {service} json={json} {}", addr(&to))
        }
        Ok(CliCommand::Healthcheck { verbose, to }) => {
            format!("healthcheck {}{}", if verbose { "verbose " } else { "" }, addr(&to))
        }
        Ok(CliCommand::History(a)) => history(a),
        Ok(CliCommand::Report(a)) => format!("report {} json={}", shown_since(&a.since), a.json),
        Ok(CliCommand::Init(a)) => {
            format!("init {:?} {:?} labels={}", a.compose, a.output, a.labels)
        }
        Ok(CliCommand::Notify { json, .. }) => format!("notify json={json}"),
        Ok(CliCommand::Pause { what, span, to }) => {
            format!("pause {what:?} {span:?} {}", addr(&to))
        }
        Ok(CliCommand::Restart { service, to }) => format!("restart {service} {}", addr(&to)),
        Ok(CliCommand::Resume { what, to }) => format!("resume {what:?} {}", addr(&to)),
        Ok(CliCommand::Scale(a)) => {
            let span = a.span.as_deref();
            let reason = a.reason.as_deref();
            format!("scale {} {:?} {span:?} {reason:?} {}", a.service, a.count, addr(&a.to))
        }
        Ok(CliCommand::Status(a)) => {
            let addr = addr(&a.to);
            format!("status {:?} watch={} json={} {addr}", a.service, a.watch, a.json)
        }
        Ok(CliCommand::Run(o)) => {
            format!("run {} once={} dry={}", o.config_file.path.display(), o.once, o.dry_run)
        }
        Ok(CliCommand::Routes(a)) => format!("routes {:?} json={}", a.url, a.json),
        Ok(CliCommand::Schedule(a)) => {
            let from = a.from.as_deref();
            let until = a.until.as_deref();
            format!("schedule {} {from:?} {until:?} json={}", a.service, a.json)
        }
        Ok(CliCommand::Services { json, to }) => format!("services json={json} {}", addr(&to)),
        Ok(CliCommand::Simulate(a)) => simulated(a),
        Err(message) => format!("error: {message}"),
    }
}

fn shown_since(since: &Option<HistorySince>) -> String {
    match since {
        Some(HistorySince { text, at: None }) => text.clone(),
        since => format!("{:?}", since.as_ref().and_then(|since| since.at.as_ref())),
    }
}

fn history(asked: HistoryArgs) -> String {
    let HistoryArgs { service, since, format, config } = asked;
    format!("history {service} {} {format:?} {}", shown_since(&since), config.path.display())
}

#[test]
fn help_fits_into_80_columns() {
    for spec in commands::COMMANDS {
        let wide = spec.help.lines().find(|line| 80 < line.chars().count());
        assert_eq!(wide, None, "{}", spec.name);
    }
}

#[test]
fn an_advice_has_a_span_unless_one_is_given() {
    assert_eq!(parsed("advise web"), "advise web Ago(1209600s) 14d / json=false");
    let all = "advise web --since 28d --slo=99 --start-up 20s --json";
    assert_eq!(parsed(all), "advise web Ago(2419200s) 28d 99/20s json=true");
}

#[test]
fn a_load_is_a_trace_or_a_history() {
    let default = "/etc/plimsoll/config.json";
    for (line, want) in [
        ("simulate -h", "help short simulate".to_owned()),
        ("help simulate", "help simulate".to_owned()),
        ("simulate --load a", r#"simulate a "" //  json=false"#.to_owned()),
        ("simulate --forecast --load a", r#"simulate a "" //  json=false forecast"#.to_owned()),
        (
            "simulate --svg=s --load a --json --start b --start-up=c --capacity d --service e",
            r#"simulate a "e" b/c/d s json=true"#.to_owned(),
        ),
        (
            "simulate --history 14d --config new.json",
            format!(r#"simulate 1209600s new.json {default} "" //  json=false"#),
        ),
        (
            "simulate --history 10m --service=e",
            format!(r#"simulate 600s {default} {default} "e" //  json=false"#),
        ),
        (
            "simulate --history 366d --config c",
            format!(r#"simulate 31622400s c {default} "" //  json=false"#),
        ),
    ] {
        assert_eq!(parsed(line), want, "{line}");
    }
}

#[test]
fn words_become_commands_about_the_past() {
    for (line, want) in [
        ("history web --config c", "history web None Table c"),
        ("history --csv --since=7d web --config c", "history web Some(Ago(604800s)) Csv c"),
        ("history web --since 1w --config c", "history web Some(Ago(604800s)) Table c"),
        ("history web --since 2026-10-25 --config c", "history web 2026-10-25 Table c"),
        ("report --since 2026-10-25T07:30", "report 2026-10-25T07:30 json=false"),
        ("history web --json --config c", "history web None Json c"),
        ("history web --svg f --config c", "history web None Svg(\"f\") c"),
        (
            "report --json --since 2026-11-23T00:00:00Z",
            "report Some(At(2026-11-23T00:00:00Z)) json=true",
        ),
    ] {
        assert_eq!(parsed(line), want, "{line}");
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
        ("init --compose a --output=b", r#"init Some("a") Some("b") labels=false"#),
        ("init --labels --compose a", r#"init Some("a") None labels=true"#),
        ("check --compose a --config b", "check a json=false live=false"),
        ("services --json --socket s", "services json=true s"),
        ("doctor --json --config c", "doctor c true"),
        ("notify --test --json", "notify json=true"),
        ("notify", "error: notify: add --test to send a test message to every webhook"),
        ("completions zsh", "completions Zsh"),
        ("healthcheck --config c", "healthcheck c"),
        ("healthcheck -h", "help short healthcheck"),
        ("scale web 4 --config c", "scale web Exactly(4) None None c"),
        ("scale web 0 --for 2h --config c", r#"scale web Exactly(0) Some("2h") None c"#),
        ("scale --reason sale web +2 --config c", r#"scale web By(2) None Some("sale") c"#),
        ("scale web -1 --config c", "scale web By(-1) None None c"),
        ("scale web -12 --for 5m --config c", r#"scale web By(-12) Some("5m") None c"#),
        ("scale web auto --config c", "scale web Auto None None c"),
        ("routes --config c", "routes None json=false"),
        ("routes https://a/b --json", r#"routes Some("https://a/b") json=true"#),
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
fn wrong_words_are_errors() {
    for (line, want) in [
        ("", "no command given"),
        ("start", "unknown command `start`"),
        ("help start", "unknown command `start`"),
        ("explan", "unknown command `explan`; did you mean `explain`?"),
        ("statsu web", "unknown command `statsu`; did you mean `status`?"),
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
        ("schedule a --load b", "--load"),
        ("events --since yesterday", "`--since yesterday` is not a time"),
        ("events web", "web"),
        ("explain", "which service?"),
        ("completions", "for which shell?"),
        ("completions csh", "`csh` is not a known shell"),
        ("restart", "which service?"),
        ("restart --all", "--all"),
        ("scale", "which service?"),
        ("scale web", "to how many replicas?"),
        ("scale -1 web", "-1"),
        ("scale web -1 2", "2"),
        ("scale web -0", "`-0` is not a count"),
        ("scale web -1x", "`-1x` is not a count"),
        ("scale web ++1", "`++1` is not a count"),
        ("scale web 4294967296", "is not a count"),
        ("scale web many", "`many` is not a count"),
        ("scale web 4 --for 5w", "`--for 5w` is not a duration"),
        ("scale web 4 --for 0s", "`--for 0s` is not a duration"),
        ("scale web 4 --for 0", "`--for 0` is not a duration"),
        ("scale web auto --for 5m", "go with a number"),
        ("pause", "which service? or give --all"),
        ("pause web --all", "not both"),
        ("resume web --for 5m", "--for"),
        ("status a b", "b"),
        ("init --labels", "goes with --compose FILE"),
        ("check --live --compose a", "not with --compose"),
        ("services web", "web"),
        ("status -1", "-1"),
    ] {
        let got = parsed(line);
        assert!(got.starts_with("error: ") && got.contains(want), "{line}: {got}");
    }
}

#[test]
fn wrong_words_about_loads_are_errors() {
    for (line, want) in [
        ("advise", "which service?"),
        ("advise web --since yesterday", "`--since yesterday` is not a time"),
        ("advise web --load a", "--load"),
        ("simulate", "which load? give --load F.csv or --history 14d"),
        ("simulate --load a --history 1d", "give --load or --history, not both"),
        ("simulate --history 1d --start 2026-03-02", "--start goes with --load"),
        ("simulate --history", "--history"),
        ("simulate --history soon", "`--history soon` is not a duration from 10m to 366d"),
        ("simulate --history 9m", "`--history 9m` is not"),
        ("simulate --history 367d", "`--history 367d` is not"),
        ("simulate a", "\"a\""),
        ("simulate --load", "--load"),
        ("simulate --load a --load b", "`--load` is given twice"),
        ("history", "which service?"),
        ("history web --csv --json", "give one of --csv, --json and --svg FILE"),
        ("history web --svg f --json", "give one of --csv, --json and --svg FILE"),
        ("history web --since 7y", "`--since 7y` is not a time"),
        ("history web --since 2026-02-30", "00Z, or a local one like 2026-10-25"),
        ("events --since 2026-10-25", "`--since 2026-10-25` is not a time"),
        ("history web --since --config c", "`--since` needs a value"),
        ("report --since --help", "`--since` needs a value"),
        ("history web --svg --since 7d", "`--svg` needs a value"),
        ("history web --svg", "--svg"),
        ("report web", "web"),
        ("report --since -7d", "`--since -7d` is not a time"),
    ] {
        let got = parsed(line);
        assert!(got.starts_with("error: ") && got.contains(want), "{line}: {got}");
    }
}
