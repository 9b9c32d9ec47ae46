//! What the daemon shows, and how it is asked. Reads what was published last and sends commands;
//! knows no adapter and decides nothing.
//!
//! A request comes in at a door, is read whole and checked by the intake, answered inside by
//! tiny_http and the desk, and goes out at the door again. tiny_http has no limits of its own, so
//! it never meets a client.

mod annals;
mod bodies;
pub(crate) mod client;
mod desk;
mod door;
mod guard;
mod head;
mod inside;
mod intake;
mod page;
mod reply;
mod routes;
pub(crate) mod wire;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::command::{Answer, Command};
use crate::model::config::Api;
use crate::model::host::Host;
use crate::model::status::Status;
use crate::outside::{Clock, Error, Result, Tally};
pub(crate) use crate::serve::annals::Annals;
use crate::serve::desk::Desk;
use crate::serve::door::{Hall, Place};
use crate::serve::guard::Guard;
use crate::serve::inside::Inside;

/// Where the latest status hangs. A reader keeps the sheet it took.
#[derive(Debug, Default)]
pub(crate) struct Board {
    sheet: Mutex<Option<Arc<Status>>>,
}

impl Board {
    pub(crate) fn publish(&self, status: Status) {
        *self.sheet.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(status));
    }

    /// `None` before the first turn.
    pub(crate) fn read(&self) -> Option<Arc<Status>> {
        self.sheet.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends a command to whoever can do it, and waits for the answer within a bound.
pub(crate) type Ask = Box<dyn Fn(Command) -> Answer + Send + Sync>;

/// What is shown, and who is asked.
pub(crate) struct Sources {
    pub(crate) board: Arc<Board>,
    pub(crate) ask: Ask,
    pub(crate) annals: Arc<Annals>,
    /// The host that the containers run on. May ask Docker.
    pub(crate) host: Box<dyn Fn() -> Host + Send + Sync>,
    /// What Prometheus reads.
    pub(crate) metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// Serves as long as the process lives. Dropped, it takes its sockets' files away.
pub(crate) struct Front {
    files: Arc<Files>,
}

impl Front {
    /// A place that cannot be served is told in the log and tried again: the daemon's own job does
    /// not wait for it.
    pub(crate) fn open(
        api: &Api,
        clock: Arc<dyn Clock>,
        sources: Sources,
        tally: Tally,
    ) -> Result<Front> {
        let files = Arc::new(Files::default());
        let desk = Desk::new(sources, clock.clone(), Guard::of(api));
        let inside = Inside::new(private(&api.socket), files.clone(), clock.clone(), desk);
        let hall = Arc::new(Hall::new(clock, inside, files.clone(), tally));
        let tcp = api.listen.map(Place::Tcp);
        for place in tcp.into_iter().chain([Place::Control(api.socket.clone())]) {
            let (name, hall) = (place.thread(), hall.clone());
            spawn(name, move || door::keep(&place, &hall))
                .map_err(|err| Error::caused(format!("cannot start thread {name}"), err))?;
        }
        Ok(Front { files })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.files.remove();
    }
}

/// Beside the control socket: whoever may not enter that folder cannot reach it either.
fn private(socket: &Path) -> PathBuf {
    let mut name = OsString::from(socket);
    name.push(".http");
    PathBuf::from(name)
}

/// Files of sockets that we made. One that another process has replaced is its own.
#[derive(Debug, Default)]
struct Files {
    made: Mutex<Vec<(PathBuf, u64)>>,
}

impl Files {
    fn add(&self, path: &Path) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(known, _)| known != path);
        made.extend(inode(path).map(|inode| (path.to_owned(), inode)));
    }

    fn remove(&self) {
        for (path, made) in self.made.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if inode(&path) == Some(made) {
                // It may be gone meanwhile; nothing hangs on it.
                drop(fs::remove_file(&path));
            }
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|meta| meta.ino())
}

/// Nothing here recurses, and buffers are not on the stack.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(256 << 10);
    thread.spawn(body).map(drop)
}
