//! Files that are whole at any time.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::outside::{Error, Result};

/// `haproxy.cfg` and `new` give `haproxy.cfg.new`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Written to a file beside, on the disk before this returns.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<PathBuf> {
    let new = beside(path, "new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|err| Error::caused(format!("cannot write {}", new.display()), err))?;
    Ok(new)
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let rename = || {
        fs::rename(from, to)?;
        let dir = to.parent().unwrap_or(Path::new("/"));
        File::open(dir)?.sync_all()
    };
    rename().map_err(|err| Error::caused(format!("cannot write {}", to.display()), err))
}

pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let new = write_new(path, text)?;
    rename(&new, path)
}

/// Tells a file from the one that replaces it; empty when it cannot be looked at.
pub(crate) fn edition(path: &Path) -> String {
    let told = |meta: fs::Metadata| {
        format!(
            "{}.{:09}, {} bytes, inode {}",
            meta.mtime(),
            meta.mtime_nsec(),
            meta.len(),
            meta.ino()
        )
    };
    fs::metadata(path).map(told).unwrap_or_default()
}

/// One that is not there is as well.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => {
            Err(Error::caused(format!("cannot remove {}", path.display()), err))
        }
        _ => Ok(()),
    }
}
