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
        "Version of the running plimsoll; the value is always 1."
    Replicas = Gauge "plimsoll_replicas"
        "Replicas of a service in each state."
    Desired = Gauge "plimsoll_replicas_desired"
        "Desired number of replicas."
    Min = Gauge "plimsoll_replicas_min"
        "Lower bound in force."
    Max = Gauge "plimsoll_replicas_max"
        "Upper bound in force."
    Preempted = Gauge "plimsoll_replicas_preempted"
        "Replicas that a service has given up for services of a higher priority."
    HostCpuIdle = Gauge "plimsoll_host_cpu_idle_ratio"
        "Idle share of the host's processors since the evaluation before; absent if not looked at."
    HostCpuBusy = Gauge "plimsoll_host_cpu_busy"
        "1 while the host's processors are busy, so that load starts no more replicas."
    MetricValue = Gauge "plimsoll_metric_value"
        "Value of a metric at the last evaluation, in its own unit; absent if it is unavailable."
    MetricTarget = Gauge "plimsoll_metric_target"
        "Target of a metric, in its own unit."
    MetricSource = Gauge "plimsoll_metric_source_info"
        "1 for each source from which the last evaluation read the load of containers."
    ForecastLoad = Gauge "plimsoll_forecast_load"
        "Highest load that is forecast within the horizon, of all replicas, in the metric's unit."
    ForecastReplicas = Gauge "plimsoll_forecast_replicas"
        "Replicas that the forecast asks for, within no bounds."
    ForecastError = Gauge "plimsoll_forecast_error_ratio"
        "How far forecasts of the last day were off, as a share of the load; 0.1 is a tenth."
    Decision = Gauge "plimsoll_decision_reason"
        "1 for the reason of the last decision, 0 for every other."
    Schedule = Gauge "plimsoll_schedule_active"
        "1 for the schedule whose bounds are in force, and during business hours."
    Hold = Gauge "plimsoll_hold_active"
        "1 while an operator holds the number of replicas."
    Pause = Gauge "plimsoll_pause_active"
        "1 while scaling is paused by an operator."
    Scaling = Counter "plimsoll_scaling_events_total"
        "Changes of a service's replicas, by action."
    Events = Counter "plimsoll_events_total"
        "Events, by kind."
    EventsDropped = Counter "plimsoll_events_dropped_total"
        "Events that could not be written to the file or sent to a webhook."
    Tick = Histogram "plimsoll_tick_duration_seconds"
        "Duration of a tick: observe, decide, begin actions."
    TickOverruns = Counter "plimsoll_tick_overruns_total"
        "Ticks that took longer than check_interval."
    LastTick = Gauge "plimsoll_last_tick_timestamp_seconds"
        "End of the last tick, in seconds since 1970."
    DockerUp = Gauge "plimsoll_docker_up"
        "1 while Docker answers."
    Docker = Histogram "plimsoll_docker_request_duration_seconds"
        "Duration of calls of Docker's API."
    DockerErrors = Counter "plimsoll_docker_errors_total"
        "Calls of Docker's API without a response, or with status 500 or above."
    Problem = Gauge "plimsoll_problem"
        "1 for each problem that stands; `service` is empty where it concerns all."
    HaproxyUp = Gauge "plimsoll_haproxy_up"
        "1 while HAProxy answers on its socket."
    Reloads = Counter "plimsoll_haproxy_reloads_total"
        "Reloads of HAProxy, by result."
    Reload = Histogram "plimsoll_haproxy_reload_duration_seconds"
        "Duration of reloads of HAProxy, until the new process served."
    OldProcesses = Gauge "plimsoll_haproxy_old_processes"
        "Old HAProxy processes that still finish their sessions."
    CertificateDays = Gauge "plimsoll_certificate_days_left"
        "Days until a certificate of a shared frontend expires."
    BackendRequests = Counter "plimsoll_backend_requests_total"
        "Requests of clients for a service that HAProxy counted; a repeated one is one."
    BackendResponses = Counter "plimsoll_backend_responses_total"
        "Responses with an error status that a service's clients got, by class of the status."
    BackendRetries = Counter "plimsoll_backend_retries_total"
        "Connections to replicas and requests that HAProxy tried again."
    BackendBytes = Counter "plimsoll_backend_bytes_total"
        "Bytes of requests (in) and of responses (out)."
    BackendQueue = Gauge "plimsoll_backend_current_queue"
        "Requests that wait in HAProxy for a replica of a service."
    Asleep = Counter "plimsoll_asleep_seconds_total"
        "Time that a service slept: no replica was desired until a request."
    WakeUps = Counter "plimsoll_wake_ups_total"
        "Wake-ups of a service, by cause."
    WakeUp = Histogram "plimsoll_wake_up_duration_seconds"
        "Time until the first byte of the answer to a request that was held for its service."
    Held = Gauge "plimsoll_requests_held"
        "Requests that wait for a replica of a service that slept."
    BackendSessions = Gauge "plimsoll_backend_current_sessions"
        "Requests of a service that its replicas have in hand."
    BackendTime = Gauge "plimsoll_backend_response_time_average_seconds"
        "Average time to the response, of the last 1024 requests."
    ServerSessions = Gauge "plimsoll_server_current_sessions"
        "Requests that a replica has in hand or in its queue."
    ServerUp = Gauge "plimsoll_server_up"
        "1 while a replica passes HAProxy's own health check; absent if HAProxy does not tell."
    Probe = Histogram "plimsoll_probe_duration_seconds"
        "Duration of health checks."
    ProbeFailures = Counter "plimsoll_probe_failures_total"
        "Health checks that failed, by cause."
    ConfigReload = Gauge "plimsoll_config_last_reload_successful"
        "1 if the last reload of the config succeeded."
    Requests = Counter "plimsoll_http_requests_total"
        "Requests to this API; route is the pattern, or other if there is none."
    RequestDuration = Histogram "plimsoll_http_request_duration_seconds"
        "Duration of requests to this API, from the complete request to the complete response."
    ProcessCpu = Counter "process_cpu_seconds_total"
        "CPU time used, in user and kernel mode."
    ProcessFiles = Gauge "process_open_fds"
        "Open files."
    ProcessFilesMax = Gauge "process_max_fds"
        "Maximum number of open files."
    ProcessVirtual = Gauge "process_virtual_memory_bytes"
        "Virtual memory size in bytes."
    ProcessResident = Gauge "process_resident_memory_bytes"
        "Resident memory size in bytes."
    ProcessStarted = Gauge "process_start_time_seconds"
        "Start of the daemon, in seconds since 1970."
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
