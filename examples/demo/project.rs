//! A project of docker compose, as a newcomer has it, in a folder of the demo's own. All that it
//! makes carries the project's name, so that no other is touched.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{clear, docker, docker_env, leftovers, own_folder, put};
use crate::process::{Interrupt, Stop, end_child_within, find, run};
use crate::watch::Lines;

/// The name of its folder, which docker compose takes for the project's.
const NAME: &str = "plimsoll-demo";
/// As plimsoll calls compose's service `web`.
pub(crate) const SERVICE: &str = "plimsoll-demo-web";
const OF_PROJECT: &str = "label=com.docker.compose.project=plimsoll-demo";
const APP_IMAGE: &str = "plimsoll-demo-app:1";
const EXAMPLE: &str = "contrib/docker/one/compose.labels.yaml";
/// Where contrib/setup.sh puts it if the system has none.
const PLUGIN: &str =
    "/var/cache/plimsoll/compose-2.26/usr/libexec/docker/cli-plugins/docker-compose";
/// Where the app listens before, and HAProxy after.
pub(crate) const TARGET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

const BEFORE: &str = "\
services:
  web:
    image: ${APP_IMAGE:-shop/web:1.4}
    restart: unless-stopped
    cpus: 0.25
    ports: [\"80:8080\"]
";
const WITHIN: Duration = Duration::from_secs(60);
const REMOVALS_MAX: usize = 3;
const LOG_LINES_SHOWN: usize = 10;
const LOG_ENDS_WITHIN: Duration = Duration::from_secs(2);

pub(crate) struct Project {
    folder: PathBuf,
    /// Locked as long as this demo lives, however it ends.
    _locked: File,
    image: String,
    /// What follows plimsoll's log.
    logging: Option<Child>,
    is_cleared: bool,
}

impl Project {
    pub(crate) fn set_up(image: &str, interrupt: &mut Interrupt) -> Result<Project, Stop> {
        let (folder, locked) = own_folder()?;
        let others = leftovers(&folder).inspect_err(|_| drop(fs::remove_dir(&folder)))?;
        // From here on, whatever happens, its end tidies up.
        let image = image.to_owned();
        let project = Project { folder, _locked: locked, image, logging: None, is_cleared: false };
        others.iter().try_for_each(|folder| clear(folder))?;
        remove_all()?;
        need_port()?;
        need_nobody()?;
        fs::create_dir(project.folder.join(NAME)).map_err(|error| project.cannot(&error))?;
        project.find_compose(interrupt)?;
        Ok(project)
    }

    fn cannot(&self, error: &std::io::Error) -> String {
        format!("cannot write in {}: {error}", self.folder.display())
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join(NAME).join("compose.yaml")
    }

    /// The plugin that the docker command finds, else that of the set-up.
    fn find_compose(&self, interrupt: &mut Interrupt) -> Result<(), Stop> {
        let version = ["version", "--short"];
        if interrupt.run(docker(&["compose"]).args(version), WITHIN).is_ok() {
            return Ok(());
        }
        if Path::new(PLUGIN).exists() {
            let plugins = self.plugins().join("cli-plugins");
            let made = fs::create_dir_all(&plugins);
            made.and_then(|()| symlink(PLUGIN, plugins.join("docker-compose")))
                .map_err(|error| self.cannot(&error))?;
        }
        let found = self.compose(interrupt, &version).map(drop);
        found.map_err(|stop| match stop {
            Stop::Signal(_) => stop,
            Stop::ActionError(trouble) => Stop::ActionError(format!(
                "docker compose v2 does not run ({trouble}); `contrib/setup.sh compose` gets it"
            )),
        })
    }

    /// A config folder of the docker command, which has no more than the plugin.
    fn plugins(&self) -> PathBuf {
        self.folder.join("docker")
    }

    /// Runs `docker compose` in the project's folder, and gives what it printed.
    pub(crate) fn compose(&self, interrupt: &mut Interrupt, args: &[&str]) -> Result<String, Stop> {
        let mut command = docker(&["compose"]);
        command.args(args).current_dir(self.folder.join(NAME));
        command.env("PLIMSOLL_IMAGE", &self.image).env("APP_IMAGE", APP_IMAGE);
        for variable in ["COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES"] {
            command.env_remove(variable);
        }
        if self.plugins().exists() {
            command.env("DOCKER_CONFIG", self.plugins());
        }
        interrupt.run(&mut command, WITHIN)
    }

    /// Writes the compose file, and gives the lines that go and come.
    pub(crate) fn write(&self, text: &str) -> Result<Vec<String>, String> {
        let before = fs::read_to_string(self.file()).unwrap_or_default();
        fs::write(self.file(), text).map_err(|error| self.cannot(&error))?;
        Ok(difference(&before, text))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("plimsoll.log")
    }

    /// The end of plimsoll's log, for a look at what went wrong.
    pub(crate) fn last_words(&self) -> String {
        let Ok(log) = fs::read_to_string(self.log()) else {
            return "plimsoll has not started".to_owned();
        };
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("the end of plimsoll's log:\n{}", last.join("\n"))
    }

    /// Follows plimsoll's log. It is one container from its start to the end of the demo.
    pub(crate) fn follow_log(&mut self, interrupt: &mut Interrupt) -> Result<Lines, Stop> {
        let container = self.compose(interrupt, &["ps", "-q", "plimsoll"])?;
        let log = self.log();
        let file = File::create(&log).map_err(|error| self.cannot(&error))?;
        let mut command = Command::new("docker");
        docker_env(command.args(["logs", "--follow", &container]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().map_err(|error| format!("docker logs: {error}"))?;
        self.logging = Some(child);
        Ok(Lines::follow(&log).map_err(|error| self.cannot(&error))?)
    }

    /// Everything goes, whatever state it is in.
    pub(crate) fn take_down(&mut self) -> Result<(), String> {
        self.is_cleared = true;
        if let Some(mut logging) = self.logging.take() {
            end_child_within(&mut logging, LOG_ENDS_WITHIN);
        }
        remove_all().and(clear(&self.folder))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if !self.is_cleared
            && let Err(trouble) = self.take_down()
        {
            eprintln!("demo: {trouble}");
        }
    }
}

/// Lines that go, with a `-`, and lines that come, with a `+`.
fn difference(before: &str, after: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut old = before.lines().peekable();
    let new: Vec<&str> = after.lines().collect();
    for (at, line) in new.iter().enumerate() {
        while let Some(gone) = old.next_if(|old| !new[at..].contains(old)) {
            out.push(format!("- {gone}"));
        }
        if old.next_if(|old| old == line).is_none() {
            out.push(format!("+ {line}"));
        }
    }
    out.extend(old.map(|gone| format!("- {gone}")));
    out
}

/// What a newcomer has: the app alone.
pub(crate) fn before() -> String {
    BEFORE.to_owned()
}

/// The example without its comments, with `max`, the host name of this demo, and the app's share of
/// a core as before. Two more labels let the demo see a scale-down soon.
pub(crate) fn labelled(max: &str) -> Result<String, String> {
    let text = fs::read_to_string(EXAMPLE).map_err(|error| format!("{EXAMPLE}: {error}"))?;
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let text = put(EXAMPLE, &text, "shop.example", &TARGET.ip().to_string())?;
    let text = put(EXAMPLE, &text, "    labels:", "    cpus: 0.25\n    labels:")?;
    let more = format!(
        "plimsoll.max: {max},\n      plimsoll.cooldown_period: 5, \
         plimsoll.behavior.scale_down.stabilization: 10 }} # for the demo"
    );
    put(EXAMPLE, &text, "plimsoll.max: 6 }", &more)
}

/// By plimsoll's own word, once it answers.
pub(crate) fn status(interrupt: &mut Interrupt, project: &Project) -> Result<Value, Stop> {
    let asked =
        project.compose(interrupt, &["exec", "-T", "plimsoll", "plimsoll", "status", "--json"]);
    match asked {
        Ok(said) => Ok(serde_json::from_str(&said).unwrap_or_default()),
        Err(Stop::ActionError(_)) => Ok(Value::Null),
        Err(stop) => Err(stop),
    }
}

/// What is left of the project.
pub(crate) fn remains() -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for list in [&["ps", "--all"][..], &["volume", "ls"], &["network", "ls"]] {
        let ids = run(docker(list).args(["--quiet", "--filter", OF_PROJECT]), WITHIN)?;
        all.extend(ids.lines().map(|id| format!("{} {id}", list[0])));
    }
    Ok(all)
}

/// Several times if need be: what an interrupted command was making may appear late.
fn remove_all() -> Result<(), String> {
    let mut removed = Ok(());
    for _ in 0..REMOVALS_MAX {
        if remains()?.is_empty() {
            return Ok(());
        }
        removed = remove_each();
    }
    removed?;
    match remains()?.as_slice() {
        [] => Ok(()),
        left => Err(format!("these stay: {}", left.join(", "))),
    }
}

/// plimsoll first: nobody is to replace what goes.
fn remove_each() -> Result<(), String> {
    let of_plimsoll = "label=com.docker.compose.service=plimsoll";
    for (list, remove) in [
        (&["ps", "--all", "--filter", of_plimsoll][..], &["rm", "--force", "--volumes"][..]),
        (&["ps", "--all"], &["rm", "--force", "--volumes"]),
        (&["volume", "ls"], &["volume", "rm"]),
        (&["network", "ls"], &["network", "rm"]),
    ] {
        let ids = run(docker(list).args(["--quiet", "--filter", OF_PROJECT]), WITHIN)?;
        if !ids.is_empty() {
            run(docker(remove).args(ids.lines()), WITHIN)?;
        }
    }
    Ok(())
}

/// Without a config file, port 80 is the one that HAProxy opens.
pub(crate) fn need_port() -> Result<(), String> {
    let bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET.port()));
    let is_taken = match bound {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            TcpStream::connect(TARGET).is_ok()
        }
        Err(_) => true,
    };
    if !is_taken {
        return Ok(());
    }
    Err("port 80 of this host is in use, and labels alone know no other; end what listens there: \
         ss -ltnp 'sport = :80'"
        .to_owned())
}

/// Of two that follow labels, each would take what the other has.
fn need_nobody() -> Result<(), String> {
    let daemons = find(|args| args.first().is_some_and(|arg| *arg == b"run"));
    if let Some(pid) = daemons.first() {
        return Err(format!("process {pid} is a plimsoll that may follow labels; end that first"));
    }
    for label in ["label=plimsoll.port", "label=plimsoll.host", "label=plimsoll.max"] {
        let ids = run(docker(&["ps", "--all", "--quiet", "--filter"]).arg(label), WITHIN)?;
        if let Some(id) = ids.lines().next() {
            return Err(format!("container {id} has labels that the demo's plimsoll would follow"));
        }
    }
    Ok(())
}
