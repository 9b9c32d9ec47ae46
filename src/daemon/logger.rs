//! Log lines: time, level, then key=value. They go to stderr; stdout is for answers to people.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

use crate::clock;
use crate::model::event::Event;

/// Of our own lines; what libraries say at their levels is of no use to an operator.
const OURS: &str = env!("CARGO_PKG_NAME");

struct Logger {
    inner: env_logger::Logger,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        self.inner.log(record);
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

pub(crate) fn start(level: LevelFilter) {
    let inner = env_logger::Builder::new()
        .filter_module(OURS, LevelFilter::Trace)
        .format(|out, record| {
            let level = record.level().as_str().to_ascii_lowercase();
            writeln!(out, "{} {level} {}", clock::stamp(), record.args())
        })
        .build();
    // Fails only when there is a logger already, which then does as well.
    if log::set_boxed_logger(Box::new(Logger { inner })).is_ok() {
        set_level(level);
    }
}

pub(crate) fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

pub(crate) fn event(event: &Event) {
    log::log!(event.kind.level(), "{event}");
}
