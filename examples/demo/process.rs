//! Other programs: running them with a deadline, finding those that run our files, ending them.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use std::os::unix::process::CommandExt;

const STEP: Duration = Duration::from_millis(20);
/// From a request to end to the end by force.
const GRACE: Duration = Duration::from_secs(5);

/// Why the demo goes no further.
pub(crate) enum Stop {
    Signal(i32),
    ActionError(String),
}

impl From<String> for Stop {
    fn from(trouble: String) -> Stop {
        Stop::ActionError(trouble)
    }
}

/// What tells the demo to end early.
pub(crate) struct Interrupt {
    signals: Signals,
}

impl Interrupt {
    pub(crate) fn listen() -> io::Result<Interrupt> {
        Ok(Interrupt { signals: Signals::new([SIGINT, SIGTERM, SIGHUP])? })
    }

    pub(crate) fn check(&mut self) -> Result<(), Stop> {
        self.signals.pending().next().map_or(Ok(()), |signal| Err(Stop::Signal(signal)))
    }

    /// Runs a program to its end and returns what it printed.
    pub(crate) fn run(&mut self, program: &mut Command, within: Duration) -> Result<String, Stop> {
        let mut child = spawn(program)?;
        let until = Instant::now() + within;
        while exited(&mut child)?.is_none() && Instant::now() < until {
            if let Err(stop) = self.check() {
                end_group(&mut child);
                return Err(stop);
            }
            thread::sleep(STEP);
        }
        Ok(output(program, child)?)
    }
}

/// The same where no signal may end it: when it tidies up.
pub(crate) fn run(program: &mut Command, within: Duration) -> Result<String, String> {
    let mut child = spawn(program)?;
    let until = Instant::now() + within;
    while exited(&mut child)?.is_none() && Instant::now() < until {
        thread::sleep(STEP);
    }
    output(program, child)
}

/// In a process group of its own: Ctrl-C in a terminal goes to every process of the group there,
/// and it is for the demo to end what it has begun, in its order.
fn spawn(program: &mut Command) -> Result<Child, String> {
    let piped = program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.process_group(0).spawn().map_err(|error| format!("{}: {error}", name_of(program)))
}

pub(crate) fn exited(child: &mut Child) -> Result<Option<ExitStatus>, String> {
    child.try_wait().map_err(|error| format!("cannot wait for process {}: {error}", child.id()))
}

/// Of a program that has ended; one that has not is late, and is ended.
fn output(program: &Command, mut child: Child) -> Result<String, String> {
    if exited(&mut child)?.is_none() {
        end_group(&mut child);
        return Err(format!("{} did not end in time", name_of(program)));
    }
    let name = name_of(program);
    let output = child.wait_with_output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(format!("{name}: {}: {}", output.status, said.join("; ")))
}

fn name_of(program: &Command) -> String {
    program.get_program().to_string_lossy().into_owned()
}

fn end_group(child: &mut Child) {
    kill("TERM", &format!("-{}", child.id()));
    end_child(child);
}

/// Asks a child to end, and makes sure that it does.
pub(crate) fn end_child_within(child: &mut Child, within: Duration) {
    kill("TERM", &child.id().to_string());
    wait_for(within, || !matches!(child.try_wait(), Ok(None)));
    end_child(child);
}

fn end_child(child: &mut Child) {
    wait_for(GRACE, || !matches!(child.try_wait(), Ok(None)));
    // Both fail only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// The shell has `kill` built in; the program of that name is not on every machine.
fn kill(signal: &str, target: &str) {
    let line = format!("kill -{signal} {target}"); // not every shell takes a `--` here
    let shell = Command::new("sh").arg("-c").arg(line).stderr(Stdio::null()).status();
    // A process that is gone already cannot be told to go.
    let _ = shell;
}

fn wait_for(within: Duration, mut reached: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + within;
    while !reached() {
        if until <= Instant::now() {
            return false;
        }
        thread::sleep(STEP);
    }
    true
}

/// Every HAProxy and every plimsoll whose arguments name a file in `folder`. An editor or a pager
/// that looks at one is none of them.
pub(crate) fn running_from(folder: &Path) -> Vec<u32> {
    let inside = folder.join("");
    let inside = inside.as_os_str().as_encoded_bytes();
    find(|args| args.iter().any(|arg| arg.starts_with(inside)))
}

/// The same by any test of the arguments.
pub(crate) fn find(is_wanted: impl Fn(&[&[u8]]) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let fits = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let name = args[0].rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_ours = name.starts_with(b"haproxy") || name.starts_with(b"plimsoll");
        is_ours && is_wanted(&args[1..])
    };
    pids.filter(fits).collect()
}

/// Ends everything that runs from `folder`. Looks again each time: a process may have started
/// another one before it ended.
pub(crate) fn end_all_from(folder: &Path) -> Result<(), String> {
    for signal in ["TERM", "KILL"] {
        for pid in running_from(folder) {
            kill(signal, &pid.to_string());
        }
        if wait_for(GRACE, || running_from(folder).is_empty()) {
            return Ok(());
        }
    }
    Err(format!("processes {:?} do not end", running_from(folder)))
}
