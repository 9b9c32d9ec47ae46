//! Starts HAProxy, and credential helpers, with fewer privileges than the daemon's: an attacker who
//! takes over HAProxy must not get access to Docker, which is equal to root.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Part of util-linux, which every distribution with systemd has. Rust's std cannot drop groups
/// yet.
const SETPRIV: &str = "/usr/bin/setpriv";
/// The number of the capability to set groups.
const CAP_SETGID: u32 = 6;

/// A command for `program`, still without arguments. It runs without our supplementary groups and
/// without the capability to set others, if the daemon has that capability. As root this is left to
/// HAProxy, which changes its user and groups by itself.
pub(crate) fn restricted(program: &Path) -> Command {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !has_more(&status) || !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--clear-groups", "--inh-caps=-setgid", "--ambient-caps=-setgid", "--"]);
    command.arg(program);
    command
}

/// The groups that HAProxy keeps of a daemon with this `/proc/PID/status` because this program does
/// not exist; `None`: none.
pub(crate) fn kept_groups(status: &str) -> Option<(String, &'static str)> {
    kept(status, Path::new(SETPRIV).exists()).map(|groups| (groups, SETPRIV))
}

fn kept(status: &str, is_there: bool) -> Option<String> {
    let groups = of(status, "Groups:").filter(|groups| !groups.is_empty())?;
    (has_more(status) && !is_there).then(|| groups.to_owned())
}

fn of<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// From `/proc/PID/status`: not root, and able to drop groups.
fn has_more(status: &str) -> bool {
    let user = of(status, "Uid:").and_then(|ids| ids.split_whitespace().nth(1));
    let rights =
        of(status, "CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    user.is_some_and(|user| user != "0") && rights & 1 << CAP_SETGID != 0
}

#[cfg(test)]
mod tests {
    use crate::child::{has_more, kept};

    #[test]
    fn groups_are_parted_with_by_who_may_and_is_not_root() {
        let status = |user: u32, rights: &str| {
            format!("Name:\tx\nUid:\t0\t{user}\t{user}\t{user}\nGroups:\t108 \nCapEff:\t{rights}\n")
        };
        for (user, rights, want) in [
            (999, "0000000000000440", true),
            (999, "0000000000000400", false),
            (999, "0000000000000000", false),
            (0, "000001ffffffffff", false),
        ] {
            assert_eq!(has_more(&status(user, rights)), want, "{user} {rights}");
        }
        assert!(!has_more(""));
    }

    #[test]
    fn groups_are_kept_where_they_cannot_be_parted_with() {
        let status = |user: u32, groups: &str| {
            format!("Uid:\t{user}\t{user}\t{user}\t{user}\nGroups:\t{groups}\nCapEff:\t440\n")
        };
        for (user, groups, is_there, want) in [
            (999, "108 ", false, Some("108")),
            (999, "108 999 ", false, Some("108 999")),
            (999, "108 ", true, None),
            (999, " ", false, None),
            (0, "108 ", false, None),
        ] {
            let got = kept(&status(user, groups), is_there);
            assert_eq!(got.as_deref(), want, "{user} {groups} {is_there}");
        }
    }
}
