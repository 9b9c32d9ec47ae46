//! `outside::Store`: memory as one JSON file, and the lock that keeps a second daemon away from it.

mod wire;

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::model::memory::Memory;
use crate::model::time::Moment;
use crate::outside::{Error, Result, Store};

pub(crate) struct FileStore {
    dir: PathBuf,
    /// Held as long as this is open.
    _lock: File,
}

/// What was found at the start.
pub(crate) struct Opened {
    pub(crate) store: FileStore,
    pub(crate) memory: Memory,
    /// The state file was no use and was set aside: why, and where to.
    pub(crate) damage: Option<String>,
}

impl FileStore {
    /// Makes the folder when it is missing. Refuses when another daemon has it.
    pub(crate) fn open(dir: &Path, now: Moment) -> Result<Opened> {
        let cannot = |what: &str, err| {
            Error::caused(format!("{what} {} (see autoscaler.state_dir)", dir.display()), err)
        };
        fs::create_dir_all(dir).map_err(|err| cannot("cannot make", err))?;
        let lock = File::create(dir.join("lock")).map_err(|err| cannot("cannot write to", err))?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(format!(
                    "another plimsoll runs with {}; end it, or give this one its own \
                     autoscaler.state_dir",
                    dir.display()
                )));
            }
            Err(TryLockError::Error(err)) => return Err(cannot("cannot lock", err)),
        }
        let store = FileStore { dir: dir.to_owned(), _lock: lock };
        let path = store.path();
        let (memory, damage) = match fs::read_to_string(&path) {
            Ok(text) => match wire::parse(&text, now) {
                Ok(memory) => (memory, None),
                Err(why) => (Memory::default(), Some(set_aside(&path, &why))),
            },
            Err(err) if err.kind() == ErrorKind::NotFound => (Memory::default(), None),
            Err(err) => (Memory::default(), Some(set_aside(&path, &err.to_string()))),
        };
        Ok(Opened { store, memory, damage })
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
            let mut file = File::create(&new)?;
            file.write_all(wire::text(memory).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|err| Error::caused(format!("cannot store {}", path.display()), err))
    }
}
