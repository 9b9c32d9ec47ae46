//! Shows plimsoll's main job on a real Docker and a real HAProxy, in well under two minutes: a
//! service is loaded until it has four replicas and left alone until it is back to one, while
//! clients of every kind watch for a failed request. `make demo` builds and runs it. With
//! `--compose` it shows the same for a project of docker compose; `make demo-compose` does that.
#![allow(clippy::disallowed_methods, reason = "a show for people runs in real time")]

#[path = "../../tests/common/load.rs"]
mod load;
mod compose;
mod harness;
mod process;
mod project;
mod report;
mod screen;
mod show;
mod watch;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::harness::{CONFIG, Harness};
use crate::process::{Interrupt, Stop};
use crate::report::Report;
use crate::screen::{Colour, Screen};
use crate::show::{QUIET, Show};

const USAGE: &str = "usage: demo --plimsoll PATH --app PATH [--seconds N]
       demo --compose IMAGE

  --plimsoll PATH  the daemon to show
  --app PATH       the static example app, which becomes the image that it runs
  --seconds N      how long the heavy load lasts: 15 to 50, default 30
  --compose IMAGE  the image of plimsoll and HAProxy, to be shown with docker compose

Run it from the top of the repository; `make demo` and `make demo-compose` build what it needs
and do so.
";
const HEAVY_SECONDS: u64 = 30;

enum Wish {
    Help,
    Daemon(Options),
    /// This image.
    Compose(String),
}

pub(crate) struct Options {
    plimsoll: PathBuf,
    app: PathBuf,
    heavy: Duration,
}

fn main() -> ExitCode {
    let started = Instant::now();
    let wish = match wish(env::args_os().skip(1)) {
        Ok(wish) => wish,
        Err(trouble) => {
            eprint!("demo: {trouble}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let shown = match &wish {
        Wish::Help => {
            print!("{USAGE}");
            Ok(())
        }
        Wish::Daemon(options) => run(options, started),
        Wish::Compose(image) => compose::play(image, started),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::ActionError(trouble)) => {
            eprintln!("demo: {trouble}");
            ExitCode::FAILURE
        }
        // As a shell tells that a signal ended a program.
        Err(Stop::Signal(signal)) => ExitCode::from(128 + u8::try_from(signal).unwrap_or(0)),
    }
}

fn wish(mut args: impl Iterator<Item = OsString>) -> Result<Wish, String> {
    let mut plimsoll = None;
    let mut app = None;
    let mut seconds = HEAVY_SECONDS;
    while let Some(arg) = args.next() {
        let name = arg.to_string_lossy().into_owned();
        if name == "-h" || name == "--help" {
            return Ok(Wish::Help);
        }
        let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--compose" => {
                let image = value()?;
                return match (image.into_string(), args.next()) {
                    (Ok(image), None) => Ok(Wish::Compose(image)),
                    _ => Err("--compose has one value, and nothing beside it".to_owned()),
                };
            }
            "--plimsoll" => plimsoll = Some(PathBuf::from(value()?)),
            "--app" => app = Some(PathBuf::from(value()?)),
            "--seconds" => {
                let text = value()?;
                let number = text.to_str().and_then(|text| text.parse().ok());
                seconds = number.filter(|number| (15..=50).contains(number)).ok_or_else(|| {
                    format!("--seconds: must be a whole number from 15 to 50, got {text:?}")
                })?;
            }
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    let plimsoll = plimsoll.ok_or("--plimsoll is missing")?;
    let app = app.ok_or("--app is missing")?;
    Ok(Wish::Daemon(Options { plimsoll, app, heavy: Duration::from_secs(seconds) }))
}

fn run(options: &Options, started: Instant) -> Result<(), Stop> {
    let mut interrupt = Interrupt::listen().map_err(|error| format!("signals: {error}"))?;
    let mut screen = Screen::new();
    screen.line(
        Colour::Plain,
        "plimsoll demo: a service behind HAProxy, from 1 replica to 4 and back to 1",
    );
    let mut harness = Harness::set_up(options, &mut interrupt)?;
    explain(&harness, options, &mut screen);
    let played =
        harness.start_daemon(&options.plimsoll).map_err(Stop::ActionError).and_then(|()| {
            let show = Show::new(&mut harness, &mut interrupt, &mut screen);
            let show =
                show.map_err(|error| Stop::ActionError(format!("plimsoll's log: {error}")))?;
            show.play(options.heavy)
        });
    screen.end_status();
    finish(played, &mut harness, &mut screen, started)
}

fn explain(harness: &Harness, options: &Options, screen: &mut Screen) {
    let folder = harness.folder().display();
    let listen = harness.target;
    let quiet = QUIET.as_secs();
    let heavy = options.heavy.as_secs();
    let text = format!(
        "
  image   {}, made of {}
  config  {CONFIG}, only with {folder} for its folder
          and {listen} for its address, which is a port that is free here
  plan    {quiet} s quiet, {heavy} s of heavy load, quiet until one replica is left
  signs   [##~.] a # for each replica in service, by HAProxy's own word; a ~ for
          each that is leaving;  > something that plimsoll logged, in short
",
        harness.image,
        options.app.display()
    );
    screen.line(Colour::Plain, &text);
}

/// Takes everything down, then says how it went.
fn finish(
    played: Result<Report, Stop>,
    harness: &mut Harness,
    screen: &mut Screen,
    started: Instant,
) -> Result<(), Stop> {
    let troubles = match &played {
        Ok(report) => report.troubles(),
        Err(Stop::ActionError(trouble)) => vec![trouble.clone()],
        Err(Stop::Signal(_)) => {
            screen.line(Colour::Plain, "interrupted; ending what the demo started");
            Vec::new()
        }
    };
    let is_kept = !troubles.is_empty();
    let cleared = harness.take_down(is_kept);
    if let Ok(report) = &played {
        screen.line(Colour::Plain, &report.text(started.elapsed()));
    }
    if is_kept {
        let log = harness.log();
        let log = log.display();
        let what = troubles.join("; ");
        return Err(format!("{what}; plimsoll's log is {log} until the next demo").into());
    }
    cleared.map_err(|trouble| format!("not all is tidied up: {trouble}"))?;
    screen.line(Colour::Green, "daemon, HAProxy, containers and folder are gone again");
    played.map(drop)
}
