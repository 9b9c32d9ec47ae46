//! The folders that the daemon writes to, and HAProxy when the daemon starts it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::model::config::{Fixed, ProxyMode};
use crate::outside::{Error, Result};
use crate::regular_file::folder;

/// Each once, under the first key that names it.
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
        // These are of an HAProxy that has a user of its own.
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

/// Makes those that our files and sockets go to, and refuses what others may write to.
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
            Error::caused(format!("cannot make {} (see {key})", dir.display()), err)
        })?;
    }
    Ok(())
}

/// Not where others may put a file, or a link, in the place of ours.
fn refuse_open(fixed: &Fixed) -> Result<()> {
    let us = folder::own_uid().map_err(|err| Error::caused("cannot tell our user", err))?;
    let mut told = told(fixed, us).into_iter();
    told.next().map_or(Ok(()), |(key, words)| Err(Error::new(format!("{key}: {words}"))))
}

/// The same for whoever looks at the config, with the key that names each: another user than the
/// daemon's, maybe. Then the daemon is taken to be of the user who has its state.
pub(crate) fn open_to_others(fixed: &Fixed) -> Vec<(&'static str, String)> {
    let owner = fs::metadata(&fixed.state_dir).ok().map(|meta| meta.uid());
    let user = owner.map_or_else(folder::own_uid, Ok);
    user.map(|user| told(fixed, user)).unwrap_or_default()
}

fn told(fixed: &Fixed, user: u32) -> Vec<(&'static str, String)> {
    let folders = written(fixed).into_iter();
    folders.filter_map(|(key, at)| Some((key, folder::open_to_others(&at, user)?))).collect()
}
