//! Opens regular files only, at paths where others may have put a FIFO, a device or a link. No
//! other module opens files to write them.
//!
//! A file is opened with O_NONBLOCK and checked after that: opening a FIFO would wait for its other
//! end, and a device may never end. For writing, no symbolic link is followed, and an existing file
//! must be ours, with one hard link. Files that we create have mode 0600.

pub(crate) mod folder;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Bytes of a text file at most.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Flags of `open`, from the kernel's `fcntl.h` for x86, RISC-V and ARM.
const O_NONBLOCK: i32 = 0o4000;
#[cfg(not(any(target_arch = "arm", target_arch = "aarch64")))]
const O_NOFOLLOW: i32 = 0o400_000;
#[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
const O_NOFOLLOW: i32 = 0o100_000;

/// Mode of our files: they may hold secrets, and a user who can read a lock file can lock it.
const MODE: u32 = 0o600;

/// Opens for reading. Follows a symbolic link: a config may be one.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_plain_file()) }
}

/// Opens for reading in a directory of ours. Follows no symbolic link.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    unless_link(path)?;
    let file = File::options().read(true).custom_flags(O_NONBLOCK | O_NOFOLLOW).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_plain_file()) }
}

/// The content; `None`: it is longer than `longest` bytes.
pub(crate) fn read(path: &Path, longest: u64) -> io::Result<Option<Vec<u8>>> {
    bytes(open(path)?, longest)
}

/// The content of a file in a directory of ours; `None`: it is longer than `longest` bytes.
pub(crate) fn own_bytes(path: &Path, longest: u64) -> io::Result<Option<Vec<u8>>> {
    bytes(open_own(path)?, longest)
}

pub(crate) fn text(path: &Path) -> io::Result<String> {
    utf8(open(path)?)
}

/// The text of a file in a directory of ours.
pub(crate) fn own_text(path: &Path) -> io::Result<String> {
    utf8(open_own(path)?)
}

/// Creates an empty file. An existing file of ours, left by a killed process, is replaced.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    match create_new(path) {
        Err(err) if err.kind() == ErrorKind::AlreadyExists => (),
        other => return other,
    }
    look(&fs::symlink_metadata(path)?)?;
    fs::remove_file(path)?;
    create_new(path)
}

/// Creates a file. `AlreadyExists`: something is there, even a dangling link.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(MODE).open(path)
}

/// Opens for appending; creates it if missing.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    own(path, File::options().append(true))
}

/// Opens a lock file for reading and writing; creates it if missing. Its mode is set to MODE: a
/// user who can read a file can lock it.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    let file = own(path, File::options().read(true).write(true))?;
    if file.metadata()?.permissions().mode() & 0o7777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

/// Replaces a file atomically: writes to `new`, syncs, renames to `path`, syncs the directory.
pub(crate) fn replace(path: &Path, new: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = create(new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Writes to a path of the command line, which may be a device like a terminal.
pub(crate) fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    fs::write(path, text)
}

fn own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(there) => look(&there)?,
        Err(err) if err.kind() == ErrorKind::NotFound => (),
        Err(err) => return Err(err),
    }
    let options = options.create(true).mode(MODE).custom_flags(O_NONBLOCK | O_NOFOLLOW);
    let file = options.open(path)?;
    // It may have been replaced since.
    look(&file.metadata()?)?;
    Ok(file)
}

/// An error unless this is a regular file of ours with one hard link.
fn look(there: &fs::Metadata) -> io::Result<()> {
    let wrong = |what: String| Err(io::Error::other(what));
    if there.is_symlink() {
        return Err(link());
    }
    if !there.is_file() {
        return wrong(
            "it is not a regular file; find out who created it, and remove it".to_owned(),
        );
    }
    if 1 < there.nlink() {
        let names = there.nlink();
        return wrong(format!(
            "it has {names} hard links, one of which may belong to somebody else; find out who \
             created it, and remove it"
        ));
    }
    let owner = there.uid();
    let us = folder::own_uid()?;
    if owner != us {
        return wrong(format!(
            "it belongs to user {owner}, and plimsoll runs as user {us}; chown it to that user, or \
             remove it"
        ));
    }
    Ok(())
}

fn unless_link(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_symlink() { Err(link()) } else { Ok(()) }
}

fn link() -> io::Error {
    let words =
        "it is a symbolic link, which is not followed here; find out who created it, and remove it";
    io::Error::other(words)
}

fn no_plain_file() -> io::Error {
    io::Error::other("it is not a regular file")
}

/// `None`: it is longer.
fn bytes(file: File, longest: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let size = file.take(longest + 1).read_to_end(&mut bytes).map_err(|err| match err.kind() {
        // Some kernel files are regular by type but block like a FIFO.
        ErrorKind::WouldBlock => io::Error::other("it is not a regular file: reading it blocks"),
        _ => err,
    })?;
    Ok((u64::try_from(size).unwrap_or(u64::MAX) <= longest).then_some(bytes))
}

fn utf8(file: File) -> io::Result<String> {
    let bytes = bytes(file, TEXT_BYTES_MAX)?.ok_or(ErrorKind::FileTooLarge)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs, process};

    use crate::regular_file::{
        TEXT_BYTES_MAX, append, create, lock_file, open_own, own_text, read, replace, text,
    };

    /// Removed when dropped.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir =
                env::temp_dir().join(format!("plimsoll-regular-file-{}-{name}", process::id()));
            fs::create_dir(&dir).unwrap();
            Dir(dir)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn make_pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn what_is_plain_is_read_as_far_as_allowed_and_nothing_else_is_waited_for() {
        let dir = Dir::new("read");
        let plain = dir.at("file");
        let pipe = dir.at("pipe");
        let long = dir.at("long");
        fs::write(&plain, "abc").unwrap();
        assert_eq!(read(&plain, 3).unwrap(), Some(b"abc".to_vec()));
        assert_eq!(read(&plain, 2).unwrap(), None);
        assert_eq!(text(&plain).unwrap(), "abc");
        fs::write(&plain, b"\xff").unwrap();
        assert_eq!(text(&plain).unwrap_err().kind(), ErrorKind::InvalidData);
        // Nothing of it takes room on the disk.
        fs::File::create(&long).unwrap().set_len(TEXT_BYTES_MAX + 1).unwrap();
        assert_eq!(text(&long).unwrap_err().kind(), ErrorKind::FileTooLarge);
        make_pipe(&pipe);
        for other in [&pipe, &dir.0, Path::new("/dev/zero"), Path::new("/dev/full")] {
            let words = text(other).unwrap_err().to_string();
            assert_eq!(words, "it is not a regular file", "{}", other.display());
        }
        assert_eq!(text(&dir.at("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_link_is_read_where_people_name_files_and_not_in_folders_of_ours() {
        let dir = Dir::new("link");
        let plain = dir.at("file");
        let link = dir.at("link");
        fs::write(&plain, "abc").unwrap();
        symlink(&plain, &link).unwrap();
        assert_eq!(text(&link).unwrap(), "abc");
        assert_eq!(own_text(&plain).unwrap(), "abc");
        assert!(own_text(&link).unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(open_own(&dir.at("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_is_written_is_a_file_of_ours_alone() {
        let dir = Dir::new("write");
        let foreign = dir.at("foreign");
        let new = dir.at("new");
        fs::write(&foreign, "foreign").unwrap();
        type Make = fn(&Path, &Path);
        let plants: [(&str, Make); 5] = [
            ("symbolic link", |foreign, at| symlink(foreign, at).unwrap()),
            ("symbolic link", |foreign, at| symlink(foreign.with_extension("no"), at).unwrap()),
            ("2 hard links", |foreign, at| fs::hard_link(foreign, at).unwrap()),
            ("not a regular file", |_, at| make_pipe(at)),
            ("not a regular file", |_, at| fs::create_dir(at).unwrap()),
        ];
        for (words, plant) in plants {
            let at = dir.at("at");
            plant(&foreign, &at);
            for tried in [create(&at), append(&at), lock_file(&at)] {
                let told = tried.unwrap_err().to_string();
                assert!(told.contains(words) && told.contains("remove"), "{words}: {told}");
            }
            assert!(replace(&new, &at, b"x").is_err(), "{words}");
            assert!(!new.exists() && !foreign.with_extension("no").exists(), "{words}");
            assert_eq!(fs::read_to_string(&foreign).unwrap(), "foreign", "{words}");
            fs::remove_file(&at).or_else(|_| fs::remove_dir(&at)).unwrap();
        }
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            std::os::unix::fs::chown(&foreign, Some(12_345), None).unwrap();
            for tried in [create(&foreign), append(&foreign), lock_file(&foreign)] {
                let told = tried.unwrap_err().to_string();
                assert!(told.contains("belongs to user 12345"), "{told}");
            }
        }
    }

    #[test]
    fn what_is_written_is_for_its_owner_alone() {
        let dir = Dir::new("mode");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let at = |name| dir.at(name);
        create(&at("a")).unwrap().write_all(b"left").unwrap();
        assert_eq!(create(&at("a")).unwrap().metadata().unwrap().len(), 0);
        append(&at("b")).unwrap().write_all(b"1").unwrap();
        append(&at("b")).unwrap().write_all(b"2").unwrap();
        assert_eq!(text(&at("b")).unwrap(), "12");
        fs::write(at("c"), "kept").unwrap();
        fs::set_permissions(at("c"), fs::Permissions::from_mode(0o644)).unwrap();
        drop(lock_file(&at("c")).unwrap());
        assert_eq!(text(&at("c")).unwrap(), "kept");
        replace(&at("d"), &at("d.new"), b"d").unwrap();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(mode(&at(name)), 0o600, "{name}");
        }
        assert!(!at("d.new").exists());
    }
}
