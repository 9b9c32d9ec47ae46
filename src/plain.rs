//! Files that somebody else may have put there: only plain ones are opened, as opening a pipe waits
//! for its other end and a device may never end, and they are read up to a bound.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The end of any file of text that we or HAProxy write.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// An error also when it is there and is no plain file.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let is_plain = fs::metadata(path)?.is_file();
    if is_plain { Ok(()) } else { Err(io::Error::other("it is no plain file")) }
}

/// `None`: it is longer.
pub(crate) fn read(path: &Path, longest: u64) -> io::Result<Option<Vec<u8>>> {
    check(path)?;
    let mut bytes = Vec::new();
    let size = File::open(path)?.take(longest + 1).read_to_end(&mut bytes)?;
    Ok((u64::try_from(size).unwrap_or(u64::MAX) <= longest).then_some(bytes))
}

pub(crate) fn text(path: &Path) -> io::Result<String> {
    let bytes = read(path, TEXT_BYTES_MAX)?.ok_or(ErrorKind::FileTooLarge)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs, process};

    use crate::plain::{TEXT_BYTES_MAX, read, text};

    #[test]
    fn what_is_plain_is_read_as_far_as_allowed_and_nothing_else_is_opened() {
        let at = |name: &str| -> PathBuf {
            env::temp_dir().join(format!("plimsoll-plain-{}-{name}", process::id()))
        };
        let (plain, pipe, long) = (at("file"), at("pipe"), at("long"));
        fs::write(&plain, "abc").unwrap();
        assert_eq!(read(&plain, 3).unwrap(), Some(b"abc".to_vec()));
        assert_eq!(read(&plain, 2).unwrap(), None);
        assert_eq!(text(&plain).unwrap(), "abc");
        fs::write(&plain, b"\xff").unwrap();
        assert_eq!(text(&plain).unwrap_err().kind(), ErrorKind::InvalidData);
        // Nothing of it takes room on the disk.
        fs::File::create(&long).unwrap().set_len(TEXT_BYTES_MAX + 1).unwrap();
        assert_eq!(text(&long).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for other in [&pipe, &env::temp_dir(), Path::new("/dev/zero")] {
            let words = text(other).unwrap_err().to_string();
            assert_eq!(words, "it is no plain file", "{}", other.display());
        }
        assert_eq!(text(&at("none")).unwrap_err().kind(), ErrorKind::NotFound);
        [plain, pipe, long].iter().for_each(|file| fs::remove_file(file).unwrap());
    }
}
