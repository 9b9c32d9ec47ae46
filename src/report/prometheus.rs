//! Prometheus' text format 0.0.4: the status and what was counted, as samples.

use std::collections::BTreeSet;

use crate::model::decision::MetricResult;
use crate::model::metric::Milli;
use crate::model::problem::ActiveProblem;
use crate::model::process::ProcessUsage;
use crate::model::proxy::ServiceTraffic;
use crate::model::reason::REASONS;
use crate::model::status::{ReplicaState, ReplicaStatus, ServiceStatus, Status};
use crate::report::forecast_series::{self, ForecastSample};
use crate::report::processor_series;
use crate::report::series::Series;
use crate::report::telemetry::{EDGES_MS, Kept, Labels, Telemetry, Times};

/// Business hours among the windows, unless a schedule is called so.
const HOURS: &str = "business hours";

/// The whole page. `status` is `None` before the first turn.
pub(crate) fn text(
    telemetry: &Telemetry,
    status: Option<&Status>,
    process: &ProcessUsage,
) -> String {
    let kept = telemetry.read();
    let mut page = Page::default();
    for series in Series::ALL {
        page.begin(*series);
        samples(&mut page, *series, &kept, status, process);
    }
    page.text
}

fn given_up(service: &ServiceStatus) -> f64 {
    service.preemptions.iter().filter(|one| one.victim == service.name).count() as f64
}

fn samples(
    page: &mut Page,
    series: Series,
    kept: &Kept,
    status: Option<&Status>,
    process: &ProcessUsage,
) {
    let services = status.map(|status| status.services.as_slice()).unwrap_or_default();
    let whole = |number: Option<u64>| number.map(|number| number as f64);
    match series {
        Series::Build => page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        Series::Replicas => services.iter().for_each(|s| replicas(page, s)),
        Series::Desired => page.each(services, |s| f64::from(s.decision.desired)),
        Series::Min => page.each(services, |s| f64::from(s.decision.effective.bounds.min())),
        Series::Max => page.each(services, |s| f64::from(s.decision.effective.bounds.max())),
        Series::Preempted => page.each(services, given_up),
        Series::HostCpuIdle => page.one(processor_series::idle(status)),
        Series::HostCpuBusy => page.one(processor_series::busy(status)),
        Series::MetricValue => services.iter().for_each(|s| metrics(page, s, |m| m.value)),
        Series::MetricTarget => services.iter().for_each(|s| metrics(page, s, |m| Some(m.target))),
        Series::ForecastLoad => page.labelled(services, forecast_series::loads),
        Series::ForecastReplicas => page.labelled(services, forecast_series::replicas),
        Series::ForecastError => page.labelled(services, forecast_series::errors),
        Series::Decision => services.iter().for_each(|s| reasons(page, s)),
        Series::Schedule => services.iter().for_each(|s| windows(page, s)),
        Series::Hold => page.each(services, |s| flag(s.hold.is_some())),
        Series::Pause => page.each(services, |s| flag(s.pause.is_some())),
        Series::LastTick => page.one(status.map(|s| s.at.0 as f64)),
        Series::DockerUp => page.one(status.map(|s| flag(s.docker_error.is_none()))),
        Series::Problem => status.into_iter().for_each(|s| problems(page, s)),
        Series::HaproxyUp => page.one(status.map(|s| flag(s.old_proxies.is_some()))),
        Series::OldProcesses => page.one(status.and_then(|s| s.old_proxies).map(f64::from)),
        Series::CertificateDays => status.into_iter().for_each(|s| certificate_days(page, s)),
        Series::BackendRequests => page.backends(services, |t| t.total.requests),
        Series::BackendResponses => services.iter().for_each(|s| responses(page, s)),
        Series::BackendBytes => services.iter().for_each(|s| bytes(page, s)),
        Series::BackendRetries => page.backends(services, |t| t.total.retries),
        Series::BackendQueue => page.backends(services, |t| t.queue),
        Series::BackendSessions => page.backends(services, |t| t.sessions),
        Series::Held => page.some(services, |s| Some(s.sleep.as_ref()?.waiting)),
        Series::BackendTime => services.iter().for_each(|s| response_time(page, s)),
        Series::ServerSessions => page.servers(services, |replica| replica.sessions),
        Series::ServerUp => page.servers(services, server_up),
        Series::ProcessCpu => page.one(process.cpu.map(|cpu| cpu.as_secs_f64())),
        Series::ProcessFiles => page.one(whole(process.open_files)),
        Series::ProcessFilesMax => page.one(whole(process.max_files)),
        Series::ProcessVirtual => page.one(whole(process.virtual_bytes)),
        Series::ProcessResident => page.one(whole(process.resident_bytes)),
        Series::ProcessStarted => page.one(Some(process.started.0 as f64 / 1000.0)),
        Series::MetricSource
        | Series::Asleep
        | Series::WakeUps
        | Series::WakeUp
        | Series::Scaling
        | Series::Events
        | Series::EventsDropped
        | Series::Tick
        | Series::TickOverruns
        | Series::Docker
        | Series::DockerErrors
        | Series::Reloads
        | Series::Reload
        | Series::Probe
        | Series::ProbeFailures
        | Series::ConfigReload
        | Series::Requests
        | Series::RequestDuration => counted(page, series, kept),
    }
}

fn server_up(replica: &ReplicaStatus) -> Option<u64> {
    replica.server_check?.is_up.map(u64::from)
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// A series without a sample is shown all the same: so one sees what there is.
    fn begin(&mut self, series: Series) {
        let (kind, name, help) = series.about();
        self.name = name;
        self.text += &format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word());
    }

    fn one(&mut self, value: Option<f64>) {
        value.into_iter().for_each(|value| self.sample(&[], value));
    }

    fn each(&mut self, services: &[ServiceStatus], value: impl Fn(&ServiceStatus) -> f64) {
        services.iter().for_each(|s| self.sample(&[("service", &s.name)], value(s)));
    }

    fn backends(&mut self, services: &[ServiceStatus], of: impl Fn(&ServiceTraffic) -> u64) {
        self.some(services, |service| service.traffic.as_ref().map(&of));
    }

    /// Samples of each service, which have more labels than that.
    fn labelled<'s>(
        &mut self,
        services: &'s [ServiceStatus],
        of: impl Fn(&'s ServiceStatus) -> Vec<ForecastSample<'s>>,
    ) {
        for service in services {
            for (labels, value) in of(service) {
                self.sample(&[&[("service", service.name.as_str())], &labels[..]].concat(), value);
            }
        }
    }

    fn some(&mut self, services: &[ServiceStatus], of: impl Fn(&ServiceStatus) -> Option<u64>) {
        for service in services {
            let value = of(service).into_iter();
            value.for_each(|v| self.sample(&[("service", &service.name)], v as f64));
        }
    }

    fn servers(&mut self, services: &[ServiceStatus], of: impl Fn(&ReplicaStatus) -> Option<u64>) {
        for service in services {
            for replica in &service.replicas {
                let labels = [("service", service.name.as_str()), ("replica", &replica.name)];
                of(replica).into_iter().for_each(|value| self.sample(&labels, value as f64));
            }
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.line("", labels, value);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let text = &mut self.text;
        *text += self.name;
        *text += suffix;
        for (i, (name, value)) in labels.iter().enumerate() {
            text.push(if i == 0 { '{' } else { ',' });
            *text += name;
            *text += "=\"";
            escape(value, text);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        *text += &format!(" {value}\n");
    }

    fn times(&mut self, labels: &Labels, times: &Times) {
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let mut up_to = 0;
        for (edge, within) in EDGES_MS.iter().zip(times.within) {
            up_to += within;
            let edge = (*edge as f64 / 1000.0).to_string();
            self.line("_bucket", &[&labels[..], &[("le", &edge)]].concat(), up_to as f64);
        }
        let all = times.count as f64;
        self.line("_bucket", &[&labels[..], &[("le", "+Inf")]].concat(), all);
        self.line("_sum", &labels, times.sum.as_secs_f64());
        self.line("_count", &labels, all);
    }
}

fn escape(value: &str, into: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            c => into.push(c),
        }
    }
}

fn counted(page: &mut Page, series: Series, kept: &Kept) {
    let from = (series, Labels::new());
    let own = kept.numbers.range(from.clone()..).take_while(|((of, _), _)| *of == series);
    for ((_, labels), number) in own {
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
        page.sample(&labels, *number as f64);
    }
    let own = kept.times.range(from..).take_while(|((of, _), _)| *of == series);
    own.for_each(|((_, labels), times)| page.times(labels, times));
}

fn replicas(page: &mut Page, service: &ServiceStatus) {
    for state in ReplicaState::ALL {
        let count = service.replicas.iter().filter(|r| r.state == state).count();
        page.sample(&[("service", &service.name), ("state", state.word())], count as f64);
    }
}

fn responses(page: &mut Page, service: &ServiceStatus) {
    let Some(ServiceTraffic { total, .. }) = service.traffic else { return };
    for (class, count) in [("4xx", total.errors_4xx), ("5xx", total.errors_5xx)] {
        page.sample(&[("service", &service.name), ("code", class)], count as f64);
    }
}

fn bytes(page: &mut Page, service: &ServiceStatus) {
    let Some(ServiceTraffic { total, .. }) = service.traffic else { return };
    for (direction, count) in [("in", total.bytes_in), ("out", total.bytes_out)] {
        page.sample(&[("service", &service.name), ("direction", direction)], count as f64);
    }
}

fn response_time(page: &mut Page, service: &ServiceStatus) {
    let ms = service.traffic.and_then(|traffic| traffic.response_ms);
    let seconds = ms.map(|ms| ms as f64 / 1000.0);
    seconds.into_iter().for_each(|s| page.sample(&[("service", &service.name)], s));
}

/// Several replicas of a service may have the same.
fn problems(page: &mut Page, status: &Status) {
    let labels = |problem: &ActiveProblem| (problem.kind.word(), problem.service.clone());
    let all: BTreeSet<_> = status.problems.iter().map(labels).collect();
    for (kind, service) in all {
        page.sample(&[("kind", kind), ("service", service.as_deref().unwrap_or(""))], 1.0);
    }
}

fn certificate_days(page: &mut Page, status: &Status) {
    for seen in &status.certificates {
        let source = seen.source.display().to_string();
        let days = seen.served.as_ref().map(|facts| facts.days_left(status.at) as f64);
        days.into_iter().for_each(|days| page.sample(&[("file", &source)], days));
    }
}

fn reasons(page: &mut Page, service: &ServiceStatus) {
    for reason in REASONS {
        let labels = [("service", service.name.as_str()), ("reason", reason)];
        page.sample(&labels, flag(service.decision.reason() == reason));
    }
}

fn metrics(page: &mut Page, service: &ServiceStatus, of: impl Fn(&MetricResult) -> Option<Milli>) {
    for (name, measured) in measured(service) {
        let labels = [("service", service.name.as_str()), ("metric", &name)];
        let value = of(measured).map(|value| value.0 as f64 / 1000.0);
        value.into_iter().for_each(|value| page.sample(&labels, value));
    }
}

fn windows(page: &mut Page, service: &ServiceStatus) {
    let mut window = |window: &str, holds: bool| {
        let labels = [("service", service.name.as_str()), ("window", window)];
        page.sample(&labels, flag(holds));
    };
    for schedule in &service.windows {
        window(schedule, service.decision.effective.window.as_ref() == Some(schedule));
    }
    if service.has_hours && !service.windows.iter().any(|name| name == HOURS) {
        window(HOURS, service.decision.effective.scaling);
    }
}

/// Each with a name of its own: two queries may begin alike.
fn measured(service: &ServiceStatus) -> Vec<(String, &MetricResult)> {
    let mut named: Vec<(String, &MetricResult)> = Vec::new();
    for shown in service.record.iter().flat_map(|record| &record.decision.measured) {
        let alike = named.iter().filter(|(_, other)| other.name == shown.name).count();
        let name = match alike {
            0 => shown.name.clone(),
            alike => format!("{} ({})", shown.name, alike + 1),
        };
        named.push((name, shown));
    }
    named
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::model::bounds::Bounds;
    use crate::model::decision::{Counts, Decision, MetricResult};
    use crate::model::metric::Milli;
    use crate::model::metric_event::MetricEvent;
    use crate::model::process::ProcessUsage;
    use crate::model::reason::{AppliedRule, Rule};
    use crate::model::schedule::EffectiveSchedule;
    use crate::model::service::{Service, ServiceName};
    use crate::model::status::{Record, ServiceStatus};
    use crate::model::time::{Moment, Wall};
    use crate::report::prometheus::{Page, metrics, text, windows};
    use crate::report::series::Series;
    use crate::report::telemetry::Telemetry;

    const PROCESS: ProcessUsage = ProcessUsage {
        started: Moment(1_500),
        cpu: Some(Duration::from_millis(20)),
        open_files: Some(9),
        max_files: None,
        virtual_bytes: None,
        resident_bytes: Some(4096),
    };

    fn page() -> Page {
        Page { name: "m", ..Page::default() }
    }

    fn service(names: &[&str]) -> ServiceStatus {
        let effective = |window: Option<&str>| EffectiveSchedule {
            bounds: Bounds::exactly(1),
            scaling: true,
            window: window.map(str::to_owned),
        };
        let measured = |name: &&str| MetricResult {
            name: (*name).to_owned(),
            unit: "",
            value: Some(Milli(1_500)),
            target: Milli(2_000),
            ratio: None,
            proposal: None,
            rule: Rule::NoSample,
            failure: None,
        };
        let decision = |window, measured| Decision {
            from: 1,
            desired: 1,
            effective: effective(window),
            counts: Counts::default(),
            samples: Vec::new(),
            measured,
            forecast: None,
            because: vec![AppliedRule { rule: Rule::Held { left: None }, number: 1 }],
        };
        let measured = names.iter().map(measured).collect();
        let record = Record { at: Wall(0), decision: decision(None, measured) };
        ServiceStatus {
            name: "web".to_owned(),
            listen: None,
            decision: decision(Some("night"), Vec::new()),
            windows: Vec::new(),
            has_hours: true,
            hold: None,
            pause: None,
            rollout: None,
            suspect: false,
            last_change: None,
            record: Some(Arc::new(record)),
            replicas: Vec::new(),
            course: Arc::default(),
            service: Arc::new(Service::gone(ServiceName::new("web").unwrap())),
            last_failure: None,
            traffic: None,
            preemptions: Vec::new(),
            raise: None,
            sleep: None,
        }
    }

    /// By xorshift64*.
    fn random(state: &mut u64, limit: usize) -> usize {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    /// What a reader makes of the value between the quotes, and what follows.
    fn read_back(line: &str) -> (String, &str) {
        let mut value = String::new();
        let mut chars = line.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return (value, &line[at + 1..]),
                '\\' => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c => c,
                }),
                c => value.push(c),
            }
        }
        panic!("no end: {line}");
    }

    #[test]
    fn whatever_a_label_holds_it_is_one_line_and_read_back() {
        let letters: Vec<char> =
            "\\\\\"\"\n\nn{}=, #\r\t\u{0}\u{7f}ä\u{2028}\u{1f433}".chars().collect();
        let mut state = 7;
        for _ in 0..2000 {
            let length = random(&mut state, 12);
            let value: String =
                (0..length).map(|_| letters[random(&mut state, letters.len())]).collect();
            let mut page = page();
            page.sample(&[("a", &value), ("b", "")], 1.5);
            let rest = page.text.strip_prefix("m{a=\"").unwrap();
            assert_eq!(read_back(rest), (value, ",b=\"\"} 1.5\n"));
            assert_eq!(page.text.matches('\n').count(), 1, "{:?}", page.text);
        }
    }

    #[test]
    fn metrics_of_one_name_are_told_apart() {
        let mut page = page();
        metrics(&mut page, &service(&["cpu", "http x", "http x"]), |m| m.value);
        let want = "m{service=\"web\",metric=\"cpu\"} 1.5\n\
                    m{service=\"web\",metric=\"http x\"} 1.5\n\
                    m{service=\"web\",metric=\"http x (2)\"} 1.5\n";
        assert_eq!(page.text, want);
    }

    #[test]
    fn business_hours_are_a_window_unless_a_schedule_has_that_name() {
        for (schedules, want) in [
            (&["day", "night"][..], "day 0 night 1 business hours 1"),
            (&["business hours"], "business hours 0"),
        ] {
            let mut page = page();
            let mut web = service(&[]);
            web.windows = schedules.iter().map(|name| (*name).to_owned()).collect();
            windows(&mut page, &web);
            let lines = page.text.lines().map(|line| {
                let (_, rest) = line.split_once("window=\"").unwrap();
                rest.replace("\"}", "")
            });
            assert_eq!(lines.collect::<Vec<_>>().join(" "), want);
        }
    }

    #[test]
    fn before_the_first_turn_there_is_what_was_counted() {
        let telemetry = Telemetry::new();
        let took = Some(Duration::from_millis(7));
        let method = "GET";
        let route = "/status";
        telemetry.count(MetricEvent::Request { method, route, code: 503, took });
        let text = text(&telemetry, None, &PROCESS);
        let seconds = "plimsoll_http_request_duration_seconds";
        let of = r#"method="GET",route="/status""#;
        for line in [
            "process_start_time_seconds 1.5".to_owned(),
            "process_open_fds 9".to_owned(),
            "plimsoll_events_dropped_total 0".to_owned(),
            format!(r#"plimsoll_http_requests_total{{{of},code="503"}} 1"#),
            format!(r#"{seconds}_bucket{{{of},le="0.005"}} 0"#),
            format!(r#"{seconds}_bucket{{{of},le="0.01"}} 1"#),
            format!(r#"{seconds}_bucket{{{of},le="+Inf"}} 1"#),
            format!(r#"{seconds}_sum{{{of}}} 0.007"#),
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("\nprocess_max_fds "), "{text}");
        let typed: BTreeSet<&str> =
            text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
        assert_eq!(typed.len(), Series::ALL.len());
    }
}
