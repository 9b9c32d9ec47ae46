//! What an operator can do about each kind of problem.

use crate::model::problem::ProblemKind;

/// One line. `message` is the problem's: it tells causes apart.
pub(super) fn fix(kind: ProblemKind, service: Option<&str>, message: &str) -> String {
    let name = service.unwrap_or("SERVICE");
    match kind {
        ProblemKind::NoneReady
        | ProblemKind::ReplicaNotReady
        | ProblemKind::ReplicaFailed
        | ProblemKind::CrashLoop
        | ProblemKind::HealthUnhealthy => replica(name, message),
        ProblemKind::DockerLost => {
            "start Docker (`systemctl start docker`); `plimsoll doctor` checks its socket"
                .to_owned()
        }
        ProblemKind::HaproxyDown => {
            "see HAProxy's own log; `plimsoll doctor` checks its program, ports and files"
                .to_owned()
        }
        ProblemKind::HaproxyReloadFailed => {
            "correct what HAProxy complains of; the last good configuration serves until then"
                .to_owned()
        }
        ProblemKind::HaproxyDied => {
            "see its log and `dmesg` for a crash or a lack of memory".to_owned()
        }
        ProblemKind::HaproxyFull => {
            "raise load_balancer.max_connections, or the limit of open files".to_owned()
        }
        ProblemKind::HaproxyReloadDeferred => {
            "old processes end with their sessions; lower load_balancer.hard_stop_after to end \
             them sooner"
                .to_owned()
        }
        ProblemKind::StateNotSaved => {
            "make autoscaler.state_dir writable, and see whether the disk is full".to_owned()
        }
        ProblemKind::HistoryNotSaved => {
            "see whether the disk is full, and whether autoscaler.state_dir can be written; \
             `\"history\": 0` turns the history off"
                .to_owned()
        }
        ProblemKind::WebhookFailed => {
            "correct the webhook's url or headers in notifications, or start its server; events \
             that it did not get are in `plimsoll events`"
                .to_owned()
        }
        ProblemKind::CertificateRejected => {
            "correct the file, or `certificates` of the frontend; it is read again as soon as it \
             changes"
                .to_owned()
        }
        ProblemKind::CertificateExpires => {
            "renew it (`certbot renew`): see why your ACME client has not; a new file is served as \
             soon as it is there"
                .to_owned()
        }
        ProblemKind::LabelsRejected => {
            "correct the label in the compose file (`plimsoll check --compose FILE` shows each \
             error), then `docker compose up -d`; until then the last good labels count, if there \
             were any"
                .to_owned()
        }
        ProblemKind::ConfigRejected => {
            "correct the config (`plimsoll check` shows each error), then `plimsoll reload`; the \
             old config runs until then"
                .to_owned()
        }
        ProblemKind::HealthSuspect => format!(
            "see whether what its health check depends on is down: `plimsoll status {name}`"
        ),
        ProblemKind::HealthStale => {
            "restart Docker: it does not run the image's HEALTHCHECK any more".to_owned()
        }
        ProblemKind::HealthNotProbed => {
            "raise the daemon's limit of open files (LimitNOFILE)".to_owned()
        }
        ProblemKind::DockerRefused => {
            "allow the call in the proxy's rules, or name Docker's own socket in docker.socket; \
             `plimsoll doctor` tries each call"
                .to_owned()
        }
        ProblemKind::ImageCheckFailed => format!(
            "see whether the registry answers and the login of docker.config is good, or remove \
             image_updates of {name}; its replicas keep running"
        ),
        ProblemKind::MetricFailed => format!(
            "correct the metric's source or its server; until it has a value, {name} is not \
             scaled down"
        ),
        ProblemKind::RolloutStalled => {
            format!("see why new replicas do not get ready: `plimsoll status {name}`")
        }
        ProblemKind::RolloutRolledBack => {
            format!(
                "correct the config of {name} and run `plimsoll reload`, or push a corrected image \
                 (without image_updates: `docker pull`, then `plimsoll restart {name}`)"
            )
        }
        ProblemKind::ScaleCapped if message.contains("processor") => format!(
            "give the others less to do, or {name} a higher `priority`; autoscaler.cpu_reserve \
             says from when on the processor is busy"
        ),
        ProblemKind::ScaleCapped => format!(
            "free memory, lower `memory` of {name} or autoscaler.memory_reserve, or lower \
             max_replicas"
        ),
        ProblemKind::ServiceOrphaned => {
            format!("remove its containers (`docker rm -f`), or put {name} back into the config")
        }
        ProblemKind::SwarmDegraded => format!("see `docker service ps {name}`"),
        ProblemKind::SwarmShort => {
            format!("see `docker service ps {name}`: no node has room for its tasks")
        }
        ProblemKind::DaemonSlow => "see what loads this host, its disk or Docker".to_owned(),
    }
}

/// By the words of the probes, of Docker and of exits, as `observe` and `docker` write them.
fn replica(name: &str, message: &str) -> String {
    let says = |part: &str| message.contains(part);
    if says("not on this host") || says("pull") {
        format!("`docker pull` the image, or correct `image` of {name}")
    } else if says("out of memory") {
        format!("raise `memory` of {name}, or let the app use less")
    } else if says("exit code 0") {
        "its process ended without an error; it must keep running in the foreground".to_owned()
    } else if says("exit code") {
        format!("the app ends by itself: see its log in `plimsoll status {name}`")
    } else if says(" answered ") {
        format!(
            "set health_check.path of {name} to a path that answers as expected, or \
             health_check.expect_status to what it answers"
        )
    } else if says("refused") {
        format!(
            "let the app listen on 0.0.0.0 at the port that `port` of {name} names, not on \
             127.0.0.1"
        )
    } else if says("no answer within") || says("timed out") || says("no complete answer") {
        format!("see why the app is slow, or raise health_check.timeout or start_period of {name}")
    } else if says("HEALTHCHECK") {
        format!("give {name} a health_check.type other than docker")
    } else {
        format!("`plimsoll status {name}` shows each replica, `plimsoll events` what happened")
    }
}
