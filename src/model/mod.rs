//! The nouns. Plain data: no I/O, no clock, no threads, no logging.

pub(crate) mod action;
pub(crate) mod behavior;
pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod counted;
pub(crate) mod event;
pub(crate) mod hash;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod host;
pub(crate) mod memory;
pub(crate) mod metric;
pub(crate) mod plan;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod record;
pub(crate) mod replica;
pub(crate) mod rollout;
pub(crate) mod schedule;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod time;
pub(crate) mod units;
pub(crate) mod url;
