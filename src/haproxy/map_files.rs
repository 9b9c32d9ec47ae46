//! The routes of shared frontends as HAProxy's map files: on disk, and in the running process.

use std::collections::BTreeMap;

use crate::haproxy::{Haproxy, files, front_door, policy};
use crate::model::action::SetServerState;
use crate::model::replica::AdminState;
use crate::outside::{Error, Result};
use crate::regular_file;

/// HAProxy refuses a config with a map that does not exist. One that exists is in use.
pub(crate) fn create_missing(text: &str, mode: u32) -> Result<()> {
    for (file, _) in front_door::maps(text) {
        if !file.exists() {
            files::replace(&file, "", mode)?;
        }
    }
    Ok(())
}

/// Before HAProxy reads `text`.
pub(crate) fn write(text: &str, mode: u32) -> Result<()> {
    for (file, content) in front_door::maps(text) {
        if regular_file::text(&file).ok().as_ref() != Some(&content) {
            files::replace(&file, &content, mode)?;
        }
    }
    Ok(())
}

/// The maps of frontends that a former text had and `text` has not.
pub(crate) fn remove_others(former: &str, text: &str) -> Result<()> {
    let kept = front_door::maps(text);
    for (file, _) in front_door::maps(former) {
        if kept.iter().all(|(other, _)| *other != file) {
            files::remove(&file)?;
        }
    }
    Ok(())
}

impl Haproxy {
    /// Brings the maps of the running process to those of `text`. What is new is added before
    /// anything is taken away, so that no request finds none.
    pub(crate) fn update_maps(&self, text: &str) -> Result<()> {
        let draining = policy::draining_map(&self.config.config);
        for (file, content) in front_door::maps(text) {
            if file == draining {
                continue;
            }
            let file = file.display();
            let shown = self.socket.ask(&format!("show map {file}"))?;
            if shown.starts_with("Unknown") {
                return Err(Error::new(format!("haproxy: `show map {file}`: {}", shown.trim())));
            }
            // An address, the key and the value.
            let entry = |line: &str| {
                let (_, entry) = line.split_once(' ')?;
                let (key, value) = entry.split_once(' ')?;
                Some((key.to_owned(), value.to_owned()))
            };
            let mut shown: BTreeMap<String, String> = shown.lines().filter_map(entry).collect();
            for line in content.lines() {
                let Some((key, value)) = line.split_once(' ') else { continue };
                let verb = match shown.remove(key) {
                    Some(now) if now == value => continue,
                    Some(_) => "set",
                    None => "add",
                };
                self.run_command(&format!("{verb} map {file} {key} {value}"), "")?;
            }
            for key in shown.keys() {
                self.run_command(&format!("del map {file} {key}"), "")?;
            }
        }
        Ok(())
    }

    /// The cookie of a server that drains does not count any more, so that its clients go elsewhere
    /// with their next request. HAProxy's own drain state goes on to serve them.
    pub(crate) fn update_cookies(&self, set: &SetServerState) -> Result<()> {
        let file = policy::draining_map(&self.config.config);
        if !file.exists() {
            return Ok(());
        }
        let file = file.display();
        let server = &set.server;
        // A server that is not in the map is no error here.
        let answer = self.socket.ask(&format!("del map {file} {server}"))?;
        let has_map = !answer.starts_with("Unknown");
        if !has_map || set.admin_state == AdminState::Ready {
            return Ok(());
        }
        self.run_command(&format!("add map {file} {server} 1"), "")
    }
}
