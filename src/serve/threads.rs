//! How threads of the API are started.

use std::io;
use std::thread;

/// The stack is small: nothing here recurses, and buffers are on the heap.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(256 << 10);
    thread.spawn(body).map(drop)
}
