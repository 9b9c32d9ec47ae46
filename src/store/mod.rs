//! `outside::Store`: the state as one JSON file, `state.json`.

pub(crate) mod events;
pub(crate) mod history_reader;
pub(crate) mod left_out;
pub(crate) mod load_history;
pub(crate) mod report_mark;
mod container_options;
mod forecast;
mod label_set;
mod preemption;
mod rollout;
mod sleep;
mod wire;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::model::memory::Memory;
use crate::model::time::Moment;
use crate::outside::{Error, Result, Store};
use crate::regular_file;

pub(crate) struct FileStore {
    dir: PathBuf,
}

/// What was found at the start.
pub(crate) struct Opened {
    pub(crate) store: FileStore,
    pub(crate) memory: Memory,
    /// The state file was unusable and was renamed: the reason and the new path.
    pub(crate) damage: Option<String>,
    /// There was no state file: its path.
    pub(crate) missing: Option<PathBuf>,
}

impl FileStore {
    /// Reads the state in `dir`, which must exist and be locked by the caller.
    pub(crate) fn open(dir: &Path, now: Moment) -> Opened {
        let store = FileStore { dir: dir.to_owned() };
        let path = store.path();
        let mut missing = None;
        let (memory, damage) = match regular_file::own_text(&path) {
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
        Err(err) => format!("{}: {why}; renaming it failed too: {err}", path.display()),
    }
}

impl Store for FileStore {
    fn save(&self, memory: &Memory) -> Result<()> {
        let path = self.path();
        let new = self.dir.join("state.json.new");
        // It contains environments of containers, so it is for its owner only.
        let text = wire::text(memory);
        regular_file::replace(&path, &new, text.as_bytes()).map_err(|err| {
            let path = path.display();
            let new = new.display();
            Error::caused(format!("cannot write {path} (through {new})"), err)
        })
    }
}
