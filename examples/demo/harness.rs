//! What the demo sets up and takes down again: a folder, the image, the daemon, and whatever that
//! starts. Everything carries the folder's name or the service's, so that no other is touched.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, io, process};

use crate::Options;
use crate::process::running_from;
use crate::process::{Interrupt, Stop, end_all_from, end_child_within, exited, find, run};

pub(crate) const CONFIG: &str = "contrib/examples/demo.json";
pub(crate) const SERVICE: &str = "plimsoll-demo";
const IMAGE_SCRIPT: &str = "contrib/demo/image.sh";
const LABEL: &str = "label=io.plimsoll.service=plimsoll-demo";
/// What the example config says, and the demo puts something else for.
const EXAMPLE_FOLDER: &str = "/tmp/plimsoll-demo";
const EXAMPLE_LISTEN: &str = "127.0.0.1:18080";
const EXAMPLE_HAPROXY: &str = "/usr/sbin/haproxy";
/// As the example config says: the docker command must not talk to another Docker than plimsoll.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

const FOLDER_PREFIX: &str = "plimsoll-demo-";
const DOCKER_WITHIN: Duration = Duration::from_secs(30);
/// The daemon itself waits 10 s for what is under way.
const DAEMON_ENDS_WITHIN: Duration = Duration::from_secs(12);

pub(crate) struct Harness {
    folder: PathBuf,
    /// Locked as long as this demo lives, however it ends.
    _locked: File,
    pub(crate) image: String,
    pub(crate) target: SocketAddr,
    daemon: Option<Child>,
    is_cleared: bool,
}

impl Harness {
    /// Everything but the daemon.
    pub(crate) fn set_up(options: &Options, interrupt: &mut Interrupt) -> Result<Harness, Stop> {
        need_files(options)?;
        let haproxy = need_haproxy()?;
        need_docker(interrupt)?;
        need_nobody_by_hand()?;
        let target = free_address()?;
        let (folder, locked) = own_folder()?;
        let leftovers = leftovers(&folder).inspect_err(|_| drop(fs::remove_dir(&folder)))?;
        // From here on, whatever happens, its end tidies up.
        let image = String::new();
        let daemon = None;
        let mut harness =
            Harness { folder, _locked: locked, image, target, daemon, is_cleared: false };
        leftovers.iter().try_for_each(|folder| clear(folder))?;
        remove_containers()?;
        harness.write_config(&haproxy)?;
        harness.image = interrupt
            .run(docker_env(Command::new(IMAGE_SCRIPT).arg(&options.app)), DOCKER_WITHIN)?;
        Ok(harness)
    }

    pub(crate) fn start_daemon(&mut self, plimsoll: &Path) -> Result<(), String> {
        let log = File::create(self.log()).map_err(|error| self.cannot("write the log", error))?;
        let mut command = Command::new(plimsoll);
        command.arg("run").arg("--config").arg(self.config()).env_remove("PLIMSOLL_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let child = command.spawn();
        let child = child.map_err(|error| format!("cannot run {}: {error}", plimsoll.display()))?;
        self.daemon = Some(child);
        Ok(())
    }

    pub(crate) fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// An error when the daemon has ended by itself.
    pub(crate) fn check_daemon(&mut self) -> Result<(), String> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let Some(status) = exited(daemon)? else { return Ok(()) };
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last = log.lines().next_back().unwrap_or("nothing");
        Err(format!("plimsoll ended by itself ({status}); it said last: {last}"))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("demo.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("plimsoll.log")
    }

    pub(crate) fn haproxy_socket(&self) -> PathBuf {
        self.folder.join("haproxy.sock")
    }

    fn cannot(&self, what: &str, error: io::Error) -> String {
        format!("cannot {what} in {}: {error}", self.folder.display())
    }

    fn write_config(&self, haproxy: &Path) -> Result<(), String> {
        let text = fs::read_to_string(CONFIG).map_err(|error| format!("{CONFIG}: {error}"))?;
        let text = put(CONFIG, &text, EXAMPLE_FOLDER, &self.folder.to_string_lossy())?;
        let text = put(CONFIG, &text, EXAMPLE_LISTEN, &self.target.to_string())?;
        let text = put(CONFIG, &text, EXAMPLE_HAPROXY, &haproxy.to_string_lossy())?;
        fs::write(self.config(), text).map_err(|error| self.cannot("write the config", error))
    }

    /// Ends the daemon, then its HAProxy, then its replicas: nobody is to replace what goes.
    pub(crate) fn take_down(&mut self, keep_folder: bool) -> Result<(), String> {
        self.is_cleared = true;
        if let Some(mut daemon) = self.daemon.take() {
            end_child_within(&mut daemon, DAEMON_ENDS_WITHIN);
        }
        let ended = end_all_from(&self.folder);
        let removed = remove_containers();
        let cleared = if keep_folder {
            Ok(())
        } else {
            fs::remove_dir_all(&self.folder).map_err(|error| self.cannot("tidy up", error))
        };
        ended.and(removed).and(cleared)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if !self.is_cleared
            && let Err(trouble) = self.take_down(false)
        {
            eprintln!("demo: {trouble}");
        }
    }
}

fn need_files(options: &Options) -> Result<(), String> {
    for file in [CONFIG, IMAGE_SCRIPT] {
        if !Path::new(file).exists() {
            return Err(format!("{file} is not here; run this from the top of the repository"));
        }
    }
    for file in [&options.plimsoll, &options.app] {
        if !file.is_file() {
            let file = file.display();
            return Err(format!("{file} is not there; `make demo` builds it and runs the demo"));
        }
    }
    Ok(())
}

fn need_haproxy() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let found = more.into_iter().chain(env::split_paths(&path)).map(|dir| dir.join("haproxy"));
    let mut found = found.filter(|file| file.is_absolute() && file.is_file());
    found.next().ok_or_else(|| {
        "haproxy is not installed; run contrib/setup.sh, or `make demo`, which does".to_owned()
    })
}

fn need_docker(interrupt: &mut Interrupt) -> Result<(), Stop> {
    let mut command = docker(&["version", "--format", "{{.Server.Version}}"]);
    interrupt.run(&mut command, DOCKER_WITHIN).map(drop).map_err(|stop| match stop {
        Stop::Signal(_) => stop,
        Stop::ActionError(trouble) => Stop::ActionError(format!(
            "Docker does not answer at {DOCKER_SOCKET} ({trouble}); run contrib/setup.sh, or \
             `make demo`, which does"
        )),
    })
}

/// Somebody who tries the example config has replicas with the same label as ours.
fn need_nobody_by_hand() -> Result<(), String> {
    let from_folder = running_from(Path::new(EXAMPLE_FOLDER));
    let from_config = find(|args| args.iter().any(|arg| arg.ends_with(CONFIG.as_bytes())));
    match from_folder.into_iter().chain(from_config).next() {
        None => Ok(()),
        Some(pid) => Err(format!(
            "process {pid} runs {CONFIG} by hand; end that first, as the head of the file says"
        )),
    }
}

/// Locked before the others are looked at: of two demos that start at once, none may take the other
/// for a leftover.
pub(crate) fn own_folder() -> Result<(PathBuf, File), String> {
    let folder = env::temp_dir().join(format!("{FOLDER_PREFIX}{}", process::id()));
    let make = || {
        if folder.exists() {
            fs::remove_dir_all(&folder)?; // of an earlier process of this number
        }
        DirBuilder::new().mode(0o700).create(&folder)?;
        File::open(&folder)
    };
    let opened = make().map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    match opened.try_lock() {
        Ok(()) => Ok((folder, opened)),
        Err(error) => Err(format!("cannot lock {}: {error}", folder.display())),
    }
}

/// The folders of demos that were killed before they could tidy up, or kept theirs for a look.
pub(crate) fn leftovers(own: &Path) -> Result<Vec<PathBuf>, String> {
    let mut leftovers = Vec::new();
    for folder in demo_folders().filter(|folder| folder != own) {
        match File::open(&folder).map(|opened| opened.try_lock()) {
            Ok(Ok(())) => leftovers.push(folder),
            Ok(Err(TryLockError::WouldBlock)) => {
                return Err(format!("another demo runs, in {}", folder.display()));
            }
            // Another user's, or gone meanwhile.
            Ok(Err(TryLockError::Error(_))) | Err(_) => {}
        }
    }
    Ok(leftovers)
}

fn demo_folders() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(env::temp_dir()).into_iter().flatten().flatten();
    let is_ours = |name: &str| {
        let number = name.strip_prefix(FOLDER_PREFIX);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries.filter(move |e| e.file_name().to_str().is_some_and(is_ours)).map(|e| e.path())
}

pub(crate) fn clear(folder: &Path) -> Result<(), String> {
    end_all_from(folder)?;
    let removed = fs::remove_dir_all(folder);
    removed.map_err(|error| format!("cannot remove {}: {error}", folder.display()))
}

fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|error| format!("no free port on 127.0.0.1: {error}"))
}

pub(crate) fn put(file: &str, text: &str, example: &str, real: &str) -> Result<String, String> {
    if !text.contains(example) {
        return Err(format!("{file} does not name {example}, which the demo has to replace"));
    }
    Ok(text.replace(example, real))
}

fn remove_containers() -> Result<(), String> {
    let ids = run(&mut docker(&["ps", "--all", "--quiet", "--filter", LABEL]), DOCKER_WITHIN)?;
    if ids.is_empty() {
        return Ok(());
    }
    let mut remove = docker(&["rm", "--force", "--volumes"]);
    run(remove.args(ids.lines()), DOCKER_WITHIN).map(drop)
}

pub(crate) fn docker(args: &[&str]) -> Command {
    let mut command = Command::new("docker");
    docker_env(command.args(args));
    command
}

pub(crate) fn docker_env(command: &mut Command) -> &mut Command {
    command.env("DOCKER_HOST", format!("unix://{DOCKER_SOCKET}")).env_remove("DOCKER_CONTEXT")
}
