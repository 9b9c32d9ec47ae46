//! Reads what the kernel says of this process.

use std::fs;
use std::time::Duration;

use crate::model::process::ProcessUsage;
use crate::model::time::Moment;

/// Of the kernel's account: USER_HZ is 100 on Linux.
const JIFFY: Duration = Duration::from_millis(10);

pub(crate) fn read(started: Moment) -> ProcessUsage {
    let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let status = text("status");
    let limits = text("limits");
    ProcessUsage {
        started,
        cpu: cpu(&text("stat")),
        open_files: fs::read_dir("/proc/self/fd").ok().map(open_files),
        max_files: number(&limits, "Max open files"),
        virtual_bytes: number(&status, "VmSize:").map(|kib| kib << 10),
        resident_bytes: number(&status, "VmRSS:").map(|kib| kib << 10),
    }
}

/// But for the one that counts them.
fn open_files(files: fs::ReadDir) -> u64 {
    (files.count() as u64).saturating_sub(1)
}

/// The name of the program, which stands before, may hold blanks and brackets itself.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    JIFFY.checked_mul(user.checked_add(system)?)
}

/// The first word after `key`, if it is one.
fn number(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::daemon::process::{cpu, number, read};
    use crate::model::time::Moment;

    #[test]
    fn the_kernels_words_are_read() {
        let stat = "1 (a b) c) S 0 1 1 0 -1 4194560 1 2 3 4 125 75 6 7 20 0 1 0 9";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        let limits = "Max cpu time    unlimited\nMax open files            1024   4096   files\n";
        assert_eq!(number(limits, "Max open files"), Some(1024));
        assert_eq!(number("Max open files unlimited", "Max open files"), None);
        assert_eq!((cpu(""), number("", "VmRSS:")), (None, None));
    }

    #[test]
    fn this_process_is_there() {
        let process = read(Moment(1));
        assert!(process.cpu.is_some() && process.resident_bytes.is_some_and(|b| 1 << 16 < b));
        assert!(process.open_files.is_some_and(|files| 3 <= files));
    }
}
