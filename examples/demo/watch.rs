//! What the demo sees of the daemon from outside: who serves, by HAProxy's own word; what it costs,
//! by the kernel's; and the lines that it logs.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// The unit of /proc/PID/stat: 100 a second on every Linux.
const MS_PER_TICK: u64 = 10;

/// The servers of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Servers {
    pub(crate) up: usize,
    /// Draining, or ill.
    pub(crate) others: usize,
}

pub(crate) fn servers(socket: &Path, backend: &str) -> io::Result<Servers> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"show stat\n")?;
    let mut table = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut table)?;
    count(&table, backend).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "no table"))
}

fn count(table: &str, backend: &str) -> Option<Servers> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next()?.trim_start_matches("# ").split(',').collect();
    let column = |name| names.iter().position(|n| *n == name);
    let proxy = column("pxname")?;
    let server = column("svname")?;
    let status = column("status")?;
    let mut servers = Servers::default();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        if field(proxy) != backend || matches!(field(server), "FRONTEND" | "BACKEND" | "") {
            continue;
        }
        // "UP 2/3" has missed a check, and serves.
        if field(status).starts_with("UP") {
            servers.up += 1;
        } else {
            servers.others += 1;
        }
    }
    Some(servers)
}

/// Whether the service answers a request with success.
pub(crate) fn answers(target: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// Of a process, from its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) memory_kib_max: u64,
    pub(crate) cpu_ms: u64,
}

impl Cost {
    /// A process that is gone adds nothing.
    pub(crate) fn look_at(&mut self, pid: u32) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = memory.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        self.memory_kib_max = self.memory_kib_max.max(kib.unwrap_or(0));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        self.cpu_ms = self.cpu_ms.max(cpu_ticks(&stat).unwrap_or(0) * MS_PER_TICK);
    }
}

/// User and system time, fields 14 and 15. The second, the name, may have spaces in it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// A file that somebody writes lines to.
pub(crate) struct Lines {
    file: File,
    begun: Vec<u8>,
}

impl Lines {
    pub(crate) fn follow(path: &Path) -> io::Result<Lines> {
        Ok(Lines { file: File::open(path)?, begun: Vec::new() })
    }

    /// The lines that were ended since the last time.
    pub(crate) fn new_ones(&mut self) -> io::Result<Vec<String>> {
        self.file.read_to_end(&mut self.begun)?;
        let ended = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.begun.split_off(ended);
        let text = std::mem::replace(&mut self.begun, rest);
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    }
}
