//! The play with docker compose: an app that runs gets three labels and plimsoll's container,
//! scales up and down, and its labels change, for the better and for the worse.

use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::{Client, Counts, Load};
use crate::process::{Interrupt, Stop};
use crate::project::{Project, SERVICE, TARGET, before, labelled, need_port, remains, status};
use crate::screen::{Colour, Screen, bar, in_short, seconds};
use crate::show::{SILENCE_MAX, heavy_clients, steady_clients};
use crate::watch::{self, Lines};

const LOOK: Duration = Duration::from_millis(250);
const SHOWN_EVERY: Duration = Duration::from_secs(4);
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Evaluations are 15 s apart.
const UP_WITHIN: Duration = Duration::from_secs(60);
const DOWN_WITHIN: Duration = Duration::from_secs(80);
const SERVES_ON: Duration = Duration::from_secs(5);
const SENT_MIN: u64 = 10;

pub(crate) fn play(image: &str, started: Instant) -> Result<(), Stop> {
    let mut interrupt = Interrupt::listen().map_err(|error| format!("signals: {error}"))?;
    let mut screen = Screen::new();
    screen.line(Colour::Plain, "plimsoll demo: an app of docker compose is scaled by three labels");
    let mut project = Project::set_up(image, &mut interrupt)?;
    let mut play = Play {
        project: &mut project,
        interrupt: &mut interrupt,
        screen: &mut screen,
        started: Instant::now(),
        log: None,
        loads: Vec::new(),
        counts: Counts::default(),
        checked: 0,
        shown: None,
        seen: Seen::default(),
    };
    let played = play.all();
    screen.end_status();
    match &played {
        Ok(_) => {}
        Err(Stop::Signal(_)) => {
            screen.line(Colour::Plain, "interrupted; ending what the demo started");
        }
        Err(Stop::ActionError(_)) => screen.line(Colour::Plain, &project.last_words()),
    }
    let cleared = project.take_down();
    let times = played?;
    cleared.map_err(|trouble| format!("not all is tidied up: {trouble}"))?;
    screen.line(Colour::Green, &times.text(started.elapsed()));
    Ok(())
}

/// What plimsoll says of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    ready: usize,
    leaving: usize,
    max: u64,
    /// Of its labels.
    outcome: String,
    problems: usize,
}

impl Seen {
    fn of(status: &Value) -> Seen {
        let named = |list: &str, key: &str| {
            let all = status[list].as_array().into_iter().flatten();
            all.filter(|one| one[key] == SERVICE).cloned().collect::<Vec<Value>>()
        };
        let service = named("services", "name").pop().unwrap_or_default();
        let count = |key: &str| service[key].as_u64().unwrap_or_default();
        let labels = named("labels", "service").pop().unwrap_or_default();
        let is_of_labels = |problem: &&Value| problem["kind"] == "labels.rejected";
        Seen {
            ready: count("ready") as usize,
            leaving: count("leaving") as usize,
            max: count("max"),
            outcome: labels["outcome"].as_str().unwrap_or_default().to_owned(),
            problems: named("problems", "service").iter().filter(is_of_labels).count(),
        }
    }
}

/// What is measured. `up` and `answer` are from `docker compose up -d` with the labels on.
struct Times {
    answer: Duration,
    up: Duration,
    up_under_load: Duration,
    down: Duration,
    counts: Counts,
}

impl Times {
    fn text(&self, took: Duration) -> String {
        let span = |span: Duration| format!("{:.1} s", span.as_secs_f64());
        let (sent, failed) = (self.counts.sent(), self.counts.failed());
        format!(
            "
In short

  typed         one command, `docker compose up -d`, after the labels and plimsoll's container
                were written into the compose file
  newcomer      {} from that command to the first answer through HAProxy,
                {} to the first automatic scale-up, {} after the load began
  down          {} from the end of the load to one replica
  requests      {sent} sent, {failed} failed; not counted while docker compose itself replaces
                the app's only container
  time          {:.0} s in all; containers, network, volume and folder are gone again",
            span(self.answer),
            span(self.up),
            span(self.up_under_load),
            span(self.down),
            took.as_secs_f64()
        )
    }
}

struct Play<'a> {
    project: &'a mut Project,
    interrupt: &'a mut Interrupt,
    screen: &'a mut Screen,
    started: Instant,
    log: Option<Lines>,
    loads: Vec<Load>,
    /// Of loads that have ended.
    counts: Counts,
    /// So many of them were sent at the last check.
    checked: u64,
    shown: Option<Instant>,
    seen: Seen,
}

impl Play<'_> {
    fn all(&mut self) -> Result<Times, Stop> {
        self.begin("a project without plimsoll runs; the app has port 80");
        self.up(&before())?;
        self.wait(READY_WITHIN, "the app answers on port 80", |_| watch::answers(TARGET))?;

        self.begin("three labels, and plimsoll's container");
        let typed = Instant::now();
        self.up(&labelled("3")?)?;
        self.log = Some(self.project.follow_log(self.interrupt)?);
        self.wait(READY_WITHIN, "it answers through HAProxy", |seen| {
            seen.ready == 1 && watch::answers(TARGET)
        })?;
        let answer = typed.elapsed();
        self.plimsoll("services", &[SERVICE, "container plimsoll-demo-web-1", "1 to 3"])?;

        self.begin("clients come, with more work than one container can do");
        let loaded = Instant::now();
        self.load(steady_clients());
        self.load(heavy_clients());
        self.wait(UP_WITHIN, "a second replica serves", |seen| 2 <= seen.ready)?;
        let (up, up_under_load) = (typed.elapsed(), loaded.elapsed());
        self.wait(UP_WITHIN, "plimsoll.max is reached: 3 serve", |seen| seen.ready == 3)?;

        self.begin("most of the clients go");
        self.end_load(1);
        let left = Instant::now();
        self.wait(DOWN_WITHIN, "one replica is left", |seen| seen.ready == 1 && seen.leaving == 0)?;
        let down = left.elapsed();
        self.end_load(0);
        self.check_counts()?;

        self.begin("a label changes");
        self.up(&labelled("5")?)?;
        let is_followed = |seen: &Seen| seen.ready == 1 && seen.max == 5 && watch::answers(TARGET);
        self.wait(READY_WITHIN, "the change is followed", is_followed)?;
        self.plimsoll("services", &["1 to 5"])?;

        self.begin("a label gets a value that is none");
        self.up(&labelled("five")?)?;
        self.wait(READY_WITHIN, "the labels are refused", |seen| {
            seen.outcome == "last_good" && seen.problems == 1 && is_followed(seen)
        })?;
        self.plimsoll("services", &["1 to 5", "the last good ones stay in force", "\"five\""])?;
        self.plimsoll("status", &["plimsoll.max", "\"five\""])?;
        self.load(steady_clients());
        self.look_until(SERVES_ON, |_| false)?;
        self.end_load(0);
        self.check_counts()?;

        self.down()?;
        Ok(Times { answer, up, up_under_load, down, counts: mem::take(&mut self.counts) })
    }

    fn say(&mut self, colour: Colour, text: &str) {
        let at = seconds(self.started.elapsed());
        self.screen.short_line(colour, &format!("{at}  {text}"));
    }

    fn begin(&mut self, what: &str) {
        self.screen.end_status();
        self.screen.line(Colour::Plain, "");
        self.say(Colour::Bold, &format!("== {what}"));
    }

    fn typed(&mut self, command: &str) {
        self.screen.line(Colour::Cyan, &format!("  $ {command}"));
    }

    fn shown(&mut self, text: &str) {
        for line in text.lines() {
            self.screen.line(Colour::Plain, format!("    {line}").trim_end());
        }
    }

    /// Changes the compose file, and has it done.
    fn up(&mut self, text: &str) -> Result<(), Stop> {
        let changes = self.project.write(text)?;
        self.typed("edit compose.yaml");
        self.shown(&changes.join("\n"));
        self.typed("docker compose up -d");
        self.project.compose(self.interrupt, &["up", "-d"]).map(drop)
    }

    /// Shows what a command of plimsoll prints, which has to have these words.
    fn plimsoll(&mut self, command: &str, words: &[&str]) -> Result<(), Stop> {
        self.typed(&format!("docker compose exec plimsoll plimsoll {command}"));
        let args = ["exec", "-T", "plimsoll", "plimsoll", command];
        let said = self.project.compose(self.interrupt, &args)?;
        self.shown(&said);
        match words.iter().find(|word| !said.contains(**word)) {
            None => Ok(()),
            Some(word) => Err(format!("`plimsoll {command}` does not say {word}").into()),
        }
    }

    fn load(&mut self, clients: Vec<Client>) {
        self.loads.push(Load::start_with_silence(TARGET, clients, SILENCE_MAX));
    }

    /// Leaves so many of them.
    fn end_load(&mut self, left: usize) {
        for load in self.loads.split_off(left) {
            self.counts = mem::take(&mut self.counts) + load.stop();
        }
    }

    fn counted(&self) -> Counts {
        self.loads.iter().fold(self.counts.clone(), |sum, load| sum + load.counts())
    }

    /// Requests were sent since the last time, and none failed.
    fn check_counts(&mut self) -> Result<(), Stop> {
        let counts = self.counted();
        let sent = counts.sent() - mem::replace(&mut self.checked, counts.sent());
        match (sent, counts.failed()) {
            (sent, 0) if SENT_MIN <= sent => Ok(()),
            (sent, failed) => Err(format!("{sent} requests, {failed} failed: {counts}").into()),
        }
    }

    /// The same, and says so; that it does not happen in time is an error.
    fn wait(
        &mut self,
        within: Duration,
        what: &str,
        reached: impl Fn(&Seen) -> bool,
    ) -> Result<(), Stop> {
        if self.look_until(within, reached)? {
            self.say(Colour::Green, &format!("-> {what}"));
            return Ok(());
        }
        let (limit, seen) = (within.as_secs(), &self.seen);
        Err(format!("not within {limit} s: {what}; plimsoll says: {seen:?}").into())
    }

    /// Looks at everything until it is as wanted or the time is over, and says which.
    fn look_until(
        &mut self,
        within: Duration,
        reached: impl Fn(&Seen) -> bool,
    ) -> Result<bool, Stop> {
        let until = Instant::now() + within;
        loop {
            self.look()?;
            if reached(&self.seen) {
                return Ok(true);
            }
            if until <= Instant::now() {
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
    }

    fn look(&mut self) -> Result<(), Stop> {
        self.interrupt.check()?;
        let Some(log) = &mut self.log else { return Ok(()) };
        let lines = log.new_ones();
        let lines = lines.map_err(|error| format!("cannot read plimsoll's log: {error}"))?;
        for (colour, short) in lines.iter().filter_map(|line| in_short(line, SERVICE)) {
            if short.starts_with("scale.") || short.starts_with("labels.") {
                self.say(colour, &format!("> {short}"));
            }
        }
        self.seen = Seen::of(&status(self.interrupt, self.project)?);
        let is_due = self.shown.is_none_or(|shown| SHOWN_EVERY <= shown.elapsed());
        if !self.loads.is_empty() && (is_due || self.screen.is_terminal) {
            self.shown = Some(Instant::now());
            self.show();
        }
        Ok(())
    }

    fn show(&mut self) {
        let (counts, at) = (self.counted(), seconds(self.started.elapsed()));
        let (sent, failed) = (counts.sent(), counts.failed());
        let Seen { ready, leaving, .. } = self.seen;
        let bar = bar(ready, leaving);
        let text = format!("{at}  {bar} {ready} ready  {sent} requests, {failed} failed");
        let colour = if failed == 0 { Colour::Green } else { Colour::Red };
        self.screen.status(colour, &text);
    }

    /// Ends the project as its owner would, after which nothing of it is left.
    fn down(&mut self) -> Result<(), Stop> {
        self.screen.end_status();
        self.typed("docker compose down --volumes");
        self.project.compose(self.interrupt, &["down", "--volumes"])?;
        let left = remains()?;
        if !left.is_empty() {
            return Err(format!("`docker compose down` left {}", left.join(", ")).into());
        }
        Ok(need_port()?)
    }
}
