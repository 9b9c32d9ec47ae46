//! Programs that are started with fewer rights than the daemon has: whoever takes HAProxy over from
//! the network is not to have Docker, which is as good as root.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Of util-linux, which every distribution with systemd has. Rust's own library cannot do this yet.
const SETPRIV: &str = "/usr/bin/setpriv";
/// Number of the capability to choose one's groups.
const CAP_SETGID: u32 = 6;

/// `program`, to be given its arguments. Without our supplementary groups, if we may part with
/// them, and without the right to take others. A daemon of root's leaves that to HAProxy, which
/// changes its user and its groups by itself.
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

/// By `/proc/PID/status`: not root, and able to part with groups.
fn has_more(status: &str) -> bool {
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let user = of("Uid:").and_then(|ids| ids.split_whitespace().nth(1));
    let rights = of("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    user.is_some_and(|user| user != "0") && rights & 1 << CAP_SETGID != 0
}

#[cfg(test)]
mod tests {
    use crate::child::has_more;

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
}
