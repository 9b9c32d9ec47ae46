//! Writing the files that HAProxy reads: complete at any time, and through no link of others.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::outside::{Error, Result};
use crate::regular_file;

/// `haproxy.cfg` and `new` give `haproxy.cfg.new`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Mode of our files, which may hold secrets: headers of a health check.
pub(crate) const PRIVATE: u32 = 0o600;
/// Mode for an HAProxy in a container, which reads the files as another user.
pub(crate) const SHARED: u32 = 0o644;

/// Writes `text` to `path` with `.new` appended, synced to disk. An existing file there is removed
/// first, so that nothing is written through a link or into a FIFO.
pub(crate) fn write_new(path: &Path, text: &str, mode: u32) -> Result<PathBuf> {
    let new = beside(path, "new");
    remove(&new)?;
    let write = || {
        let mut file = regular_file::create_new(&new)?;
        file.set_permissions(Permissions::from_mode(mode))?;
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

pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let new = write_new(path, text, mode)?;
    rename(&new, path)
}

/// Changes when the file is changed or replaced, or its owner or mode is; empty when it cannot be
/// read.
pub(crate) fn fingerprint(path: &Path) -> String {
    let shown = |meta: fs::Metadata| {
        format!(
            "{}.{:09}, {} bytes, inode {}, changed {}.{:09}",
            meta.mtime(),
            meta.mtime_nsec(),
            meta.len(),
            meta.ino(),
            meta.ctime(),
            meta.ctime_nsec()
        )
    };
    fs::metadata(path).map(shown).unwrap_or_default()
}

/// A file that does not exist is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => {
            Err(Error::caused(format!("cannot remove {}", path.display()), err))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::Command;
    use std::{env, fs, process};

    use crate::haproxy::files::{PRIVATE, SHARED, replace};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn nothing_is_written_through_what_somebody_put_there() {
        let dir = env::temp_dir().join(format!("plimsoll-files-{}", process::id()));
        fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        let (cfg, new, victim) = (at("cfg"), at("cfg.new"), at("victim"));
        fs::write(&victim, "kept").unwrap();
        let traps: [(&str, &dyn Fn()); 3] = [
            ("nothing", &|| ()),
            ("a link", &|| symlink(&victim, &new).unwrap()),
            ("a pipe", &|| pipe(&new)),
        ];
        for (name, trap) in traps {
            for wanted in [PRIVATE, SHARED] {
                trap();
                replace(&cfg, name, wanted).unwrap();
                assert_eq!(
                    (fs::read_to_string(&cfg).unwrap().as_str(), mode(&cfg)),
                    (name, wanted)
                );
                assert_eq!(fs::read_to_string(&victim).unwrap(), "kept", "{name}");
            }
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
