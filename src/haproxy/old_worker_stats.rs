//! Earlier processes, asked for their counts while they finish.
//!
//! A process that was told to finish has given its socket away, so nobody can connect to it any
//! more. One connection that was made before stays open, and keeps the process up until it is
//! closed: so the last counts can be read when the last client has left.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::haproxy::socket::{Socket, info_number};
use crate::haproxy::stats_csv;
use crate::model::proxy::BackendCounts;
use crate::model::time::Moment;
use crate::outside::{Clock, Error, Result};
use crate::unix;

/// Of all earlier processes together, each look.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// So many are kept in touch with, the latest ones.
const CONNECTIONS_MAX: usize = 32;
const ANSWER_MAX: usize = 16 << 20;

/// A connection to the Runtime API of one process.
pub(crate) struct CliConnection {
    pub(crate) process: u32,
    stream: UnixStream,
}

impl CliConnection {
    /// To the process that owns the socket now.
    pub(crate) fn open(socket: &Socket, process: u32, clock: &dyn Clock) -> Result<CliConnection> {
        let until = clock.now().plus(LOOK_MAX);
        let stream = unix::connect(socket.path(), LOOK_MAX)
            .map_err(|err| Error::caused("haproxy takes no connection", err))?;
        let mut connection = CliConnection { process, stream };
        connection.ask("prompt", until, clock)?;
        // HAProxy hangs up on an idle connection after 10 s unless it is told otherwise.
        connection.ask("set timeout cli 10m", until, clock)?;
        Ok(connection)
    }

    fn ask(&mut self, command: &str, until: Moment, clock: &dyn Clock) -> Result<String> {
        const PROMPT: &[u8] = b"\n> ";
        let failed = |err| Error::caused("an earlier haproxy does not answer", err);
        self.stream.write_all(format!("{command}\n").as_bytes()).map_err(failed)?;
        let (mut answer, mut part) = (Vec::new(), [0; 16 << 10]);
        while !answer.ends_with(PROMPT) {
            if ANSWER_MAX < answer.len() {
                return Err(Error::new("an earlier haproxy gives an answer without end"));
            }
            let left = until.since(clock.now());
            match unix::read_some(&mut self.stream, &mut part, left).map_err(failed)? {
                0 => return Err(Error::new("an earlier haproxy has ended")),
                length => answer.extend_from_slice(&part[..length]),
            }
        }
        answer.truncate(answer.len() - PROMPT.len());
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// And whether they are the last: no client is left, and none can come.
    fn counts(&mut self, until: Moment, clock: &dyn Clock) -> Result<(Vec<BackendCounts>, bool)> {
        // In this order: who left before the counts are read is in them.
        let clients = info_number(&self.ask("show info", until, clock)?, "CurrConns");
        // Backends and servers only.
        let stats = self.ask("show stat -1 6 -1", until, clock)?;
        Ok((stats_csv::counts(&stats)?, clients == Some(0)))
    }
}

/// Of every process but `current`. Lines to those that have ended, or do not answer, are given up.
pub(crate) fn counts(
    connections: &mut Vec<CliConnection>,
    current: u32,
    clock: &dyn Clock,
) -> Vec<BackendCounts> {
    let until = clock.now().plus(LOOK_MAX);
    let mut all = Vec::new();
    connections.retain_mut(|connection| {
        if connection.process == current {
            // It is about to be told, or the one that was to follow it did not start.
            return true;
        }
        let Ok((counts, last)) = connection.counts(until, clock) else { return false };
        let process = connection.process;
        all.extend(counts.into_iter().map(|c| BackendCounts { process, ..c }));
        !last
    });
    all
}

/// One connection a process, and a bound on all of them.
pub(crate) fn add(connections: &mut Vec<CliConnection>, connection: CliConnection) {
    connections.retain(|known| known.process != connection.process);
    connections.push(connection);
    let too_many = connections.len().saturating_sub(CONNECTIONS_MAX);
    connections.drain(..too_many);
}
