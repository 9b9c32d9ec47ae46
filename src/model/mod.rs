//! The nouns. Plain data: no I/O, no clock, no threads, no logging.

pub(crate) mod action;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod memory;
pub(crate) mod plan;
pub(crate) mod proxy;
pub(crate) mod replica;
pub(crate) mod schedule;
pub(crate) mod service;
pub(crate) mod snapshot;
pub(crate) mod time;
