//! `outside::Store`: memory as one JSON file.

pub(crate) mod events;
mod rollout;
mod wire;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::model::memory::Memory;
use crate::model::time::Moment;
use crate::outside::{Error, Result, Store};
use crate::plain;

pub(crate) struct FileStore {
    dir: PathBuf,
}

/// What was found at the start.
pub(crate) struct Opened {
    pub(crate) store: FileStore,
    pub(crate) memory: Memory,
    /// The state file was no use and was set aside: why, and where to.
    pub(crate) damage: Option<String>,
    /// There was no state file: its path.
    pub(crate) missing: Option<PathBuf>,
}

impl FileStore {
    /// In a folder that is there, and that the caller keeps other daemons away from.
    pub(crate) fn open(dir: &Path, now: Moment) -> Opened {
        let store = FileStore { dir: dir.to_owned() };
        let path = store.path();
        let mut missing = None;
        let (memory, damage) = match plain::text(&path) {
            Ok(text) => match wire::parse(&text, now) {
                Ok(memory) => (memory, None),
                Err(why) => (Memory::default(), Some(set_aside(&path, &why))),
            },
            Err(err) if err.kind() == ErrorKind::NotFound => {
                missing = Some(path);
                (Memory::default(), None)
            }
            Err(err) => (Memory::default(), Some(set_aside(&path, &err.to_string()))),
        };
        Opened { store, memory, damage, missing }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("state.json")
    }
}

fn set_aside(path: &Path, why: &str) -> String {
    let aside = path.with_extension("json.damaged");
    match fs::rename(path, &aside) {
        Ok(()) => format!("{}: {why}; kept as {}", path.display(), aside.display()),
        Err(err) => format!("{}: {why}; and it cannot be set aside: {err}", path.display()),
    }
}

impl Store for FileStore {
    fn save(&self, memory: &Memory) -> Result<()> {
        let (path, new) = (self.path(), self.dir.join("state.json.new"));
        let write = || {
            // The environment of what worked last is in it.
            let mut options = File::options();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(wire::text(memory).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|err| Error::caused(format!("cannot store {}", path.display()), err))
    }
}
