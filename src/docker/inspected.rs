//! Engine API types of inspects of containers and images.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::model::replica::Exit;

/// The labels of an image.
#[derive(Deserialize)]
pub(crate) struct ImageInspected {
    #[serde(rename = "Config")]
    config: Option<InspectedConfig>,
}

impl ImageInspected {
    pub(crate) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.config.as_ref()?.labels.as_ref()
    }

    /// TCP ports that it exposes.
    pub(crate) fn exposed_ports(&self) -> Vec<u16> {
        self.config.as_ref().map(InspectedConfig::tcp_ports).unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    #[serde(default)]
    name: String,
    /// Its image, by id.
    #[serde(default)]
    image: String,
    #[serde(default)]
    restart_count: u32,
    /// Commands that run in it.
    #[serde(default, rename = "ExecIDs")]
    exec_ids: Option<Vec<String>>,
    #[serde(default)]
    config: InspectedConfig,
    #[serde(default)]
    state: InspectedState,
    #[serde(default)]
    host_config: InspectedHost,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedConfig {
    labels: Option<BTreeMap<String, String>>,
    healthcheck: Option<InspectedCheck>,
    /// By port and protocol, as `80/tcp`.
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
}

impl InspectedConfig {
    fn tcp_ports(&self) -> Vec<u16> {
        let all = self.exposed_ports.iter().flat_map(BTreeMap::keys);
        all.filter_map(|port| port.strip_suffix("/tcp")?.parse().ok()).collect()
    }
}

/// Nanoseconds; 0 stands for Docker's default.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedCheck {
    test: Option<Vec<String>>,
    interval: u64,
    timeout: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedState {
    pid: u32,
    status: String,
    exit_code: i64,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    started_at: String,
    finished_at: String,
    health: Option<InspectedHealth>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedHealth {
    /// The last five checks, the newest at the end.
    log: Option<Vec<HealthRun>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HealthRun {
    exit_code: i64,
    output: String,
    end: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedHost {
    nano_cpus: u64,
    cpu_quota: i64,
    cpu_period: i64,
    memory: u64,
}

/// From RFC 3339. Docker writes "never" as the year 1, which gives `None`.
fn milliseconds(time: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(time).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

/// Docker's default interval and timeout of a health check.
const CHECK_DEFAULT: Duration = Duration::from_secs(30);
/// Tolerance for a busy engine.
const CHECK_SLACK: Duration = Duration::from_secs(10);

const ONE_CORE: u64 = 1_000_000_000;
/// Characters of a health check's output that are shown.
const COMPLAINT_MAX: usize = 200;

impl Inspected {
    pub(crate) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.config.labels.as_ref()
    }

    pub(crate) fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    pub(crate) fn image_id(&self) -> &str {
        &self.image
    }

    pub(crate) fn is_up(&self) -> bool {
        let status = self.state.status.as_str();
        0 < self.state.pid || matches!(status, "running" | "paused" | "restarting")
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state.status == "paused"
    }

    /// In milliseconds since 1970; `None`: it was never started.
    pub(crate) fn started_ms(&self) -> Option<u64> {
        milliseconds(&self.state.started_at)
    }

    pub(crate) fn finished_ms(&self) -> Option<u64> {
        milliseconds(&self.state.finished_at)
    }

    pub(crate) fn exec_ids(&self) -> &[String] {
        self.exec_ids.as_deref().unwrap_or_default()
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restart_count
    }

    pub(crate) fn exit(&self) -> Exit {
        Exit { code: self.state.exit_code, oom: self.state.oom_killed }
    }

    /// Result and output of the last health check.
    pub(crate) fn complaint(&self) -> String {
        let health = self.state.health.as_ref();
        let Some(run) = health.and_then(|h| h.log.as_ref()?.last()) else { return String::new() };
        let output: String = run.output.trim().chars().take(COMPLAINT_MAX).collect();
        format!("exit code {}: {output}", run.exit_code)
    }

    /// Time of Docker's last health check, in milliseconds since 1970, and the longest normal time
    /// until the next one. `None`: it has no health check.
    pub(crate) fn checked(&self) -> Option<(u64, Duration)> {
        let health = self.state.health.as_ref()?;
        let last = health.log.as_ref().and_then(|log| milliseconds(&log.last()?.end));
        let span = |nanos: u64| match nanos {
            0 => CHECK_DEFAULT,
            nanos => Duration::from_nanos(nanos),
        };
        let check = self.config.healthcheck.as_ref()?;
        let each = span(check.interval).saturating_add(span(check.timeout));
        let longest = each.saturating_mul(3).saturating_add(CHECK_SLACK);
        Some((last.or_else(|| self.started_ms())?, longest))
    }

    /// Docker checks its health.
    pub(crate) fn has_health_check(&self) -> bool {
        let check = self.config.healthcheck.as_ref();
        let first = check.and_then(|check| check.test.as_ref()?.first());
        first.is_some_and(|word| word != "NONE")
    }

    /// TCP ports, smallest first.
    pub(crate) fn exposed_ports(&self) -> Vec<u16> {
        let mut ports = self.config.tcp_ports();
        ports.sort_unstable();
        ports
    }

    /// `None` while it does not run.
    pub(crate) fn pid(&self) -> Option<u32> {
        (0 < self.state.pid).then_some(self.state.pid)
    }

    /// Bytes.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        Some(self.host_config.memory).filter(|limit| 0 < *limit)
    }

    /// Billionths of a core: its limit, else its quota.
    pub(crate) fn limit_nano_cpus(&self) -> Option<u64> {
        let host = &self.host_config;
        let quota = u64::try_from(host.cpu_quota).unwrap_or(0);
        // Docker leaves the period at 0 for the kernel's default of 100 ms.
        let period = u64::try_from(host.cpu_period).ok().filter(|p| 0 < *p).unwrap_or(100_000);
        match (host.nano_cpus, quota) {
            (0, 0) => None,
            (0, quota) => Some(quota.saturating_mul(ONE_CORE) / period),
            (nano, _) => Some(nano),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::docker::inspected::Inspected;
    use crate::model::replica::Exit;

    fn inspected(text: &str) -> Inspected {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn how_it_ended_and_what_its_own_check_wrote_is_shown() {
        let shown = inspected(
            r#"{"Id":"ab","State":{"ExitCode":137,"OOMKilled":true,
                "StartedAt":"2026-11-28T04:00:00.5Z","FinishedAt":"0001-01-01T00:00:00Z",
                "Health":{"Log":[{"Output":"old"},{"ExitCode":1,"Output":" no route\n"}]}}}"#,
        );
        assert_eq!(shown.exit(), Exit { code: 137, oom: true });
        assert_eq!(shown.complaint(), "exit code 1: no route");
        assert_eq!(shown.started_ms(), Some(1_795_838_400_500));
        assert_eq!(shown.finished_ms(), None);
    }

    #[test]
    fn when_its_own_check_ran_last_and_is_to_run_again_at_the_latest() {
        let check = r#""Config":{"Healthcheck":{"Interval":5000000000,"Timeout":2000000000}}"#;
        let default = r#""Config":{"Healthcheck":{"Test":["CMD","x"]}}"#;
        let ran = r#""Health":{"Log":[{"End":"x"},{"End":"2026-11-28T05:00:01.5+01:00"}]}"#;
        let never = r#""Health":{"Log":null},"StartedAt":"2026-11-28T04:00:00.5Z""#;
        for (config, state, want) in [
            (check, ran, Some((1_795_838_401_500, 31))),
            (default, ran, Some((1_795_838_401_500, 190))),
            (check, never, Some((1_795_838_400_500, 31))),
            (r#""Config":{}"#, ran, None),
            (check, r#""Status":"running""#, None),
        ] {
            let shown = inspected(&format!(r#"{{{config},"State":{{{state}}}}}"#));
            let got = shown.checked().map(|(last_ms, longest)| (last_ms, longest.as_secs()));
            assert_eq!(got, want, "{config} {state}");
        }
    }

    #[test]
    fn it_is_up_while_it_has_a_process_or_is_about_to_have_one() {
        for (state, want) in [
            (r#"{"Status":"running","Pid":7}"#, true),
            (r#"{"Status":"paused","Pid":7}"#, true),
            (r#"{"Status":"restarting","Pid":0}"#, true),
            (r#"{"Pid":7}"#, true),
            (r#"{"Status":"exited","Pid":0}"#, false),
            (r#"{"Status":"created"}"#, false),
        ] {
            let shown = inspected(&format!(r#"{{"State":{state}}}"#));
            assert_eq!(shown.is_up(), want, "{state}");
        }
    }

    #[test]
    fn the_memory_limit_is_none_where_docker_has_zero() {
        for (host, want) in [(r#"{"Memory":64}"#, Some(64)), (r#"{"Memory":0}"#, None)] {
            let shown = inspected(&format!(r#"{{"Id":"ab","HostConfig":{host}}}"#));
            assert_eq!(shown.memory_limit(), want, "{host}");
        }
    }

    #[test]
    fn the_limit_is_nano_cpus_else_quota_else_none() {
        for (host, want) in [
            (r#"{"NanoCpus":250000000,"CpuQuota":5,"CpuPeriod":10}"#, Some(250_000_000)),
            (r#"{"NanoCpus":0,"CpuQuota":50000,"CpuPeriod":100000}"#, Some(500_000_000)),
            (r#"{"NanoCpus":0,"CpuQuota":100000,"CpuPeriod":0}"#, Some(1_000_000_000)),
            (r#"{"NanoCpus":1000000000}"#, Some(1_000_000_000)),
            (r#"{"NanoCpus":0,"CpuQuota":50000,"CpuPeriod":0}"#, Some(500_000_000)),
            (r#"{"NanoCpus":0,"CpuQuota":-1,"CpuPeriod":0}"#, None),
            ("{}", None),
        ] {
            let text = format!(r#"{{"Id":"ab","HostConfig":{host}}}"#);
            let inspected: Inspected = serde_json::from_str(&text).unwrap();
            assert_eq!(inspected.limit_nano_cpus(), want, "{host}");
        }
    }
}
