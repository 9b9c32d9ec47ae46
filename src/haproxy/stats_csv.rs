//! Parsers of `show stat` and `show servers state`. Columns are found by name: which there are
//! depends on HAProxy's version.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::proxy::{BackendCounts, SeenServer, TrafficCounts};
use crate::model::replica::{AdminState, ServerCheck, ServerSeen};
use crate::model::sleep::WAKE_SERVER;
use crate::outside::{Error, Result};

/// Bits of `srv_admin_state` that keep new sessions away: forced and inherited drain. From
/// HAProxy's management guide, "show servers state".
const ADMIN_DRAIN: u32 = 0x08 | 0x10;
/// Maintenance: forced, inherited, and for a name that does not resolve.
const ADMIN_MAINT: u32 = 0x01 | 0x02 | 0x20 | 0x40;

fn admin_state(admin_state: u32) -> AdminState {
    if admin_state & ADMIN_MAINT != 0 {
        AdminState::Maint
    } else if admin_state & ADMIN_DRAIN != 0 {
        AdminState::Drain
    } else {
        AdminState::Ready
    }
}

/// The servers of `show servers state`, with the counts of `show stat`.
pub(crate) fn servers(states: &str, stats: &str) -> Result<Vec<SeenServer>> {
    let counted = counted(stats)?;
    let rows = CsvTable::of(states, ' ').ok_or_else(|| unexpected_table("show servers state"))?;
    let server = |row: &CsvRow| {
        let backend = row.get("be_name")?;
        let name = row.get("srv_name")?;
        // A server of the base config may be a Unix socket, or have no address yet.
        let ip = row.get("srv_addr")?.parse().ok();
        let port = row.number("srv_port")?;
        let admin_state = admin_state(row.number("srv_admin_state")?);
        let key = (backend.to_owned(), name.to_owned());
        let stats = counted.get(&key).copied().unwrap_or_default();
        let ServerStats { sessions, is_checked, check } = stats;
        let seen = ip.map(|ip| {
            let address = SocketAddr::new(ip, port);
            let seen = ServerSeen { address, admin_state, is_checked, sessions, check };
            SeenServer { backend: key.0, name: key.1, seen }
        });
        Some(seen)
    };
    let servers: Option<Vec<Option<SeenServer>>> = rows.map(|row| server(&row)).collect();
    Ok(servers
        .ok_or_else(|| unexpected_table("show servers state"))?
        .into_iter()
        .flatten()
        .collect())
}

/// The states of the servers that wake services, by backend. They have no IP address.
pub(crate) fn wakes(states: &str) -> BTreeMap<String, AdminState> {
    let rows = CsvTable::of(states, ' ').into_iter().flatten();
    let wake = |row: CsvRow| {
        row.get("srv_name").filter(|name| *name == WAKE_SERVER)?;
        Some((row.get("be_name")?.to_owned(), admin_state(row.number("srv_admin_state")?)))
    };
    rows.filter_map(wake).collect()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ServerStats {
    /// Requests being served, those queued, and connections in use.
    sessions: u64,
    is_checked: bool,
    check: ServerCheck,
}

/// Status of a health check that has no result yet.
const UNCHECKED: [&str; 2] = ["INI", "UNK"];

/// The others. From HAProxy's management guide, `check_status` of "show stat".
const RESULTS: [&str; 17] = [
    "SOCKERR", "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7TOUT", "L7RSP", "L7OK",
    "L7OKC", "L7STS", "HANA", "PROCERR", "PROCTOUT", "PROCOK", "L7INVAL",
];

fn server_check(row: &CsvRow, result: &str) -> ServerCheck {
    let is_up = row.get("status").and_then(|status| match status.split(' ').next() {
        Some("UP" | "NOLB") => Some(true),
        Some("DOWN") => Some(false),
        // `MAINT`, `DRAIN` and `no check` say nothing of it.
        _ => None,
    });
    ServerCheck {
        is_up,
        result: RESULTS.iter().find(|known| **known == result).copied().unwrap_or_default(),
        unchanged_for: Duration::from_secs(row.number("lastchg").unwrap_or(0)),
    }
}

/// Server rows of `show stat`, by backend and server.
fn counted(stats: &str) -> Result<BTreeMap<(String, String), ServerStats>> {
    let rows = CsvTable::of(stats, ',').ok_or_else(|| unexpected_table("show stat"))?;
    let mut counted = BTreeMap::new();
    for row in rows {
        let (backend, name) = row
            .get("pxname")
            .zip(row.get("svname"))
            .ok_or_else(|| unexpected_table("show stat"))?;
        let count = |column| row.number::<u64>(column).unwrap_or(0);
        // A request in progress counts in both `scur` and `used_conn_cur`.
        let sessions = count("scur").max(count("used_conn_cur")) + count("qcur");
        // While the next check is running, HAProxy puts a star before the last result.
        let status = row.get("check_status").unwrap_or_default().trim_start_matches("* ");
        let is_checked = !UNCHECKED.contains(&status);
        let key = (backend.to_owned(), name.to_owned());
        let check = server_check(&row, status);
        counted.insert(key, ServerStats { sessions, is_checked, check });
    }
    Ok(counted)
}

/// The counts of each backend in `show stat`. A backend whose row lacks a column is left out.
///
/// A GET that may be repeated passes backend `web:first`, and one that gets a page while its
/// service sleeps `web:page`, then frontend `web:again` and backend `web`:
/// what went in by the frontend came from the first backend, and is counted there.
pub(crate) fn counts(stats: &str) -> Result<Vec<BackendCounts>> {
    let mut servers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut again: BTreeMap<String, TrafficCounts> = BTreeMap::new();
    let mut backends: Vec<BackendCounts> = Vec::new();
    for row in CsvTable::of(stats, ',').ok_or_else(|| unexpected_table("show stat"))? {
        let (backend, name) = row
            .get("pxname")
            .zip(row.get("svname"))
            .ok_or_else(|| unexpected_table("show stat"))?;
        match name {
            "FRONTEND" => {
                again.extend(backend.strip_suffix(":again").map(|service| {
                    let requests = row.number("req_tot").unwrap_or(0);
                    (service.to_owned(), TrafficCounts { requests, ..traffic(&row) })
                }));
            }
            "BACKEND" => backends.extend(backend_counts(backend, &row)),
            _ => {
                let (sessions, queue) = servers.entry(backend.to_owned()).or_default();
                *sessions += row.number::<u64>("scur").unwrap_or(0);
                *queue += row.number::<u64>("qcur").unwrap_or(0);
            }
        }
    }
    let mut first: BTreeMap<String, TrafficCounts> = BTreeMap::new();
    for counts in &backends {
        let service = [":first", ":page"].iter().find_map(|end| counts.backend.strip_suffix(end));
        let traffic = service.map(|service| first.entry(service.to_owned()).or_default());
        traffic.into_iter().for_each(|traffic| *traffic = traffic.plus(counts.traffic));
    }
    for counts in &mut backends {
        if let Some(first) = first.get(&counts.backend) {
            let inner = TrafficCounts {
                retries: 0,
                ..again.get(&counts.backend).copied().unwrap_or_default()
            };
            counts.traffic = counts.traffic.minus(inner).plus(*first);
        }
        let (sessions, queue) = servers.get(&counts.backend).copied().unwrap_or_default();
        // Requests that wait for any server are in the backend's row only. Its `scur` includes
        // waiting requests, so the sum over the servers is used.
        counts.sessions = sessions;
        counts.queue += queue;
    }
    Ok(backends)
}

/// `stot` counts a request when it arrives, `req_tot` when it ends. With slow answers only `stot`
/// shows the request rate. In mode tcp `req_tot` is empty: nothing is known of answers.
fn backend_counts(backend: &str, row: &CsvRow) -> Option<BackendCounts> {
    Some(BackendCounts {
        backend: backend.to_owned(),
        queue: row.number("qcur")?,
        requests: row.number("stot")?,
        answered: row.number("req_tot").unwrap_or(0),
        response_ms: row.number("rtime")?,
        traffic: traffic(row),
        ..BackendCounts::default()
    })
}

/// A missing column counts as 0: in mode tcp there are no responses with a status.
fn traffic(row: &CsvRow) -> TrafficCounts {
    let count = |column| row.number(column).unwrap_or(0);
    TrafficCounts {
        requests: count("stot"),
        errors_4xx: count("hrsp_4xx"),
        errors_5xx: count("hrsp_5xx"),
        retries: count("wretr"),
        bytes_in: count("bin"),
        bytes_out: count("bout"),
    }
}

fn unexpected_table(command: &str) -> Error {
    Error::new(format!(
        "haproxy: unexpected answer to `{command}` (no table, or a column is missing)"
    ))
}

struct CsvTable<'a> {
    columns: Vec<&'a str>,
    lines: std::str::Lines<'a>,
    separator: char,
}

struct CsvRow<'a> {
    columns: Vec<&'a str>,
    fields: Vec<&'a str>,
}

impl<'a> CsvTable<'a> {
    /// The header is the first line that starts with a hash.
    fn of(text: &'a str, separator: char) -> Option<CsvTable<'a>> {
        let mut lines = text.lines();
        let header = lines.find_map(|l| l.strip_prefix("# "))?;
        Some(CsvTable { columns: header.split(separator).collect(), lines, separator })
    }
}

impl<'a> Iterator for CsvTable<'a> {
    type Item = CsvRow<'a>;

    fn next(&mut self) -> Option<CsvRow<'a>> {
        let line = self.lines.find(|l| !l.trim().is_empty())?;
        let fields = line.split(self.separator).collect();
        Some(CsvRow { columns: self.columns.clone(), fields })
    }
}

impl CsvRow<'_> {
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
    use crate::haproxy::stats_csv::{counts, servers};
    use crate::model::proxy::TrafficCounts;

    const STATES: &str = "1\n\
        # be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port\n\
        3 web 1 web-1 172.17.0.2 2 0 8080\n\
        3 web 2 web-2 172.17.0.3 2 8 8080\n\
        3 web 3 web-3 172.17.0.4 0 9 8080\n\
        3 web 4 web-4 172.17.0.5 0 0 8080\n\n";
    const STATS: &str = "# pxname,svname,qcur,scur,used_conn_cur,check_status,\n\
        web,FRONTEND,,9,,,\nweb,web-1,1,2,3,* L7OK,\nweb,web-2,0,0,,* INI,\n\
        web,web-3,0,0,,,\nweb,web-4,0,0,0,HANA,\nweb,BACKEND,0,9,,,\n\n";

    #[test]
    fn servers_show_address_duty_check_and_sessions() {
        let seen = servers(STATES, STATS).unwrap();
        let text = |s: &super::SeenServer| {
            let admin_state = s.seen.admin_state;
            let checked = s.seen.is_checked;
            let sessions = s.seen.sessions;
            format!(
                "{}/{} {} {admin_state:?} {checked} {sessions}",
                s.backend, s.name, s.seen.address
            )
        };
        let got: Vec<String> = seen.iter().map(text).collect();
        let want = [
            "web/web-1 172.17.0.2:8080 Ready true 4",
            "web/web-2 172.17.0.3:8080 Drain false 0",
            "web/web-3 172.17.0.4:8080 Maint true 0",
            // Down because a connection failed, not by a check.
            "web/web-4 172.17.0.5:8080 Ready true 0",
        ];
        assert_eq!(got, want);
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
            db,db-1,0,1,3,,0,\ndb,BACKEND,0,1,3,,0,\n\
            odd,odd-1,0,1,1,,1,\nodd,BACKEND,0,1,,1,1,\n";
        let shown: Vec<String> = counts(stats)
            .unwrap()
            .iter()
            .map(|c| {
                let now = (c.sessions, c.queue);
                let ever = (c.requests, c.answered);
                format!("{} {now:?} {ever:?} {}", c.backend, c.response_ms)
            })
            .collect();
        let want = ["web (5, 5) (61, 51) 12", "api (0, 0) (0, 0) 0", "db (1, 0) (3, 0) 0"];
        assert_eq!(shown, want);
        assert!(counts("").is_err() && counts("# pxname\nweb\n").is_err());
    }

    #[test]
    fn a_repeated_request_is_one_of_its_client() {
        // 10 requests, 6 of them GETs, which pass twice; one of these is repeated by the first
        // backend as its replica died, and HAProxy connects twice for another.
        let stats = "# pxname,svname,qcur,scur,stot,req_tot,rtime,hrsp_4xx,hrsp_5xx,wretr,bin,\
            bout\n\
            web,FRONTEND,,0,9,10,,3,1,,90,900\nweb:again,FRONTEND,,0,7,7,,2,1,,70,600\n\
            web:first,BACKEND,0,0,6,6,9,2,0,1,60,590\n\
            web,BACKEND,0,0,11,11,9,3,2,1,100,910\n\n";
        let all = counts(stats).unwrap();
        let web = all.iter().find(|counts| counts.backend == "web").unwrap();
        let want = TrafficCounts {
            requests: 10,
            errors_4xx: 3,
            errors_5xx: 1,
            retries: 2,
            bytes_in: 90,
            bytes_out: 900,
        };
        assert_eq!((web.traffic, web.requests), (want, 11));
    }

    #[test]
    fn the_check_of_a_server_is_up_or_down_since_a_time() {
        let stats = "# pxname,svname,status,lastchg,check_status,\n\
            web,web-1,UP,30,* L7OK,\nweb,web-2,DRAIN,0,L4OK,\nweb,web-3,MAINT,4,,\n\
            web,web-4,DOWN 1/2,7,L4CON,\n\n";
        let seen = servers(STATES, stats).unwrap();
        let got: Vec<_> = seen
            .iter()
            .map(|server| server.seen.check)
            .map(|check| (check.is_up, check.result, check.unchanged_for.as_secs()))
            .collect();
        let want =
            [(Some(true), "L7OK", 30), (None, "L4OK", 0), (None, "", 4), (Some(false), "L4CON", 7)];
        assert_eq!(got, want);
    }
}
