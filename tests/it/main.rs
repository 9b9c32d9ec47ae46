//! Black-box tests: they run the built program against scripted sockets, and read the source tree.
//! They contain no code of the program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod api;
mod attacks;
mod backup;
mod base_config;
mod doc_blocks;
#[path = "../common/certificate.rs"]
mod certificate;
mod cli;
mod commands;
mod completions;
mod config_messages;
mod container_options;
mod create;
mod curl;
#[path = "../common/daemon.rs"]
mod daemon;
mod deploy;
mod docker;
mod docker_calls;
mod docs;
mod doctor;
mod events;
mod fake_docker;
mod fake_http;
mod forecast;
mod front_door;
mod front_door_files;
mod load_history;
mod long_running;
mod groups;
mod import_circles;
mod golden;
mod haproxy;
mod health;
mod hooks;
mod hook_server;
mod hostile;
mod install;
mod labels;
mod haproxy_modes;
mod init;
mod life;
mod live;
#[path = "../common/load.rs"]
mod load;
mod load_client;
mod load_kinds;
mod page;
mod simulate;
mod metrics;
mod pipeline;
mod plants;
mod monitoring;
mod quickref;
mod naming;
mod notify;
mod ownership;
mod raw_http;
mod registry_auth;
mod zones;
mod readme;
mod release;
mod schema;
mod screens;
mod scripts;
mod secrets;
mod harness;
mod swarm;
mod telemetry;
mod terminal;
mod tidy;
mod tls;
mod traffic_policy;
mod upgrade;
mod webhooks;
