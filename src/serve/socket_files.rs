//! Removes the files of our sockets when the daemon ends.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Socket files that this process made, by path and inode. One that another process has replaced
/// since is not removed.
#[derive(Debug, Default)]
pub(crate) struct SocketFiles {
    made: Mutex<Vec<(PathBuf, u64)>>,
}

impl SocketFiles {
    pub(crate) fn add(&self, path: &Path) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(known, _)| known != path);
        made.extend(inode(path).map(|inode| (path.to_owned(), inode)));
    }

    pub(crate) fn remove(&self) {
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
