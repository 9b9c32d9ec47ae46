//! Every series that Prometheus can read of the daemon: name, type and help, one table. Where a
//! sample comes from is `prometheus.rs`' affair.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeriesKind {
    /// Only grows, but for a restart.
    Counter,
    Gauge,
    Histogram,
}

impl SeriesKind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            SeriesKind::Counter => "counter",
            SeriesKind::Gauge => "gauge",
            SeriesKind::Histogram => "histogram",
        }
    }
}

macro_rules! series {
    ($($series:ident = $kind:ident $name:literal $help:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Series {
            $($series,)*
        }

        impl Series {
            /// In the order in which they are shown.
            pub(crate) const ALL: &[Series] = &[$(Series::$series,)*];

            /// Type, name and help.
            pub(crate) fn about(self) -> (SeriesKind, &'static str, &'static str) {
                match self {
                    $(Series::$series => (SeriesKind::$kind, $name, $help),)*
                }
            }
        }
    };
}

series! {
    Build = Gauge "plimsoll_build_info"
        "The version that runs; always 1."
    Replicas = Gauge "plimsoll_replicas"
        "Replicas of a service in each state."
    Desired = Gauge "plimsoll_replicas_desired"
        "Replicas that were decided on."
    Min = Gauge "plimsoll_replicas_min"
        "The lower bound that holds now."
    Max = Gauge "plimsoll_replicas_max"
        "The upper bound that holds now."
    MetricValue = Gauge "plimsoll_metric_value"
        "What a metric showed at the last look, in its own unit; none where it could not be told."
    MetricTarget = Gauge "plimsoll_metric_target"
        "What a metric is held to, in its own unit."
    MetricSource = Gauge "plimsoll_metric_source_info"
        "1 for each way in which the last look read the load of containers."
    Decision = Gauge "plimsoll_decision_reason"
        "1 for the reason of the last decision, 0 for every other."
    Schedule = Gauge "plimsoll_schedule_active"
        "1 for the window that gives the bounds now, and while business hours hold."
    Hold = Gauge "plimsoll_hold_active"
        "1 while an operator holds the number."
    Pause = Gauge "plimsoll_pause_active"
        "1 while an operator has scaling paused."
    Scaling = Counter "plimsoll_scaling_events_total"
        "Changes of a service's replicas, by what was done."
    Events = Counter "plimsoll_events_total"
        "Events, by kind."
    EventsDropped = Counter "plimsoll_events_dropped_total"
        "Events that the file or a webhook did not get."
    Tick = Histogram "plimsoll_tick_duration_seconds"
        "How long a turn took: observe, decide, begin what has to be done."
    TickOverruns = Counter "plimsoll_tick_overruns_total"
        "Turns that took longer than check_interval."
    LastTick = Gauge "plimsoll_last_tick_timestamp_seconds"
        "When the last turn ended, as seconds since 1970."
    DockerUp = Gauge "plimsoll_docker_up"
        "1 while Docker answers."
    Docker = Histogram "plimsoll_docker_request_duration_seconds"
        "How long calls of Docker's API took."
    DockerErrors = Counter "plimsoll_docker_errors_total"
        "Calls of Docker's API without an answer, or answered with 500 or more."
    HaproxyUp = Gauge "plimsoll_haproxy_up"
        "1 while HAProxy answers on its socket."
    Reloads = Counter "plimsoll_haproxy_reloads_total"
        "Reloads of HAProxy, by how they ended."
    Reload = Histogram "plimsoll_haproxy_reload_duration_seconds"
        "How long reloads of HAProxy took, until the new process was seen to serve."
    OldProcesses = Gauge "plimsoll_haproxy_old_processes"
        "Earlier HAProxy processes that still finish their sessions."
    Probe = Histogram "plimsoll_probe_duration_seconds"
        "How long health checks took."
    ProbeFailures = Counter "plimsoll_probe_failures_total"
        "Health checks that failed, by cause."
    ConfigReload = Gauge "plimsoll_config_last_reload_successful"
        "1 if the config was good when it was read last."
    Requests = Counter "plimsoll_http_requests_total"
        "Requests to this API; route is the pattern, other where there is none."
    RequestDuration = Histogram "plimsoll_http_request_duration_seconds"
        "How long answers of this API took, from the whole request to the whole answer."
    ProcessCpu = Counter "process_cpu_seconds_total"
        "Processor time used, in user and kernel mode."
    ProcessFiles = Gauge "process_open_fds"
        "Open files."
    ProcessFilesMax = Gauge "process_max_fds"
        "Files that may be open."
    ProcessVirtual = Gauge "process_virtual_memory_bytes"
        "Address space."
    ProcessResident = Gauge "process_resident_memory_bytes"
        "Memory in use."
    ProcessStarted = Gauge "process_start_time_seconds"
        "When the daemon started, as seconds since 1970."
}

#[cfg(test)]
mod tests {
    use crate::report::series::{Series, SeriesKind};

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for series in Series::ALL {
            let (kind, name, help) = series.about();
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(plain), "{name}");
            assert!(name.starts_with("plimsoll_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == SeriesKind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{name}: {help}");
            assert!(kind != SeriesKind::Histogram || name.ends_with("_seconds"), "{name}");
        }
    }
}
