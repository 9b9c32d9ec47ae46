//! Turns ticks into events, status and metrics.

mod action_events;
pub(crate) mod events;
pub(crate) mod certificates;
mod proxy_full;
mod image_checks;
mod orphans;
mod preemptions;
pub(crate) mod problems;
mod processor_users;
pub(crate) mod prometheus;
mod dedup;
mod forecast_series;
pub(crate) mod load_report;
pub(crate) mod minute_rows;
pub(crate) mod notification;
pub(crate) mod report_words;
pub(crate) mod series;
mod sleep_series;
pub(crate) mod status;
pub(crate) mod swarm_shortage;
pub(crate) mod slow_ticks;
pub(crate) mod stale_health_checks;
mod transitions;
mod ignored_containers;
pub(crate) mod telemetry;
mod unwakeable;
pub(crate) mod weekly_report;
