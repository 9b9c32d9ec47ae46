//! Checks of directories and files: permissions, free space, access by others.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use crate::model::config::Fixed;
use crate::outside::Clock;
use crate::preflight::Finding;
use crate::preflight::folders;
use crate::preflight::version::output_of;
use crate::regular_file;

/// State, events and HAProxy's files take less than this for years.
const ROOM_LOW_KIB: u64 = 100 << 10;
const ROOM_NONE_KIB: u64 = 1 << 10;

/// A warning if others can read or write a secret file.
pub(super) fn secret(path: &Path) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let shown = path.display();
    (mode & 0o007 != 0).then(|| {
        Finding::warning("secrets", format!("{shown} is accessible to everybody (mode {mode:o})"))
            .remedy(format!("chmod 640 {shown}"))
    })
}

/// Each directory that is written to, once, under the first key that names it.
pub(super) fn folders(fixed: &Fixed, clock: &dyn Clock) -> Vec<Finding> {
    let proxy = &fixed.proxy;
    let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    let all = [
        ("autoscaler.state_dir", fixed.state_dir.clone()),
        ("load_balancer.config", parent(&proxy.config)),
        ("load_balancer.pid_file", parent(&proxy.pid_file)),
        ("load_balancer.socket", parent(&proxy.socket)),
        ("api.socket", parent(&fixed.api.socket)),
    ];
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut found = Vec::new();
    for (key, folder) in all {
        if !seen.contains(&folder) {
            found.push(writable(key, &folder).unwrap_or_else(|| room(key, &folder, clock)));
            seen.push(folder);
        }
    }
    let open = folders::open_to_others(fixed).into_iter();
    found.extend(open.map(|(key, words)| {
        Finding::warning(key, words)
            .remedy("`plimsoll run` refuses such a directory; remove write access of others")
    }));
    found
}

/// `None` when it is writable. For a missing directory the nearest parent counts, since the daemon
/// creates it.
fn writable(key: &'static str, folder: &Path) -> Option<Finding> {
    let there = there(folder);
    let trial = there.join(format!(".plimsoll-doctor-{}", process::id()));
    let tried = match regular_file::create_new(&trial) {
        Ok(_) => fs::remove_file(&trial),
        Err(err) => Err(err),
    };
    let err = tried.err()?;
    let message = format!("cannot write to {}: {err}", there.display());
    let remedy = match err.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("run this as the daemon's user, or chown {} to it", there.display())
        }
        _ => format!("repair it, or set {key} to another place"),
    };
    Some(Finding::fails(key, message).remedy(remedy))
}

/// The directory, or its nearest parent that exists.
fn there(folder: &Path) -> &Path {
    folder.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"))
}

fn room(key: &'static str, folder: &Path, clock: &dyn Clock) -> Finding {
    let shown = folder.display();
    let made = if folder.exists() { "" } else { "will be created, " };
    let mut command = Command::new("df");
    command.arg("-Pk").arg(there(folder)).env("LC_ALL", "C");
    let free = output_of(command, clock).as_deref().and_then(free_kib);
    match free {
        None => Finding::good(key, format!("{shown}: {made}writable")),
        Some(kib) if kib < ROOM_LOW_KIB => {
            let message = format!("{shown}: {made}{} free", size(kib));
            let low = match kib < ROOM_NONE_KIB {
                true => Finding::fails(key, message),
                false => Finding::warning(key, message),
            };
            low.remedy("free disk space: the state cannot be stored on a full disk")
        }
        Some(kib) => Finding::good(key, format!("{shown}: {made}{} free", size(kib))),
    }
}

fn size(kib: u64) -> String {
    if kib < 10 << 20 { format!("{} MiB", kib >> 10) } else { format!("{} GiB", kib >> 20) }
}

/// The fourth column of the second line, as POSIX defines `df -P`.
fn free_kib(df: &str) -> Option<u64> {
    df.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::preflight::places::free_kib;

    #[test]
    fn df_tells_what_is_free() {
        let head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n";
        for (row, want) in [
            ("/dev/sda1 1000 400 600 40% /", Some(600)),
            ("overlay 1000 1000 0 100% /a b", Some(0)),
            ("x - - - - /", None),
            ("", None),
        ] {
            assert_eq!(free_kib(&format!("{head}{row}\n")), want, "{row}");
        }
    }
}
