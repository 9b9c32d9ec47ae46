//! Starts threads.

use std::thread;

use crate::outside::{Error, Result};

/// Threads are named for debuggers and `/proc`.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(512 << 10).spawn(body);
    thread.map(drop).map_err(|err| Error::caused(format!("cannot start thread {name}"), err))
}
