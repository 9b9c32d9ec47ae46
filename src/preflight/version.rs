//! What a program says of itself, and what HAProxy's version can do.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::model::config::{ProxyConfig, ProxyMode};
use crate::outside::Clock;

const RUN_MAX: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(10);
/// Bytes of output that are read.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// Takes servers while it runs.
const OLDEST_WAKING: (u32, u32) = (2, 5);

/// The output of a program; `None` when it cannot be run, fails, or does not end in time.
pub(super) fn output_of(mut command: Command, clock: &dyn Clock) -> Option<String> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let until = clock.now().plus(RUN_MAX);
    // The output is read after the end; a program that fills the pipe blocks and is killed.
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if until <= clock.now() => {
                child.kill().and_then(|()| child.wait()).ok()?;
                return None;
            }
            None => thread::park_timeout(STEP),
        }
    };
    let mut text = String::new();
    child.stdout.take()?.take(OUTPUT_BYTES_MAX).read_to_string(&mut text).ok()?;
    status.success().then_some(text)
}

/// What HAProxy prints about its version.
pub(super) fn haproxy_version(proxy: &ProxyConfig, clock: &dyn Clock) -> Option<String> {
    let mut command = Command::new(&proxy.binary);
    command.arg("-v");
    output_of(command, clock)
}

/// Why no request can wake services without a replica; `None` if one can, or nothing is known.
pub(super) fn cannot_wake(proxy: &ProxyConfig, clock: &dyn Clock) -> Option<String> {
    match proxy.mode {
        ProxyMode::None => return Some("load_balancer.mode is none".to_owned()),
        // It is another program, in the container.
        ProxyMode::Container(_) => return None,
        ProxyMode::Process | ProxyMode::Systemd(_) => (),
    }
    let (major, minor) = version(&haproxy_version(proxy, clock)?)?;
    let (needs_major, needs_minor) = OLDEST_WAKING;
    ((major, minor) < OLDEST_WAKING).then(|| {
        format!(
            "{} is version {major}.{minor}, and {needs_major}.{needs_minor} is needed",
            proxy.binary.display()
        )
    })
}

/// From `HAProxy version 2.6.12-1+deb12u4 2026/01/01 …`; before 2.4 `HA-Proxy version …`.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let words: Vec<&str> = text.lines().next()?.split_whitespace().collect();
    let ["HAProxy" | "HA-Proxy", "version", number, ..] = words[..] else { return None };
    let mut parts = number.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::clock::SystemClock;
    use crate::preflight::version::{output_of, version};

    #[test]
    fn haproxy_tells_its_version() {
        for (text, want) in [
            ("HAProxy version 2.6.12-1+deb12u4 2026/01/01 - https://haproxy.org/\n", Some((2, 6))),
            ("HA-Proxy version 2.2.9-2 2020/11/30\n", Some((2, 2))),
            ("HAProxy version 3.1-dev4\nmore", Some((3, 1))),
            ("nginx version: nginx/1.22.1", None),
            ("HAProxy version x", None),
            ("", None),
        ] {
            assert_eq!(version(text), want, "{text}");
        }
    }

    #[test]
    fn a_program_is_asked_within_bounds() {
        let clock = SystemClock::new();
        let asked = |script: &str| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script);
            output_of(command, &clock)
        };
        assert_eq!(asked("echo so").as_deref(), Some("so\n"));
        assert_eq!(asked("echo so; exit 1"), None);
        assert_eq!(output_of(Command::new("/nowhere"), &clock), None);
    }
}
