//! The listening sockets of services that sleep. Each is opened once, and again if it fails or if
//! its file is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;

use crate::model::sleep::{abstract_wake_socket, wake_socket};
use crate::model::time::Moment;
use crate::unix;

/// Between two attempts to open the same one.
const RETRY: Duration = Duration::from_secs(1);
/// Of listeners' descriptors. Connections have lower ones, and the usual limit is 1024.
const NUMBER_MIN: i32 = 768;

/// Which addresses HAProxy uses. It cannot see a file if it has another root folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressKinds {
    /// A file beside HAProxy's socket.
    File,
    /// A name in the abstract namespace.
    Abstract,
    /// Nobody knows which one HAProxy uses, so both have to be open.
    Both,
}

/// What there is to accept from for one service.
#[derive(Clone, Debug)]
pub(crate) struct OpenListeners {
    /// All that HAProxy may use are open.
    pub(crate) is_complete: bool,
    pub(crate) listeners: Vec<Arc<UnixListener>>,
}

/// The listeners of all services.
pub(crate) struct WakeListeners {
    haproxy_socket: PathBuf,
    owner: Option<u32>,
    kinds: AddressKinds,
    by_service: BTreeMap<String, ServiceListeners>,
}

#[derive(Default)]
struct ServiceListeners {
    file: Option<FileListener>,
    name: Option<Arc<UnixListener>>,
    /// When the last attempt failed, and why.
    failure: Option<(Moment, String)>,
}

struct FileListener {
    path: PathBuf,
    id: FileId,
    listener: Arc<UnixListener>,
}

/// Tells our file from one that another process put in its place: device and inode.
type FileId = (u64, u64);

impl WakeListeners {
    pub(crate) fn new(
        haproxy_socket: PathBuf,
        owner: Option<u32>,
        kinds: AddressKinds,
    ) -> WakeListeners {
        WakeListeners { haproxy_socket, owner, kinds, by_service: BTreeMap::new() }
    }

    /// Opens what is missing and closes what nobody wants. Returns whether a listener came or
    /// went, and what failed.
    pub(crate) fn update(
        &mut self,
        services: &BTreeSet<String>,
        now: Moment,
    ) -> (bool, BTreeMap<String, String>) {
        let mut is_changed = false;
        self.by_service.retain(|name, own| {
            let is_wanted = services.contains(name);
            if !is_wanted {
                own.file.iter().for_each(FileListener::remove);
                is_changed = true;
            }
            is_wanted
        });
        let mut failures = BTreeMap::new();
        for service in services {
            let mut own = self.by_service.remove(service).unwrap_or_default();
            is_changed |= self.update_one(service, &mut own, now);
            if let Some((_, why)) = &own.failure {
                failures.insert(service.clone(), why.clone());
            }
            self.by_service.insert(service.clone(), own);
        }
        (is_changed, failures)
    }

    fn update_one(&self, service: &str, own: &mut ServiceListeners, now: Moment) -> bool {
        let lost = own.file.take_if(|file| file_id(&file.path) != Some(file.id));
        let has_all = self.is_complete(own);
        let is_early = own.failure.as_ref().is_some_and(|(at, _)| now.since(*at) < RETRY);
        if has_all || is_early {
            return lost.is_some();
        }
        let before = own.listeners().len();
        let opened = self.open_missing(service, own);
        own.failure = opened.err().map(|why| (now, why));
        lost.is_some() || own.listeners().len() != before
    }

    /// Both are tried, as either may be the one that HAProxy uses.
    fn open_missing(&self, service: &str, own: &mut ServiceListeners) -> Result<(), String> {
        let mut opened = Ok(());
        if self.kinds != AddressKinds::Abstract && own.file.is_none() {
            let path = wake_socket(&self.haproxy_socket, service);
            match listen_at(&path, self.owner) {
                Ok(file) => own.file = Some(file),
                Err(err) => opened = Err(format!("cannot listen at {}: {err}", path.display())),
            }
        }
        if self.kinds != AddressKinds::File && own.name.is_none() {
            let name = abstract_wake_socket(&self.haproxy_socket, service);
            match listen_by_name(&name) {
                Ok(listener) => own.name = Some(Arc::new(listener)),
                Err(err) => {
                    opened = opened.and(Err(format!("cannot listen at @{name}: {err}")));
                }
            }
        }
        opened
    }

    fn is_complete(&self, own: &ServiceListeners) -> bool {
        let wants_file = self.kinds != AddressKinds::Abstract;
        let wants_name = self.kinds != AddressKinds::File;
        (!wants_file || own.file.is_some()) && (!wants_name || own.name.is_some())
    }

    /// Of each service that is listened for, even where none could be opened.
    pub(crate) fn open(&self) -> BTreeMap<String, OpenListeners> {
        let open = |own: &ServiceListeners| OpenListeners {
            is_complete: self.is_complete(own),
            listeners: own.listeners(),
        };
        self.by_service.iter().map(|(service, own)| (service.clone(), open(own))).collect()
    }
}

impl ServiceListeners {
    fn listeners(&self) -> Vec<Arc<UnixListener>> {
        let file = self.file.as_ref().map(|file| &file.listener);
        file.into_iter().chain(&self.name).cloned().collect()
    }
}

impl FileListener {
    /// Unless another process has replaced it.
    fn remove(&self) {
        if file_id(&self.path) == Some(self.id)
            && let Err(err) = fs::remove_file(&self.path)
        {
            log::warn!("message=\"cannot remove {}: {err}\"", self.path.display());
        }
    }
}

/// For all accounts, or only for the owner.
fn listen_at(path: &Path, owner: Option<u32>) -> io::Result<FileListener> {
    let mode = if owner.is_some() { 0o600 } else { 0o666 };
    let socket = unix::listen(path, mode)?;
    if let Some(owner) = owner
        && let Err(err) = lchown(path, Some(owner), None)
    {
        // Nobody else may use it, so it is of no use.
        drop(fs::remove_file(path));
        return Err(err);
    }
    socket.set_nonblocking(true)?;
    let id = file_id(path).ok_or(ErrorKind::NotFound)?;
    let listener = Arc::new(UnixListener::from(numbered_high(OwnedFd::from(socket))));
    Ok(FileListener { path: path.to_owned(), id, listener })
}

fn listen_by_name(name: &str) -> io::Result<UnixListener> {
    let listener = unix::listen_abstract(name)?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from(numbered_high(OwnedFd::from(listener))))
}

/// Of a process that is killed, the kernel closes files with high numbers first. A connection that
/// is held has the lowest free number. Were it closed first, HAProxy would send the next request
/// to a listener that is about to go, and that request would fail too.
fn numbered_high(listener: OwnedFd) -> OwnedFd {
    // So high a number may not be allowed.
    fcntl_dupfd_cloexec(&listener, NUMBER_MIN).unwrap_or(listener)
}

fn file_id(path: &Path) -> Option<FileId> {
    let meta = fs::symlink_metadata(path).ok()?;
    meta.file_type().is_socket().then(|| (meta.dev(), meta.ino()))
}
