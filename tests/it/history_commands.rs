//! `plimsoll history` and `plimsoll report`, by files on disk and without a daemon.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::daemon::{Dir, PLIMSOLL};
use crate::load_history::now;

const NOBODY: u32 = 65_534;

struct Stored(Dir);

/// Status, stdout, stderr.
type Ran = (i32, String, String);

impl Stored {
    /// With a config that has `web` and `api`, and this in `autoscaler`.
    fn new(name: &str, more: &Value) -> Stored {
        let dir = Dir::new(name);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut autoscaler = json!({ "state_dir": dir.join("state"), "labels": false });
        autoscaler.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let service = json!({
            "image": "demo:1", "port": 80, "min_replicas": 1, "max_replicas": 4,
            "scale_up_threshold": 70, "scale_down_threshold": 10,
        });
        let services = json!({ "web": service, "api": service });
        let config = json!({ "autoscaler": autoscaler, "services": services });
        dir.write("config.json", &config.to_string());
        Stored(dir)
    }

    /// The file of a service on a day this many days ago.
    fn name(service: &str, ago: i64) -> String {
        let day = (now() - TimeDelta::days(ago)).format("%Y-%m-%d");
        format!("state/history/{service}-{day}.csv")
    }

    /// Rows of these minutes of the day, each of two replicas at half their target.
    fn write(&self, service: &str, ago: i64, minutes: std::ops::Range<i64>) {
        fs::create_dir_all(self.0.join("state/history")).unwrap();
        let rows: String =
            minutes.map(|minute| format!("{minute},2,2,100,0,0,50,40,70,100\n")).collect();
        self.0.write(&Stored::name(service, ago), &format!("\n# [[\"cpu\",70.0]]\n{rows}"));
    }

    fn run(&self, args: &[&str], user: Option<u32>) -> Ran {
        let mut command = Command::new(PLIMSOLL);
        command.args(args).arg("--config").arg(self.0.join("config.json"));
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let out = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
    }

    #[track_caller]
    fn check(&self, args: &[&str], status: i32, stdout: &str, stderr: &str) {
        let ran = self.run(args, None);
        assert_eq!(ran.0, status, "{args:?}: {ran:?}");
        assert!(ran.1.contains(stdout) && ran.2.contains(stderr), "{args:?}: {ran:#?}");
        assert_eq!(ran.2.is_empty(), stderr.is_empty(), "{args:?}: {ran:#?}");
    }
}

#[test]
fn an_absent_history_says_why() {
    let stored = Stored::new("history-absent", &json!({}));
    stored.check(&["history", "web"], 1, "", "no load history of web in ");
    stored.check(&["history", "web"], 1, "", "name it with --config FILE");
    stored.check(&["history", "wbe"], 1, "", "no load history of wbe; did you mean web?");
    stored.check(&["history", "../../etc/passwd"], 1, "", "the config has: api, web");
    stored.check(&["history", "nope"], 1, "", "no load history of nope in ");
    stored.check(&["history", "nope"], 1, "", ", nor of any other service; the config has: api");
    stored.check(&["report"], 1, "", "no load history in ");
    stored.check(&["report", "--since", "0"], 2, "", "see `plimsoll help report`");
    let off = Stored::new("history-zero", &json!({ "history": 0 }));
    off.check(&["history", "web"], 1, "", "autoscaler.history is 0, so none is written");
    stored.write("web", 3, 0..10);
    stored.check(&["history", "api"], 1, "", "within two minutes of its first evaluation");
    // As when it had another name before.
    stored.check(&["history", "api"], 1, "", "; there is history of: web\n");
    off.check(&["history", "nope"], 1, "", "no load history of nope in ");
    stored.check(&["history", "nope"], 1, "", "; there is history of: web\n");
    stored.check(&["history", "web"], 1, "", "give an earlier --since");
    stored.check(&["history", "web", "--since", "0"], 2, "", "--since must be a minute ago");
    stored.check(&["history", "web", "--since", "2999-01-01T00:00:00Z"], 2, "", "is in the future");
    stored.check(&["report", "--since", "2999-01-01"], 2, "", "2999-01-01 is in the future; see");
    stored.check(&["history", "web", "--since", "2020-01-01"], 0, "covers 10m of ", "");
    stored.check(&["history", "web", "--since", "4d"], 0, "web, UTC times, covers 10m of 4d", "");
    // Longer than anybody keeps rows.
    stored.check(&["history", "web", "--since", "1000000d"], 0, "web, UTC times, covers 10m", "");
    let config = stored.0.join("config.json");
    fs::write(config, "{").unwrap();
    stored.check(&["history", "web"], 1, "", "config.json:1:");
}

#[test]
fn each_form_has_every_row_of_its_service_alone() {
    let stored = Stored::new("history-forms", &json!({}));
    stored.write("web", 1, 0..1440);
    stored.write("web-2", 1, 0..7);
    // Named like `web` and a day; and of a service that left the config.
    let day = (now() - TimeDelta::days(1)).format("%Y-%m-%d").to_string();
    stored.write(&format!("web-{day}"), 1, 0..5);
    stored.write("old", 1, 3..4);
    let since = ["--since", "3d"];
    let lines = |service: &str, form: &str| {
        let ran = stored.run(&[&["history", service, form], &since[..]].concat(), None);
        assert_eq!((ran.0, ran.2.as_str()), (0, ""), "{service} {form}");
        ran.1.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for (service, rows) in [("web", 1440), ("web-2", 7), (&format!("web-{day}"), 5), ("old", 1)] {
        assert_eq!(lines(service, "--csv").len(), 1 + rows, "{service}");
        assert_eq!(lines(service, "--json").len(), rows, "{service}");
    }
    let csv = lines("old", "--csv");
    let head = "time,ready,desired,requests,errors_5xx,queue,host_cpu,host_memory,cpu target,\
        cpu average,cpu highest,cpu forecast";
    assert_eq!(csv, [head.to_owned(), format!("{day}T00:03:00Z,2,2,100,0,0,50,40,70,70,100,")]);
    let json: Value = serde_json::from_str(&lines("old", "--json")[0]).unwrap();
    assert_eq!(
        json["loads"][0],
        json!({"metric":"cpu","target":70.0,"average":70.0,"highest":100.0,"forecast":null})
    );

    let svg = stored.0.join("web.svg");
    stored.check(&["history", "web", "--since", "3d", "--svg", svg.to_str().unwrap()], 0, "", "");
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("48 replica-hours"), "{svg}");
    stored.check(
        &["history", "web", "--since", "3d", "--svg", "/nowhere/f"],
        1,
        "",
        "cannot write",
    );
    // Its file may be gone by retention, and not the others.
    stored.check(&["history", "api", "--since", "3d"], 1, "", "no load history of api");
}

#[test]
fn a_file_that_cannot_be_read_costs_its_day_and_is_named() {
    let stored = Stored::new("history-odd", &json!({}));
    type Make = fn(&std::path::Path);
    let plants: [(i32, &str, Make); 6] = [
        (0, "", |path| fs::write(path, "").unwrap()),
        (0, "2 lines of ", |path| fs::write(path, "\0\u{feff}\n# x\n,,\n").unwrap()),
        (1, "larger than 1 MiB", |path| fs::File::create(path).unwrap().set_len(1 << 31).unwrap()),
        (1, "not a regular file", |path| fs::create_dir(path).unwrap()),
        (1, "not a regular file", make_pipe),
        (1, "symbolic link", |path| symlink("/dev/zero", path).unwrap()),
    ];
    for (exit, words, plant) in plants {
        stored.write("web", 1, 0..10);
        let path = stored.0.join(&Stored::name("web", 2));
        plant(&path);
        for command in [&["history", "web", "--since", "4d", "--json"][..], &["report", "--json"]] {
            let (status, stdout, stderr) = stored.run(command, None);
            let is_read = words.is_empty();
            assert_eq!(status, exit, "{words}: {stderr}");
            assert!(stderr.contains(words) && stderr.is_empty() == is_read, "{words}: {stderr}");
            assert!(stderr.contains(&path.display().to_string()) || is_read, "{stderr}");
            let rows = if command[0] == "report" {
                serde_json::from_str::<Value>(&stdout).unwrap()["services"][1]["minutes"].as_i64()
            } else {
                i64::try_from(stdout.lines().count()).ok()
            };
            assert_eq!(rows, Some(10), "{words}: {stdout}");
        }
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
    }
}

fn make_pipe(path: &std::path::Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn advice_and_a_simulation_say_what_they_left_out() {
    let stored = Stored::new("history-left-out", &json!({}));
    stored.write("web", 1, 0..30);
    let pipe = stored.0.join(&Stored::name("web", 2));
    make_pipe(&pipe);
    let odd = stored.0.join(&Stored::name("web", 3));
    fs::write(&odd, "\n# [[\"cpu\",70.0]]\n-1,2,2,1,0,0,1,1,1,1\n").unwrap();
    let left_out = [
        "plimsoll: rows are missing: cannot read the load history in ".to_owned(),
        format!("{}: it is not a regular file", pipe.display()),
        format!("1 line of {} is no row", odd.display()),
    ];
    let commands: [(&[&str], i32); 2] = [
        (&["simulate", "--history", "5d", "--service", "web"], 0),
        // Thirty minutes are too few.
        (&["advise", "web", "--since", "5d"], 1),
    ];
    for (command, exit) in commands {
        let (status, stdout, stderr) = stored.run(command, None);
        assert_eq!(status, exit, "{command:?}: {stderr}");
        assert_eq!(stdout.is_empty(), exit == 1, "{command:?}: {stdout}");
        assert!(left_out.iter().all(|words| stderr.contains(words)), "{command:?}: {stderr}");
    }
}

#[test]
fn another_user_is_told_as_whom_to_run_it() {
    if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) != 0) {
        return;
    }
    let stored = Stored::new("history-user", &json!({}));
    stored.write("web", 1, 0..10);
    let history = stored.0.join("state/history");
    let file = stored.0.join(&Stored::name("web", 1));
    for locked in [&file, &history] {
        fs::set_permissions(locked, fs::Permissions::from_mode(0o600)).unwrap();
        for args in [
            &["history", "web", "--since", "3d"][..],
            &["report"],
            &["advise", "web", "--since", "3d"],
            &["simulate", "--service", "web", "--history", "3d"],
        ] {
            let (status, _, stderr) = stored.run(args, Some(NOBODY));
            assert_eq!(status, 1, "{stderr}");
            assert!(stderr.contains("Permission denied"), "{stderr}");
            assert!(stderr.contains("run this command as"), "{stderr}");
        }
    }
}

#[test]
fn a_report_adds_rows_and_events_up() {
    let stored = Stored::new("report-sums", &json!({}));
    stored.write("web", 1, 0..600);
    stored.write("gone", 1, 0..60);
    let event = |kind: &str, message: &str| {
        let at = (now() - TimeDelta::hours(2)).to_rfc3339();
        let event = json!({ "at": at, "kind": kind, "service": "web", "message": message });
        format!("{event}\n")
    };
    let exited = event("replica.exited", "exit code 137 (killed: out of memory)");
    stored.0.write("state/events.jsonl.1", &(event("scale.up", "") + &exited));
    stored.0.write("state/events.jsonl", &(exited.clone() + &event("scale.down", "") + "{torn"));
    let (status, stdout, stderr) = stored.run(&["report", "--json"], None);
    assert_eq!((status, stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let services = report["services"].as_array().unwrap();
    let names: Vec<&str> = services.iter().map(|s| s["service"].as_str().unwrap()).collect();
    assert_eq!(names, ["api", "gone", "web"]);
    let web = &services[2];
    for (key, want) in [
        ("minutes", json!(600)),
        ("replica_hours", json!(20.0)),
        ("max", json!(4)),
        ("replica_hours_at_max", json!(40.0)),
        ("fixed", json!({ "replicas": 1, "replica_hours": 10.0, "is_lower_bound": false })),
        ("requests", json!(60_000)),
        ("scaled_up", json!(1)),
        ("scaled_down", json!(1)),
        ("deaths", json!(2)),
        ("causes", json!([{ "cause": "exit code 137 (killed: out of memory)", "count": 2 }])),
        ("worst_minutes", json!([])),
    ] {
        assert_eq!(web[key], want, "{key}");
    }
    assert_eq!(services[1]["max"], Value::Null, "it left the config");
    stored.check(
        &["report"],
        0,
        "web: covers 10h of 7d\n  cost          20 replica-hours of 40 at max (4): 50% saved",
        "",
    );
    stored.check(&["report"], 0, "changes and deaths are known since", "");
    stored.check(&["report", "--since", "10m"], 0, "web: no rows in the load history", "");
}

#[test]
fn a_report_with_a_bad_config_says_what_is_unknown_and_why() {
    let stored = Stored::new("report-bad", &json!({}));
    stored.write("web", 1, 0..600);
    let config = stored.0.join("config.json");
    let mut bad: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    bad["services"]["web"]["max_replicas"] = json!("many");
    fs::write(&config, bad.to_string()).unwrap();
    stored.check(
        &["report"],
        0,
        "web: covers 10h of 7d\n  cost          20 replica-hours; its max is unknown",
        "have no max and no advice: ",
    );
    stored.check(&["report"], 0, "", "config.json is bad: see `plimsoll check`");
    for (key, value, words) in [
        ("state_dri", json!("/nowhere"), "autoscaler.state_dri: unknown key"),
        ("state_dir", json!(7), "autoscaler.state_dir: "),
    ] {
        let mut bad = bad.clone();
        bad["services"]["web"]["max_replicas"] = json!(4);
        bad["autoscaler"].as_object_mut().unwrap().remove("state_dir");
        bad["autoscaler"][key] = value;
        fs::write(&config, bad.to_string()).unwrap();
        for command in [&["history", "web"][..], &["report"]] {
            let (_, _, stderr) = stored.run(command, None);
            let want = "the load history is read from /var/lib/plimsoll all the same\n";
            assert!(stderr.contains(want) && stderr.contains(words), "{key}: {stderr}");
        }
    }
}

#[test]
fn a_report_has_the_advice_in_one_line() {
    let stored = Stored::new("report-advice", &json!({ "check_interval": 3600 }));
    let config = stored.0.join("config.json");
    let mut wide: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    wide["services"]["web"]["min_replicas"] = json!(3);
    fs::write(&config, wide.to_string()).unwrap();
    stored.write("api", 1, 0..600);
    stored.write("gone", 1, 0..600);
    let report: Value = serde_json::from_str(&stored.run(&["report", "--json"], None).1).unwrap();
    let [api, gone, _] = &report["services"].as_array().unwrap()[..] else { panic!("{report}") };
    let missing = "none: the history of api covers 10h, and advice needs 2d: ask again in 1d 14h";
    assert_eq!((&api["advice"], &api["advice_is_change"]), (&json!(missing), &Value::Null));
    assert_eq!((&gone["advice"], &gone["advice_is_change"]), (&Value::Null, &Value::Null));

    for ago in 1..=2 {
        // As few as are no gap.
        let minutes = (0..1440).step_by(5);
        let rows: String = minutes.map(|n| format!("{n},3,3,100,0,0,50,40,70,70\n")).collect();
        stored.0.write(&Stored::name("web", ago), &format!("\n# [[\"cpu\",70.0]]\n{rows}"));
    }
    let (status, stdout, stderr) = stored.run(&["report"], None);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    let of = |service: &str| {
        let block = stdout.split("\n\n").find(|block| block.starts_with(service)).unwrap();
        let advice = block.split_once("\n  advice        ").map(|(_, advice)| advice);
        advice.map(|advice| advice.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let web = of("web:").unwrap();
    // A busy machine has no time for it in a debug build.
    let is_searched = web.starts_with("min_replicas 3 -> 1, ")
        && web.contains(": 67% fewer replica-hours, 100.0% within target (");
    assert!(is_searched || web.starts_with("not searched: the time for it was used up ("), "{web}");
    assert!(web.ends_with(" (plimsoll advise web --since 7d)"), "{web}");
    assert!(of("api:").is_some() && of("gone:").is_none(), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
}
