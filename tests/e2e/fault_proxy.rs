//! A proxy between the daemon and Docker. It refuses or delays calls, counts those that change
//! something, and kills the daemon right before or after a chosen one: a crash at a known step.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::daemon::{delay, signal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Docker never hears of the call.
    Before,
    /// Docker has done it, the daemon never hears of that.
    After,
}

/// How Docker does, from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Well,
    /// Whatever is to be changed is refused.
    Refuses,
    /// So much later than it would.
    Slow(Duration),
}

struct State {
    behaviour: Mutex<Behaviour>,
    calls: AtomicU32,
    /// The daemon, and the call at which it dies.
    trap: Mutex<Option<(u32, u32, When)>>,
}

pub(crate) struct FaultProxy {
    state: Arc<State>,
}

impl FaultProxy {
    pub(crate) fn new(listen: &Path, docker: &Path) -> FaultProxy {
        let behaviour = Mutex::new(Behaviour::Well);
        let calls = AtomicU32::new(0);
        let trap = Mutex::default();
        let state = Arc::new(State { behaviour, calls, trap });
        let listener = UnixListener::bind(listen).unwrap();
        let docker = docker.to_owned();
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                let docker = docker.clone();
                thread::spawn(move || serve(client, &docker, &state));
            }
        });
        FaultProxy { state }
    }

    /// `pid` dies at its `call`th change from now on.
    pub(crate) fn set_trap(&self, pid: u32, call: u32, when: When) {
        self.state.calls.store(0, Ordering::SeqCst);
        *self.state.trap.lock().unwrap() = Some((pid, call, when));
    }

    pub(crate) fn set_behaviour(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn clear_trap(&self) {
        *self.state.trap.lock().unwrap() = None;
    }

    pub(crate) fn calls(&self) -> u32 {
        self.state.calls.load(Ordering::SeqCst)
    }
}

fn serve(mut client: UnixStream, docker: &Path, state: &Arc<State>) {
    let Ok(mut upstream) = UnixStream::connect(docker) else { return };
    let mut back = client.try_clone().unwrap();
    let mut answer = upstream.try_clone().unwrap();
    let after: Arc<Mutex<Option<u32>>> = Arc::default();
    let kill_after = after.clone();
    let copier = thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while let Ok(read) = answer.read(&mut bytes) {
            if read == 0 {
                break;
            }
            if let Some(pid) = kill_after.lock().unwrap().take() {
                signal(pid, "KILL");
            }
            if back.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        drop(back.shutdown(Shutdown::Both));
    });
    while let Some(request) = read_request(&mut client) {
        let behaviour = *state.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Refuses if !request.starts_with(b"GET ") => {
                let body = r#"{"message":"Docker is broken"}"#;
                let length = body.len();
                let head = format!("HTTP/1.1 500 X\r\nContent-Length: {length}\r\n\r\n");
                if client.write_all((head + body).as_bytes()).is_err() {
                    break;
                }
                continue;
            }
            Behaviour::Slow(span) => delay(span),
            Behaviour::Well | Behaviour::Refuses => (),
        }
        if !request.starts_with(b"GET ") {
            let n = state.calls.fetch_add(1, Ordering::SeqCst) + 1;
            match *state.trap.lock().unwrap() {
                Some((pid, call, When::Before)) if call == n => {
                    signal(pid, "KILL");
                    break;
                }
                Some((pid, call, When::After)) if call == n => *after.lock().unwrap() = Some(pid),
                Some(_) | None => (),
            }
        }
        if upstream.write_all(&request).is_err() {
            break;
        }
    }
    drop(upstream.shutdown(Shutdown::Both));
    drop(copier.join());
}

/// Head and body, whole. `None` at the end of the connection.
fn read_request(client: &mut UnixStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).ok()? == 0 {
            return None;
        }
        request.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |l| l.trim().parse().unwrap())];
    client.read_exact(&mut body).ok()?;
    request.extend(body);
    Some(request)
}
