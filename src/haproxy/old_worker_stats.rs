//! Counts of old HAProxy processes while they finish.
//!
//! A process that was asked to finish has handed its socket over, so nobody can connect to it any
//! more. A connection made before stays open and keeps the process alive until it is closed, so its
//! last counts can be read after its last client has left.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::haproxy::socket::{Socket, info_number};
use crate::haproxy::stats_csv;
use crate::model::proxy::BackendCounts;
use crate::model::time::Moment;
use crate::outside::{Clock, Error, Result};
use crate::unix;

/// Time for all old processes together, at each look.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Connections that are kept, the newest ones.
const CONNECTIONS_MAX: usize = 32;
const ANSWER_MAX: usize = 16 << 20;

/// A connection to the command line (Runtime API) of one process.
pub(crate) struct CliConnection {
    pub(crate) process: u32,
    stream: UnixStream,
}

impl CliConnection {
    /// Connects to the process that owns the socket now.
    pub(crate) fn open(socket: &Socket, process: u32, clock: &dyn Clock) -> Result<CliConnection> {
        let until = clock.now().plus(LOOK_MAX);
        let stream = unix::connect(socket.path(), LOOK_MAX)
            .map_err(|err| Error::caused("haproxy: cannot connect to its socket", err))?;
        let mut connection = CliConnection { process, stream };
        connection.ask("prompt", until, clock)?;
        // By default HAProxy closes an idle connection after 10 s.
        connection.ask("set timeout cli 10m", until, clock)?;
        Ok(connection)
    }

    fn ask(&mut self, command: &str, until: Moment, clock: &dyn Clock) -> Result<String> {
        const PROMPT: &[u8] = b"\n> ";
        let failed = |err| Error::caused("haproxy: an old process does not answer", err);
        self.stream.write_all(format!("{command}\n").as_bytes()).map_err(failed)?;
        let mut answer = Vec::new();
        let mut part = [0; 16 << 10];
        while !answer.ends_with(PROMPT) {
            if ANSWER_MAX < answer.len() {
                return Err(Error::new("haproxy: the answer of an old process is too long"));
            }
            let left = until.since(clock.now());
            match unix::read_some(&mut self.stream, &mut part, left).map_err(failed)? {
                0 => return Err(Error::new("haproxy: an old process has ended")),
                length => answer.extend_from_slice(&part[..length]),
            }
        }
        answer.truncate(answer.len() - PROMPT.len());
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Also returns whether these are the last counts: no client is left, and none can connect.
    fn counts(&mut self, until: Moment, clock: &dyn Clock) -> Result<(Vec<BackendCounts>, bool)> {
        // In this order, the counts include every client that has left.
        let clients = info_number(&self.ask("show info", until, clock)?, "CurrConns");
        let stats = self.ask("show stat", until, clock)?;
        Ok((stats_csv::counts(&stats)?, clients == Some(0)))
    }
}

/// The counts of every process except `current`. A connection to a process that has ended or
/// does not answer is dropped.
pub(crate) fn counts(
    connections: &mut Vec<CliConnection>,
    current: u32,
    clock: &dyn Clock,
) -> Vec<BackendCounts> {
    let until = clock.now().plus(LOOK_MAX);
    let mut all = Vec::new();
    connections.retain_mut(|connection| {
        if connection.process == current {
            // It is about to be asked to finish, or its successor did not start.
            return true;
        }
        let Ok((counts, last)) = connection.counts(until, clock) else { return false };
        let process = connection.process;
        all.extend(counts.into_iter().map(|c| BackendCounts { process, ..c }));
        !last
    });
    all
}

/// Keeps one connection for each process, and CONNECTIONS_MAX in all.
pub(crate) fn add(connections: &mut Vec<CliConnection>, connection: CliConnection) {
    connections.retain(|known| known.process != connection.process);
    connections.push(connection);
    let too_many = connections.len().saturating_sub(CONNECTIONS_MAX);
    connections.drain(..too_many);
}
