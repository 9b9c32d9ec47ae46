//! Directories: a user who can write to one can replace our files, also by links.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;

const ROOT: u32 = 0;
const STICKY: u32 = 0o1000;

/// The user that owns the files that this process creates (filesystem uid).
pub(crate) fn own_uid() -> io::Result<u32> {
    static UID: OnceLock<u32> = OnceLock::new();
    if let Some(uid) = UID.get() {
        return Ok(*uid);
    }
    let status = fs::read_to_string("/proc/self/status")?;
    // Real, effective, saved, and the one for files.
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = ids.and_then(|ids| ids.split_whitespace().nth(3)?.parse().ok());
    let uid = uid.ok_or_else(|| io::Error::other("/proc/self/status does not show our user"))?;
    Ok(*UID.get_or_init(|| uid))
}

/// Creates a directory with its parents, mode 0755 less the umask. Files in it have mode 0600.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

/// Which others than `user` and root can change the files of a directory, with the fix. `None` also
/// for a directory that is missing or unreadable: using it reports that.
pub(crate) fn open_to_others(folder: &Path, user: u32) -> Option<String> {
    let real = fs::canonicalize(folder).ok()?;
    let mut above = real.ancestors().map(|at| (at, fs::metadata(at)));
    let own = match above.next()? {
        (at, Ok(meta)) => in_it(at, &meta, user),
        (_, Err(_)) => None,
    };
    // A user who can write to a parent can rename the directory and replace it.
    own.or_else(|| above.find_map(|(at, meta)| above_it(at, &meta.ok()?)))
}

fn in_it(at: &Path, meta: &Metadata, user: u32) -> Option<String> {
    let shown = at.display();
    if meta.uid() != user && meta.uid() != ROOT {
        let owner = meta.uid();
        return Some(format!(
            "{shown} belongs to user {owner}, who can replace any file in it, not to user {user}; \
             chown it, or choose another directory"
        ));
    }
    let who = who_writes(meta)?;
    Some(format!(
        "{who} may write to {shown} (mode {:o}) and replace any file in it; run `chmod go-w \
         {shown}`, or choose a directory below it",
        meta.mode() & 0o7777
    ))
}

fn above_it(at: &Path, meta: &Metadata) -> Option<String> {
    // In a sticky directory only the owner of an entry can rename it.
    let is_open = meta.mode() & 0o002 != 0 && meta.mode() & STICKY == 0;
    let shown = at.display();
    is_open.then(|| {
        format!(
            "everybody may write to {shown} (mode {:o}) and replace any directory in it; run \
             `chmod o-w {shown}`",
            meta.mode() & 0o7777
        )
    })
}

fn who_writes(meta: &Metadata) -> Option<String> {
    match meta.mode() {
        mode if mode & 0o002 != 0 => Some("everybody".to_owned()),
        // The group bits also limit an access control list.
        mode if mode & 0o020 != 0 => Some(format!("group {}", meta.gid())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;
    use std::{env, fs, process};

    use crate::regular_file::folder::{make, open_to_others, own_uid};

    #[test]
    fn a_folder_that_others_may_write_to_is_told_with_a_remedy() {
        let top = env::temp_dir().join(format!("plimsoll-folder-{}", process::id()));
        let inner = top.join("inner");
        make(&inner).unwrap();
        let us = own_uid().unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().uid(), us);
        let told = |outer: u32, mode: u32, user: u32| {
            fs::set_permissions(&top, Permissions::from_mode(outer)).unwrap();
            fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
            open_to_others(&inner, user).unwrap_or_default()
        };
        for (outer, mode, words) in [
            (0o755, 0o700, ""),
            (0o755, 0o755, ""),
            (0o755, 0o750, ""),
            (0o755, 0o2755, ""),
            (0o755, 0o775, "may write to"),
            (0o755, 0o757, "everybody may write to"),
            // A folder for all is none for us, sticky or not.
            (0o755, 0o1777, "everybody may write to"),
            // One below it is.
            (0o1777, 0o755, ""),
            (0o777, 0o755, "replace any directory in it"),
            (0o775, 0o755, ""),
        ] {
            let said = told(outer, mode, us);
            assert_eq!(said.is_empty(), words.is_empty(), "{outer:o} {mode:o}: {said}");
            assert!(said.contains(words), "{outer:o} {mode:o}: {said}");
            assert_eq!(said.contains("chmod"), !words.is_empty(), "{outer:o} {mode:o}: {said}");
        }
        let said = told(0o755, 0o755, us + 1);
        assert_eq!(said.contains("belongs to user"), us != 0, "{said}");
        assert_eq!(open_to_others(Path::new("/"), us), None);
        assert_eq!(open_to_others(&top.join("none"), us), None);
        fs::remove_dir_all(&top).unwrap();
    }
}
