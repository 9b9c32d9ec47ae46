//! End to end: the built program on a real Docker and a real HAProxy, with real traffic. A part
//! that is missing fails the test; `make test` sets them up.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../common/certificate.rs"]
mod certificate;
#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../common/load.rs"]
mod load;

#[path = "../browser/chromium.rs"]
mod chromium;
mod compose;
mod compose_real;
mod container_options;
mod crashes;
mod deaths;
mod docker;
mod docker_filter;
mod docker_tls;
mod faults;
mod fleet;
mod following;
mod haproxy;
mod haproxy_failures;
mod history;
#[path = "../it/hook_server.rs"]
#[allow(dead_code, reason = "the black-box tests use the rest")]
mod hook_server;
mod hung_haproxy;
mod hooks;
mod image_updates;
mod init;
mod labels;
mod matrix;
mod metrics;
mod night;
mod notifications;
mod one_image;
mod priority;
mod private_docker;
#[path = "../it/raw_http.rs"]
#[allow(dead_code, reason = "the black-box tests use the rest")]
mod raw_http;
mod fault_proxy;
#[path = "../common/real_clients.rs"]
mod real_clients;
mod registry;
mod renaming;
mod replacing;
mod restarts;
mod scaling;
mod testbed;
#[path = "../browser/tab.rs"]
#[allow(dead_code, reason = "the browser's tests use the rest")]
mod tab;
mod size;
mod sleep;
mod foreign_containers;
mod front_door;
mod swarm;
mod traffic;
mod haproxy_container;
