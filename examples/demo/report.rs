//! What is said at the end: the figures, the chart of replicas over time, and what was not as it
//! should be.

use std::fmt::Write as _;
use std::time::Duration;

use crate::load::Counts;
use crate::show::Phase;
use crate::watch::{Cost, Servers};

const CHART_COLUMNS_MAX: usize = 72;
const REPLICAS_EXPECTED: usize = 3;

/// How it stood at a moment since the daemon's start.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) phase: Phase,
    pub(crate) servers: Servers,
    pub(crate) sent: u64,
}

/// All that was seen.
pub(crate) struct Report {
    pub(crate) samples: Vec<Sample>,
    pub(crate) counts: Counts,
    /// The most that were in service at once, also between two samples.
    pub(crate) up_max: usize,
    /// From the first heavy request to the second replica in service.
    pub(crate) first_new: Option<Duration>,
    /// From the last heavy request to one replica.
    pub(crate) back: Option<Duration>,
    pub(crate) cost: Cost,
    pub(crate) daemon_lived: Duration,
}

impl Report {
    /// What was not as it should be.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        match self.counts.failed() {
            0 => {}
            1 => troubles.push("1 request failed".to_owned()),
            failed => troubles.push(format!("{failed} requests failed")),
        }
        let most = self.up_max;
        if most < REPLICAS_EXPECTED {
            troubles.push(format!(
                "no more than {most} in service at once, where {REPLICAS_EXPECTED} were needed"
            ));
        }
        if self.back.is_none() {
            let last = self.samples.last().map(|sample| sample.servers).unwrap_or_default();
            let Servers { up, others } = last;
            troubles.push(format!(
                "not back to 1 replica: at the end {up} in service and {others} leaving or ill"
            ));
        }
        troubles
    }

    /// `took`: from the start of the demo to its end.
    pub(crate) fn text(&self, took: Duration) -> String {
        let mut out = String::from("\nIn short\n\n");
        let sent = self.counts.sent();
        let failed = self.counts.failed();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  requests      {sent} sent, {failed} failed");
        for (kind, metrics_sink) in &self.counts.kinds {
            let kind = format!("{kind}:");
            let _ = writeln!(out, "                {kind:<11} {}", metrics_sink);
        }
        let most = self.up_max;
        let heavy = self.rate(Phase::Heavy);
        let _ = writeln!(out, "  replicas      {most} at most, in service in HAProxy");
        let _ = writeln!(out, "  heavy load    {heavy:.0} requests/s on the average");
        let since = |span: Option<Duration>| match span {
            Some(span) => format!("{:.1} s", span.as_secs_f64()),
            None => "never".to_owned(),
        };
        let first = since(self.first_new);
        let _ = writeln!(out, "  up            {first} from heavy load to the first new replica");
        let back = since(self.back);
        let _ = writeln!(out, "  down          {back} from the end of it to one replica");
        let mib = self.cost.memory_kib_max as f64 / 1024.0;
        let cpu_ms = self.cost.cpu_ms;
        let each = cpu_ms as f64 / self.daemon_lived.as_secs_f64().max(1.0);
        let lived = self.daemon_lived.as_secs();
        let _ = writeln!(
            out,
            "  plimsoll      {mib:.1} MiB of memory (VmRSS at most), \
             {cpu_ms} ms of CPU in {lived} s: {each:.1} ms each second"
        );
        let _ = writeln!(out, "  time          {:.0} s in all", took.as_secs_f64());
        let _ = write!(out, "\n{}", chart(&self.samples));
        out
    }

    /// Of requests, on the average over a phase.
    fn rate(&self, phase: Phase) -> f64 {
        let mut during = self.samples.iter().filter(|sample| sample.phase == phase);
        let Some(first) = during.next() else { return 0.0 };
        let last = during.next_back().unwrap_or(first);
        rate(first, last)
    }
}

pub(crate) fn rate(first: &Sample, last: &Sample) -> f64 {
    let span = last.at.saturating_sub(first.at).as_secs_f64();
    let sent = last.sent.saturating_sub(first.sent) as f64;
    if span < 0.5 { 0.0 } else { sent / span }
}

/// Replicas in service by time: a row for each number, and below it the time and the phases.
fn chart(samples: &[Sample]) -> String {
    let seconds = samples.last().map_or(0, |sample| sample.at.as_secs() as usize + 1);
    let per_column = seconds.div_ceil(CHART_COLUMNS_MAX).max(1);
    let columns: Vec<&Sample> = (0..seconds.div_ceil(per_column))
        .filter_map(|column| {
            let from = Duration::from_secs((column * per_column) as u64);
            samples.iter().find(|sample| from <= sample.at).or(samples.last())
        })
        .collect();
    let top = columns.iter().map(|sample| sample.servers.up).max().unwrap_or(0);
    let unit = if per_column == 1 { "second".to_owned() } else { format!("{per_column} seconds") };
    let mut out =
        format!("  replicas in service, as HAProxy counts them; a column is a {unit}\n\n");
    for number in (1..=top).rev() {
        let mark = |sample: &&Sample| if number <= sample.servers.up { '#' } else { ' ' };
        let row: String = columns.iter().map(mark).collect();
        let _ = writeln!(out, "  {number:>3} |{}", row.trim_end());
    }
    let mut axis = String::new();
    let mut numbers = String::new();
    for column in 0..columns.len() {
        let is_tick = column % 10 == 0;
        axis.push(if is_tick { '+' } else { '-' });
        if is_tick {
            numbers = format!("{numbers:<column$}{}", column * per_column);
        }
    }
    let phases: Vec<Phase> = columns.iter().map(|sample| sample.phase).collect();
    let _ = writeln!(out, "      {axis}\n      {numbers} s\n      {}", phase_names(&phases));
    out
}

/// Each below its first column; one that is too short for its name goes without.
fn phase_names(columns: &[Phase]) -> String {
    let mut names = String::new();
    let mut column = 0;
    for same in columns.chunk_by(|a, b| a == b) {
        let name = format!("^{}", same[0].name());
        let is_last = column + same.len() == columns.len();
        if name.len() <= same.len() || is_last {
            names = format!("{names:<column$}{name}");
        }
        column += same.len();
    }
    names
}
