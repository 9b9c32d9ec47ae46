//! Locks that keep a second daemon away from the state and from HAProxy's file.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{self, Path, PathBuf};
use std::process;

use crate::model::config::Fixed;
use crate::outside::{Error, Result};
use crate::regular_file;

/// Held for the life of the daemon.
pub(crate) struct Locks {
    _state: File,
    _proxy: File,
}

impl Locks {
    /// Two daemons with the same state, or the same HAProxy file, would undo each other's changes.
    /// The directories must exist.
    pub(crate) fn take(fixed: &Fixed, config_file: &Path) -> Result<Locks> {
        let dir = &fixed.state_dir;
        let state = take(&state_lock(dir), "autoscaler.state_dir", dir, config_file)?;
        let written = &fixed.proxy.config;
        let mut name = written.clone().into_os_string();
        name.push(".daemon");
        let proxy = take(Path::new(&name), "load_balancer.config", written, config_file)?;
        Ok(Locks { _state: state, _proxy: proxy })
    }
}

fn state_lock(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

/// Locks `what`, which the config key `key` names, by the file `lock`.
fn take(lock: &Path, key: &str, what: &Path, config_file: &Path) -> Result<File> {
    let cannot = |err| Error::caused(format!("cannot write {} (see {key})", lock.display()), err);
    let mut file = regular_file::lock_file(lock).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => {
            let pid = read(lock).map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            return Err(Error::new(format!(
                "another plimsoll{pid} runs with {}; stop it, or set another {key} for this one",
                what.display()
            )));
        }
        Err(TryLockError::Error(err)) => return Err(cannot(err)),
    }
    let config_file = path::absolute(config_file).unwrap_or(config_file.to_owned());
    let text = format!("{}\n{}\n", process::id(), config_file.display());
    file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(cannot)?;
    Ok(file)
}

/// The process number of the daemon that runs with this state, or ran last.
pub(crate) fn holder(fixed: &Fixed) -> Option<u32> {
    read(&state_lock(&fixed.state_dir))
}

/// The user of the daemon that runs with this state, or ran last.
pub(crate) fn user(fixed: &Fixed) -> Option<u32> {
    fs::symlink_metadata(state_lock(&fixed.state_dir)).ok().map(|lock| lock.uid())
}

/// The process number in a lock file.
fn read(lock: &Path) -> Option<u32> {
    regular_file::own_text(lock).ok()?.lines().next()?.parse().ok()
}
