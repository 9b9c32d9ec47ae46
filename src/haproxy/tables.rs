//! HAProxy's tables. Columns are found by their names: which there are differs with the version.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::proxy::{BackendCounts, SeenServer};
use crate::model::replica::ServerSeen;
use crate::outside::{Error, Result};

/// Bits of `srv_admin_state` that keep new sessions away: forced and inherited drain. From
/// HAProxy's management guide, "show servers state".
const ADMIN_DRAIN: u32 = 0x08 | 0x10;

/// From `show servers state`, and the sessions of each server from `show stat`.
pub(crate) fn servers(states: &str, stats: &str) -> Result<Vec<SeenServer>> {
    let sessions = sessions(stats)?;
    let rows = Table::of(states, ' ').ok_or_else(|| odd("show servers state"))?;
    let server = |row: &Row| {
        let (backend, name) = (row.get("be_name")?, row.get("srv_name")?);
        // An operator's own server may be a Unix socket, or have no address yet.
        let ip = row.get("srv_addr")?.parse().ok();
        let port = row.number("srv_port")?;
        let draining = row.number::<u32>("srv_admin_state")? & ADMIN_DRAIN != 0;
        let key = (backend.to_owned(), name.to_owned());
        let sessions = sessions.get(&key).copied().unwrap_or(0);
        let seen = ip.map(|ip| {
            let seen = ServerSeen { address: SocketAddr::new(ip, port), draining, sessions };
            SeenServer { backend: key.0, name: key.1, seen }
        });
        Some(seen)
    };
    let servers: Option<Vec<Option<SeenServer>>> = rows.map(|row| server(&row)).collect();
    Ok(servers.ok_or_else(|| odd("show servers state"))?.into_iter().flatten().collect())
}

/// Requests being served, those queued, and connections in use, by backend and server.
fn sessions(stats: &str) -> Result<BTreeMap<(String, String), u64>> {
    let rows = Table::of(stats, ',').ok_or_else(|| odd("show stat"))?;
    let mut sessions = BTreeMap::new();
    for row in rows {
        let (backend, name) =
            row.get("pxname").zip(row.get("svname")).ok_or_else(|| odd("show stat"))?;
        let count = |column| row.number::<u64>(column).unwrap_or(0);
        // A request in service counts in both `scur` and `used_conn_cur`.
        let busy = count("scur").max(count("used_conn_cur")) + count("qcur");
        sessions.insert((backend.to_owned(), name.to_owned()), busy);
    }
    Ok(sessions)
}

/// Of each backend in `show stat`. A backend whose row lacks a column is left out.
pub(crate) fn counts(stats: &str) -> Result<Vec<BackendCounts>> {
    let mut servers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut backends = Vec::new();
    for row in Table::of(stats, ',').ok_or_else(|| odd("show stat"))? {
        let (backend, name) =
            row.get("pxname").zip(row.get("svname")).ok_or_else(|| odd("show stat"))?;
        match name {
            "FRONTEND" => (),
            "BACKEND" => backends.extend(backend_counts(backend, &row)),
            _ => {
                let (sessions, queue) = servers.entry(backend.to_owned()).or_default();
                *sessions += row.number::<u64>("scur").unwrap_or(0);
                *queue += row.number::<u64>("qcur").unwrap_or(0);
            }
        }
    }
    for counts in &mut backends {
        let (sessions, queue) = servers.get(&counts.backend).copied().unwrap_or_default();
        // What waits for no server in particular is in the backend's row alone; its `scur` also
        // counts what waits.
        counts.sessions = sessions;
        counts.queue += queue;
    }
    Ok(backends)
}

/// `stot` counts a request when it comes in, `req_tot` when it is over: while the answers take
/// long, only the first tells how many are asked for.
fn backend_counts(backend: &str, row: &Row) -> Option<BackendCounts> {
    Some(BackendCounts {
        backend: backend.to_owned(),
        queue: row.number("qcur")?,
        requests: row.number("stot")?,
        answered: row.number("req_tot")?,
        response_ms: row.number("rtime")?,
        ..BackendCounts::default()
    })
}

fn odd(command: &str) -> Error {
    Error::new(format!("haproxy: the answer to `{command}` is not the table it should be"))
}

struct Table<'a> {
    columns: Vec<&'a str>,
    lines: std::str::Lines<'a>,
    separator: char,
}

struct Row<'a> {
    columns: Vec<&'a str>,
    fields: Vec<&'a str>,
}

impl<'a> Table<'a> {
    /// The header is the first line that starts with a hash.
    fn of(text: &'a str, separator: char) -> Option<Table<'a>> {
        let mut lines = text.lines();
        let header = lines.find_map(|l| l.strip_prefix("# "))?;
        Some(Table { columns: header.split(separator).collect(), lines, separator })
    }
}

impl<'a> Iterator for Table<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        let line = self.lines.find(|l| !l.trim().is_empty())?;
        let fields = line.split(self.separator).collect();
        Some(Row { columns: self.columns.clone(), fields })
    }
}

impl Row<'_> {
    fn get(&self, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|c| *c == column)?;
        self.fields.get(at).copied().filter(|f| !f.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, column: &str) -> Option<T> {
        self.get(column)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::haproxy::tables::{counts, servers};

    const STATES: &str = "1\n\
        # be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port\n\
        3 web 1 web-1 172.17.0.2 2 0 8080\n\
        3 web 2 web-2 172.17.0.3 2 8 8080\n\n";
    const STATS: &str = "# pxname,svname,qcur,scur,used_conn_cur,\n\
        web,FRONTEND,,9,,\nweb,web-1,1,2,3,\nweb,web-2,0,0,,\nweb,BACKEND,0,9,,\n\n";

    #[test]
    fn servers_show_address_drain_and_sessions() {
        let seen = servers(STATES, STATS).unwrap();
        let text = |s: &super::SeenServer| {
            let (draining, sessions) = (s.seen.draining, s.seen.sessions);
            format!("{}/{} {} {draining} {sessions}", s.backend, s.name, s.seen.address)
        };
        let got: Vec<String> = seen.iter().map(text).collect();
        assert_eq!(got, ["web/web-1 172.17.0.2:8080 false 4", "web/web-2 172.17.0.3:8080 true 0"]);
    }

    #[test]
    fn garbage_is_an_error_and_an_empty_table_is_none() {
        let header = STATES.lines().take(2).collect::<Vec<_>>().join("\n");
        assert!(servers(&header, STATS).unwrap().is_empty());
        for (states, stats) in [
            ("", STATS),
            (STATES, ""),
            ("Unknown command\n", STATS),
            ("# be_name srv_name\nweb web-1\n", STATS),
            (STATES, "# pxname\nweb\n"),
        ] {
            assert!(servers(states, stats).is_err(), "{states:?} {stats:?}");
        }
    }

    #[test]
    fn a_backend_counts_what_its_servers_do_and_what_waits_for_any() {
        let stats = "# pxname,svname,qcur,scur,stot,req_tot,rtime,\n\
            web,FRONTEND,,9,90,90,,\nweb,web-1,1,2,30,,7,\nweb,web-2,0,3,30,,7,\n\
            web,BACKEND,4,10,61,51,12,\napi,BACKEND,0,0,0,0,0,\n\
            odd,odd-1,0,1,1,,1,\nodd,BACKEND,0,1,,1,1,\n";
        let shown: Vec<String> = counts(stats)
            .unwrap()
            .iter()
            .map(|c| {
                let (now, ever) = ((c.sessions, c.queue), (c.requests, c.answered));
                format!("{} {now:?} {ever:?} {}", c.backend, c.response_ms)
            })
            .collect();
        assert_eq!(shown, ["web (5, 5) (61, 51) 12", "api (0, 0) (0, 0) 0"]);
        assert!(counts("").is_err() && counts("# pxname\nweb\n").is_err());
    }
}
