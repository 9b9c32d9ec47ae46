//! The directories that the daemon and its HAProxy write to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::model::config::{Fixed, ProxyMode};
use crate::outside::{Error, Result};
use crate::regular_file::folder;

/// Each directory once, under the first key that names it.
fn written(fixed: &Fixed) -> Vec<(&'static str, PathBuf)> {
    let proxy = &fixed.proxy;
    let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut all = vec![
        ("autoscaler.state_dir", fixed.state_dir.clone()),
        ("load_balancer.config", parent(&proxy.config)),
    ];
    match proxy.mode {
        ProxyMode::Process => all.extend([
            ("load_balancer.pid_file", parent(&proxy.pid_file)),
            ("load_balancer.socket", parent(&proxy.socket)),
        ]),
        // An HAProxy with its own user owns these.
        ProxyMode::Systemd(_) | ProxyMode::Container(_) | ProxyMode::None => (),
    }
    all.push(("api.socket", parent(&fixed.api.socket)));
    let mut seen: Vec<PathBuf> = Vec::new();
    all.retain(|(_, folder)| {
        let is_new = !seen.contains(folder);
        seen.push(folder.clone());
        is_new
    });
    all
}

/// Creates the directories of our files and sockets. An error if others can write to one.
pub(crate) fn prepare(fixed: &Fixed) -> Result<()> {
    make(fixed)?;
    refuse_open(fixed)
}

fn make(fixed: &Fixed) -> Result<()> {
    let proxy = &fixed.proxy;
    let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    for (dir, key) in [
        (fixed.state_dir.clone(), "autoscaler.state_dir"),
        (parent(&proxy.config), "load_balancer.config"),
        (parent(&proxy.pid_file), "load_balancer.pid_file"),
        (parent(&proxy.socket), "load_balancer.socket"),
    ] {
        folder::make(&dir).map_err(|err| {
            Error::caused(format!("cannot create {} (see {key})", dir.display()), err)
        })?;
    }
    Ok(())
}

/// An error if others can replace our files, with a link for instance.
fn refuse_open(fixed: &Fixed) -> Result<()> {
    let us = folder::own_uid()
        .map_err(|err| Error::caused("cannot find out the user of this process", err))?;
    let mut open = open_for(fixed, us).into_iter();
    open.next().map_or(Ok(()), |(key, words)| Err(Error::new(format!("{key}: {words}"))))
}

/// The directories that others can write to, each with its key. May be called by another user than
/// the daemon's: the owner of the state directory counts as the daemon's user.
pub(crate) fn open_to_others(fixed: &Fixed) -> Vec<(&'static str, String)> {
    let owner = fs::metadata(&fixed.state_dir).ok().map(|meta| meta.uid());
    let user = owner.map_or_else(folder::own_uid, Ok);
    user.map(|user| open_for(fixed, user)).unwrap_or_default()
}

fn open_for(fixed: &Fixed, user: u32) -> Vec<(&'static str, String)> {
    let folders = written(fixed).into_iter();
    folders.filter_map(|(key, at)| Some((key, folder::open_to_others(&at, user)?))).collect()
}
