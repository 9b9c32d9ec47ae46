//! Adds and deletes servers in the running process (HAProxy's dynamic servers): no reload, no
//! second process, no reset counters. The file is written to match, so that the next reload agrees.

use std::net::SocketAddr;
use std::sync::PoisonError;

use crate::haproxy::process::Validation;
use crate::haproxy::{Haproxy, files, map_files, policy, render};
use crate::model::action::ActionOutput;
use crate::model::proxy::{Backend, Routes, SeenServer, Server};
use crate::model::replica::AdminState;
use crate::outside::{Error, Result};

impl Haproxy {
    /// Whether this HAProxy has `add server` and `del server`. Each process is asked once.
    pub(crate) fn takes_dynamic_servers(&self, process: u32) -> bool {
        let mut known = self.dynamic_servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, amendable)) = known.filter(|(asked, _)| *asked == process) {
            return amendable;
        }
        let Ok(help) = self.socket.ask("help") else { return false };
        let has = |command| help.lines().any(|line| line.trim_start().starts_with(command));
        let amendable = has("add server ") && has("del server ");
        *known = Some((process, amendable));
        amendable
    }

    pub(crate) fn update_servers_to(&self, routes: &Routes) -> Result<ActionOutput> {
        let start_lock = self.processes().start_lock()?;
        let process = self.socket.pid()?;
        if !self.owns(process) {
            return Err(Error::new(format!(
                "haproxy: the stats socket is owned by process {process}, which plimsoll did not \
                 start"
            )));
        }
        // HAProxy keeps the certificate that it read, whatever the file holds by now.
        let fingerprint = self.fingerprint().clone().unwrap_or_default();
        let state = &self.state_file;
        let process = self.process_facts();
        let mark = self.certificate_mark(&fingerprint);
        let servable = self.servable(routes);
        let text = render::render(&self.config, state, process, &mark, &servable);
        let is_new = !self.runs(&text);
        if is_new {
            map_files::create_missing(&text, self.file_mode())?;
            let new = files::write_new(&self.config.config, &text, self.file_mode())?;
            if let Validation::Refused(refusal) = self.validate(&start_lock, &new)? {
                return Err(Error::new(refusal.message));
            }
            map_files::write(&text, self.file_mode())?;
            files::rename(&new, &self.config.config)?;
            self.update_maps(&text)?;
        }
        let shown = self.socket.servers()?;
        for stranger in routes.strangers(&shown) {
            match routes.address_of(stranger) {
                Some(address) => self.change_address(stranger, address)?,
                None => self.delete_server(stranger)?,
            }
        }
        for backend in &routes.backends {
            let name = backend.service.as_str();
            let is_shown = |server: &&Server| {
                // One with another address was changed above.
                shown.iter().any(|s| s.backend == name && s.name == server.name)
            };
            for server in backend.servers.iter().filter(|server| !is_shown(server)) {
                self.add_server(backend, server)?;
            }
        }
        if !is_new {
            return Ok(ActionOutput::Unchanged);
        }
        files::replace(&self.good(), &text, self.file_mode())?;
        *self.applied() = Some(routes.clone());
        Ok(ActionOutput::Changed)
    }

    fn delete_server(&self, server: &SeenServer) -> Result<()> {
        let name = format!("{}/{}", server.backend, server.name);
        if server.seen.admin_state != AdminState::Maint {
            self.run_command(&format!("set server {name} state maint"), "")?;
        }
        let command = format!("del server {name}");
        let answer = self.socket.ask(&command)?;
        // Clients are still connected, if only idle ones. In maintenance it gets no requests; it is
        // deleted by a later update.
        if answer.contains("still has connections") {
            return Ok(());
        }
        check_answer(&command, &answer, "Server deleted.")
    }

    /// A replica that came back keeps its server's name but may have another address. While clients
    /// are connected, the server can neither be deleted nor added again, so its address is changed.
    /// HAProxy itself closes idle connections to the old address.
    fn change_address(&self, server: &SeenServer, address: SocketAddr) -> Result<()> {
        let name = format!("{}/{}", server.backend, server.name);
        if server.seen.admin_state != AdminState::Maint {
            self.run_command(&format!("set server {name} state maint"), "")?;
        }
        let ip = address.ip();
        let port = address.port();
        let command = format!("set server {name} addr {ip} port {port}");
        let answer = self.socket.ask(&command)?;
        if !answer.contains("changed from") && !answer.contains("no need to change") {
            return check_answer(&command, &answer, "");
        }
        self.run_command(&format!("set server {name} state drain"), "")
    }

    /// The server drains until HAProxy's own health check has passed: until then HAProxy assumes
    /// that it is healthy.
    fn add_server(&self, backend: &Backend, server: &Server) -> Result<()> {
        let name = &server.name;
        let options = render::server_options(backend);
        let name = format!("{}/{name}", backend.service);
        let cookie = policy::server_cookie(backend, &server.name);
        let add = format!("add server {name} {} {options}{cookie}", server.address);
        self.run_command(&add, "New server registered.")?;
        self.run_command(&format!("enable health {name}"), "")?;
        self.run_command(&format!("set server {name} state drain"), "")
    }

    /// Runs a command. HAProxy answers success with `expected`, often an empty text.
    pub(crate) fn run_command(&self, command: &str, expected: &str) -> Result<()> {
        check_answer(command, &self.socket.ask(command)?, expected)
    }
}

fn check_answer(command: &str, answer: &str, expected: &str) -> Result<()> {
    let answer = answer.trim();
    if answer == expected {
        return Ok(());
    }
    Err(Error::new(format!("haproxy: `{command}`: {answer}")))
}
