//! The play itself: quiet, heavy load, quiet again, with one look at everything five times a
//! second.

use std::time::{Duration, Instant};
use std::{io, mem, thread};

use crate::harness::{Harness, SERVICE};
use crate::load::{Client, Counts, Kind, Load};
use crate::process::{Interrupt, Stop};
use crate::report::{Report, Sample, rate};
use crate::screen::{Colour, Screen, bar, in_short, seconds};
use crate::watch::{self, Cost, Lines, Servers};

const LOOK: Duration = Duration::from_millis(200);
const SAMPLE: Duration = Duration::from_secs(1);
const READY_WITHIN: Duration = Duration::from_secs(25);
pub(crate) const QUIET: Duration = Duration::from_secs(8);
const BACK_WITHIN: Duration = Duration::from_secs(40);
const LAST_LOOK: Duration = Duration::from_secs(3);
/// Longer than any answer may take here, so that a hanging one counts as failed.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The rate that is shown is the average over so many samples.
const RATE_SAMPLES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Start,
    Quiet,
    Heavy,
    QuietAgain,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Start => "start",
            Phase::Quiet => "quiet",
            Phase::Heavy => "heavy load",
            Phase::QuietAgain => "quiet again",
        }
    }
}

pub(crate) struct Show<'a> {
    harness: &'a mut Harness,
    interrupt: &'a mut Interrupt,
    screen: &'a mut Screen,
    log: Lines,
    started: Instant,
    phase: Phase,
    phase_started: Instant,
    servers: Servers,
    up_max: usize,
    first_new: Option<Duration>,
    samples: Vec<Sample>,
    steady: Option<Load>,
    heavy: Option<Load>,
    /// Of loads that have ended.
    counted: Counts,
    cost: Cost,
}

impl Show<'_> {
    /// The daemon was started just now.
    pub(crate) fn new<'a>(
        harness: &'a mut Harness,
        interrupt: &'a mut Interrupt,
        screen: &'a mut Screen,
    ) -> io::Result<Show<'a>> {
        let log = Lines::follow(&harness.log())?;
        let now = Instant::now();
        Ok(Show {
            harness,
            interrupt,
            screen,
            log,
            started: now,
            phase: Phase::Start,
            phase_started: now,
            servers: Servers::default(),
            up_max: 0,
            first_new: None,
            samples: Vec::new(),
            steady: None,
            heavy: None,
            counted: Counts::default(),
            cost: Cost::default(),
        })
    }

    pub(crate) fn play(mut self, heavy: Duration) -> Result<Report, Stop> {
        let target = self.harness.target;
        if !self.look_until(READY_WITHIN, |_| watch::answers(target))? {
            let trouble = format!("the service does not answer at {target} within 25 s");
            return Err(Stop::ActionError(trouble));
        }
        self.begin(Phase::Quiet);
        self.steady = Some(Load::start_with_silence(target, steady_clients(), SILENCE_MAX));
        self.look_until(QUIET, |_| false)?;

        self.begin(Phase::Heavy);
        self.heavy = Some(Load::start_with_silence(target, heavy_clients(), SILENCE_MAX));
        self.look_until(heavy, |_| false)?;

        self.begin(Phase::QuietAgain);
        self.end_heavy();
        let one = Servers { up: 1, others: 0 };
        let is_back = self.look_until(BACK_WITHIN, |show| show.servers == one)?;
        let back = is_back.then(|| self.phase_started.elapsed());
        self.look_until(LAST_LOOK, |_| false)?;
        Ok(self.end(back))
    }

    fn begin(&mut self, phase: Phase) {
        (self.phase, self.phase_started) = (phase, Instant::now());
        let what = match phase {
            Phase::Start => "plimsoll starts the first replica and HAProxy",
            Phase::Quiet => "the service answers; a few clients ask now and then",
            Phase::Heavy => "now more clients, with work that one replica cannot do",
            Phase::QuietAgain => "the heavy load ends; the few clients stay",
        };
        let at = seconds(self.started.elapsed());
        self.screen.short_line(Colour::Bold, &format!("{at}  == {}: {what}", phase.name()));
    }

    /// Looks at everything until it is as wanted or the time is over, and says which.
    fn look_until(
        &mut self,
        within: Duration,
        reached: impl Fn(&Show) -> bool,
    ) -> Result<bool, Stop> {
        let until = Instant::now() + within;
        loop {
            self.look()?;
            if reached(self) {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            thread::sleep(left.min(LOOK));
        }
    }

    fn look(&mut self) -> Result<(), Stop> {
        self.interrupt.check()?;
        self.show_events()?;
        self.harness.check_daemon()?;
        // Before the first start there is no socket; in a reload there may be none for a moment.
        if let Ok(servers) = watch::servers(&self.harness.haproxy_socket(), SERVICE) {
            self.servers = servers;
        }
        self.up_max = self.up_max.max(self.servers.up);
        if self.phase == Phase::Heavy && self.first_new.is_none() && 2 <= self.servers.up {
            self.first_new = Some(self.phase_started.elapsed());
        }
        let at = self.started.elapsed();
        if self.samples.last().is_none_or(|last| last.at + SAMPLE <= at) {
            self.sample(at);
        }
        Ok(())
    }

    fn show_events(&mut self) -> Result<(), Stop> {
        let lines = self.log.new_ones();
        let lines = lines.map_err(|error| format!("cannot read plimsoll's log: {error}"))?;
        let at = seconds(self.started.elapsed());
        for (colour, short) in lines.iter().filter_map(|line| in_short(line, SERVICE)) {
            self.screen.short_line(colour, &format!("{at}  > {short}"));
        }
        Ok(())
    }

    fn sample(&mut self, at: Duration) {
        if let Some(pid) = self.harness.daemon_pid() {
            self.cost.look_at(pid);
        }
        let counts = self.counts();
        let sent = counts.sent();
        let failed = counts.failed();
        let sample = Sample { at, phase: self.phase, servers: self.servers, sent };
        self.samples.push(sample);
        // On paper, every other one will do.
        if !self.screen.is_terminal && self.samples.len().is_multiple_of(2) {
            return;
        }
        let recent = self.samples.len().saturating_sub(RATE_SAMPLES + 1);
        let recent = &self.samples[recent..];
        let rate = recent.first().zip(recent.last()).map_or(0.0, |(old, new)| rate(old, new));
        let Servers { up, others } = self.servers;
        let at = seconds(at);
        let bar = bar(up, others);
        let phase = self.phase.name();
        let text =
            format!("{at}  {bar} {up} in service  {rate:3.0} req/s  {failed} failed  {phase}");
        let colour = if failed == 0 { Colour::Green } else { Colour::Red };
        self.screen.status(colour, &text);
    }

    fn counts(&self) -> Counts {
        let running = self.steady.iter().chain(&self.heavy);
        running.fold(self.counted.clone(), |sum, load| sum + load.counts())
    }

    fn end_heavy(&mut self) {
        if let Some(load) = self.heavy.take() {
            self.counted = mem::take(&mut self.counted) + load.stop();
        }
    }

    fn end(mut self, back: Option<Duration>) -> Report {
        self.end_heavy();
        if let Some(load) = self.steady.take() {
            self.counted = mem::take(&mut self.counted) + load.stop();
        }
        self.sample(self.started.elapsed());
        self.screen.end_status();
        Report {
            samples: self.samples,
            counts: self.counted,
            up_max: self.up_max,
            first_new: self.first_new,
            back,
            cost: self.cost,
            daemon_lived: self.started.elapsed(),
        }
    }
}

/// In every phase: a little of everything that a reload or a removal may cut.
pub(crate) fn steady_clients() -> Vec<Client> {
    let mut clients = clients(Kind::Slow, "/slow?ms=800", 3, Duration::ZERO);
    clients.extend(self::clients(Kind::KeepAlive, "/", 1, Duration::from_millis(500)));
    clients.extend(self::clients(Kind::Close, "/", 1, Duration::from_millis(500)));
    clients
}

/// Around 39 requests a second of 17 ms each: two thirds of a core, where a replica has a quarter.
/// Many that pause long rather than few that pause briefly: on a busy machine, where answers take
/// longer, they ask for nearly as much.
pub(crate) fn heavy_clients() -> Vec<Client> {
    let pause = Duration::from_millis(370);
    let mut clients = clients(Kind::KeepAlive, "/burn?ms=17", 9, pause);
    clients.extend(self::clients(Kind::Close, "/burn?ms=17", 7, pause));
    clients
}

fn clients(kind: Kind, path: &str, count: usize, pause: Duration) -> Vec<Client> {
    vec![Client { kind, method: "GET", path: path.to_owned(), pause }; count]
}
