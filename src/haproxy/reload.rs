//! Applies a configuration: write, validate, swap, hand over, verify; or roll back.
//!
//! `haproxy -c` accepting a file proves little: HAProxy may start and still not serve. A reload is
//! done when the new process shows the expected servers on its socket. The steps, numbered as in
//! ARCHITECTURE:
//!
//! 1. Take the start lock, so that no other daemon starts HAProxy meanwhile.
//! 2. Bind every new listener for a moment.
//! 3. Write the file under another name and sync it.
//! 4. Validate it with `haproxy -c`; leave out or keep unchanged the services it refuses.
//! 5. Rename it to the configured name.
//! 6. Save the servers' states for the new process.
//! 7. Start the new process, or have its master start it.
//! 8. Wait until the new process shows the expected servers.
//! 9. Keep the file as the last good one, and drain the servers that are to drain.
//!
//! A failure after step 5 restores the last good file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::haproxy::partial_config::{PartialConfig, Validator};
use crate::haproxy::process::{ChildOutput, RefusedConfig, StartLock, Validation};
use crate::haproxy::{
    Haproxy, base_config, files, front_door, identity, map_files, partial_config, render,
};
use crate::model::action::{ActionOutput, RollbackState, SetServerState};
use crate::model::config::{ProxyConfig, ProxyMode};
use crate::model::front_door::Frontend;
use crate::model::proxy::{Backend, Routes, SeenServer, Server};
use crate::model::replica::AdminState;
use crate::model::service::Listen;
use crate::outside::{Error, Proxy, Result};
use crate::regular_file;

/// Time that a new process has to show the expected servers.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Haproxy {
    /// Brings HAProxy to `routes`. A frontend whose address cannot be bound keeps its old address,
    /// if it has one. A service that HAProxy refuses keeps its former settings or is left out.
    /// Either is an error, `RollbackState::PartiallyApplied`; the other services are up to date.
    pub(crate) fn apply(&self, routes: &Routes) -> Result<ActionOutput> {
        // Step 1.
        let start_lock = self.processes().start_lock()?;
        let serving = self.socket.pid().ok().filter(|pid| self.owns(*pid));
        // Step 2.
        let refused = self.unbindable(routes);
        let mut config = self.config.clone();
        config.stats_port = config.stats_port.filter(|_| !refused.contains_key(STATS_PORT));
        let good = regular_file::text(&self.good()).unwrap_or_default();
        self.read_certificates(&routes.front_door, &start_lock)?;
        let mut open = self.servable(routes);
        for backend in open.backends.iter_mut().filter(|b| refused.contains_key(&listen_key(b))) {
            let old = render::listen_of(&good, &render::frontend_head(backend.service.as_str()));
            backend.listen = old.filter(|old| !routes.opens(old));
        }
        open.front_door.frontends.retain_mut(|frontend| {
            if refused.contains_key(&frontend_key(frontend)) {
                let old = render::listen_of(&good, &front_door::head(&frontend.name));
                let Some(old) = old.filter(|old| !routes.opens(old)) else { return false };
                frontend.listen = old;
            }
            true
        });
        let start_lock = &start_lock;
        let mark = "";
        let is_serving = serving.is_some();
        let mut update =
            ConfigUpdate { proxy: self, start_lock, config: &config, mark, good, is_serving };
        let (effect, partial) = update.apply_config(&open, serving)?;
        let mut problems: Vec<String> = refused.values().map(Error::to_string).collect();
        let left_out = partial.left_out.iter().map(|(name, why)| {
            format!("service {name} is left out because HAProxy refuses it: {why}")
        });
        problems.extend(left_out);
        let as_before = partial.as_before.iter().map(|(name, why)| {
            format!(
                "service {name} keeps its former settings because HAProxy refuses the new ones: \
                 {why}"
            )
        });
        problems.extend(as_before);
        if problems.is_empty() {
            return Ok(effect);
        }
        let left_out = partial.left_out.into_keys().collect();
        let message = format!("{}; all else is up to date", problems.join("; "));
        Err(Error::new(message).with(RollbackState::PartiallyApplied { left_out }))
    }

    /// Whether the certificate file changed since HAProxy read it.
    pub(crate) fn is_stale(&self) -> bool {
        let Some(file) = &self.config.certificate else { return false };
        self.fingerprint()
            .as_ref()
            .is_some_and(|fingerprint| *fingerprint != files::fingerprint(file))
    }

    /// The last good file: the configuration that was last seen to serve.
    pub(crate) fn good(&self) -> PathBuf {
        files::beside(&self.config.config, "good")
    }

    /// Whether HAProxy runs with this configuration. The configured file alone does not prove it:
    /// the daemon may have been killed before HAProxy read the file.
    pub(crate) fn runs(&self, text: &str) -> bool {
        let is_text = |path: &Path| regular_file::text(path).is_ok_and(|now| now == text);
        is_text(&self.good()) && is_text(&self.config.config)
    }

    /// Whether this process has the servers of these routes, and no other one serves beside it.
    fn serves_alone(&self, routes: &Routes, process: u32) -> bool {
        self.strays(process).is_empty()
            && self.socket.servers().is_ok_and(|servers| routes.agree(servers.iter()))
    }

    /// The state file carries drains over; this makes sure. None begins before its replacements
    /// serve: the state file may carry over that they drain still, as every new server does at
    /// first. `decide::proxy` goes on from there.
    fn set_drains(&self, routes: &Routes) -> Result<()> {
        let seen = self.socket.servers()?;
        let serves = |backend: &Backend, server: &Server| {
            let its =
                |s: &&SeenServer| s.backend == backend.service.as_str() && s.name == server.name;
            seen.iter().find(its).is_some_and(|s| s.seen.admin_state == AdminState::Ready)
        };
        let is_in_service = |backend: &&Backend| {
            backend.servers.iter().filter(|s| !s.draining).all(|s| serves(backend, s))
        };
        let backends = routes.backends.iter().filter(is_in_service);
        let servers = backends.flat_map(|b| b.servers.iter().map(move |s| (b, s)));
        let draining = servers.filter(|(_, server)| server.draining);
        let states = draining.map(|(backend, server)| SetServerState {
            backend: backend.service.as_str().to_owned(),
            server: server.name.clone(),
            admin_state: server.admin_state(),
        });
        self.set_server_states(&states.collect::<Vec<_>>())
    }

    /// The ports that clients connect to.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let text = regular_file::text(&self.good()).unwrap_or_default();
        let mut binds = base_config::binds(&text);
        if binds.is_empty() {
            // Only the operator's base config has listeners.
            let base = self.config.base_config.as_deref();
            let text = base.and_then(|base| regular_file::text(base).ok()).unwrap_or_default();
            binds = base_config::binds(&text);
        }
        binds.into_iter().map(|at| at.port()).collect()
    }

    /// Listeners that cannot be bound, by config key. An HAProxy that cannot bind asks the old
    /// process to pause its listeners, which clients notice for seconds. So plimsoll first binds
    /// for a moment every address that HAProxy does not hold yet.
    fn unbindable(&self, routes: &Routes) -> BTreeMap<String, Error> {
        // A process holds its listeners even while its socket does not answer, and a daemon that
        // was killed may have started it.
        let is_held = match self.config.mode {
            ProxyMode::Process => !self.all_pids().is_empty(),
            ProxyMode::Systemd(_) => self.socket.pid().is_ok(),
            // It may be in another network namespace.
            ProxyMode::Container(_) | ProxyMode::None => return BTreeMap::new(),
        };
        let known = [self.good(), self.config.config.clone()];
        let read = known.iter().filter(|_| is_held).filter_map(|p| regular_file::text(p).ok());
        let held: Vec<String> = read.collect();
        let mut errors = BTreeMap::new();
        let services =
            routes.backends.iter().filter_map(|b| Some((listen_key(b), b.listen.clone()?)));
        let stats = self.config.stats_port.map(|port| {
            (STATS_PORT.to_owned(), Listen { address: Some(Ipv4Addr::LOCALHOST.into()), port })
        });
        let shared = routes.front_door.frontends.iter();
        let shared = shared.map(|frontend| (frontend_key(frontend), frontend.listen.clone()));
        for (key, listen) in shared.chain(services).chain(stats) {
            let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let address = SocketAddr::new(listen.address.unwrap_or(everywhere), listen.port);
            // HAProxy processes share a port with each other (SO_REUSEPORT), on any address of this
            // host; no other process can. So for a held port only the address is tried.
            let is_own = |line| render::binds(line, listen.port);
            let is_held = held.iter().flat_map(|t| t.lines()).any(is_own);
            let tried = if is_held { SocketAddr::new(address.ip(), 0) } else { address };
            if let Err(err) = TcpListener::bind(tried) {
                let message = format!("haproxy: cannot bind {address} (see {key})");
                errors.insert(key, Error::caused(message, err));
            }
        }
        errors
    }

    /// What HAProxy would refuse of these routes. Does not touch the running HAProxy; writes its
    /// files to `dir`.
    pub(crate) fn dry_run(&self, routes: &Routes, dir: &Path) -> Vec<Error> {
        if let ProxyMode::Container(container) = &self.config.mode {
            // Only that container can validate the file, and it does not see `dir`.
            return self.is_reloadable(container).err().into_iter().collect();
        }
        let mut errors: Vec<Error> = self.unbindable(routes).into_values().collect();
        let config = ProxyConfig { config: dir.join("haproxy.cfg"), ..self.config.clone() };
        let elsewhere = Haproxy::new(&config, self.clock.clone(), self.container_control.clone());
        let validate = || {
            let start_lock = elsewhere.processes().start_lock()?;
            elsewhere.read_certificates(&routes.front_door, &start_lock)?;
            let routes = elsewhere.servable(routes);
            let text = render::render(&config, &self.state_file, self.process_facts(), "", &routes);
            map_files::create_missing(&text, files::PRIVATE)?;
            let new = files::write_new(&config.config, &text, files::PRIVATE)?;
            match elsewhere.validate(&start_lock, &new)? {
                Validation::Accepted => self.check_base_config(),
                Validation::Refused(refusal) => Err(Error::new(refusal.message)),
            }
        };
        errors.extend(validate().err());
        let rejected = elsewhere.certificates().seen().into_iter();
        errors.extend(rejected.filter_map(|seen| seen.rejected.map(Error::new)));
        errors
    }

    /// Has a new process take over the listeners of the `serving` one, if there is one, and waits
    /// until `is_right` accepts the servers that it shows. Steps 6 to 8.
    fn hand_over(
        &self,
        start_lock: &StartLock,
        serving: Option<u32>,
        is_right: impl Fn(&[SeenServer]) -> bool,
    ) -> Result<()> {
        // Step 6.
        if let Some(pid) = serving {
            files::replace(&self.state_file, &self.socket.states()?, self.file_mode())?;
            self.keep_cli_open(pid);
        }
        let own = self.is_own_process();
        let old = if own { self.all_pids() } else { serving.into_iter().collect() };
        // For instance after root ran the daemon by hand. That process would keep serving beside
        // the new one, with servers that are removed later.
        if let Some(pid) = identity::foreign_process(&self.config).filter(|_| own) {
            return Err(Error::new(format!(
                "haproxy: the running process {pid} belongs to another user, so plimsoll cannot \
                 replace it; as root run `kill -USR1 {pid}`, and plimsoll starts a new one"
            )));
        }
        if own {
            // The pid file is about to be overwritten.
            self.own_processes().write(&self.config)?;
        }
        // Step 7.
        let mut output = self.start_reload(start_lock, &old, serving.is_some())?;
        *self.reloaded_at() = serving.map(|_| self.clock.now());
        let launched = identity::in_pid_file(&self.config).filter(|_| own);
        let deadline = self.processes().deadline(ANSWER_MAX);
        // Step 8.
        loop {
            if launched.is_some_and(|pid| !self.owns(pid)) {
                let what = "haproxy: the new process ended right after its start";
                let reason = output.as_mut().map(ChildOutput::message).unwrap_or_default();
                let colon = if reason.is_empty() { "" } else { ": " };
                return Err(Error::new(format!("{what}{colon}{reason}")));
            }
            let pid = self.socket.pid();
            let servers = self.socket.servers();
            if let Ok(pid) = &pid
                && !old.contains(pid)
                && servers.as_ref().is_ok_and(|s| is_right(s))
            {
                self.set_pids(*pid, Some(&old));
                if own {
                    // It serves. A failed write is repeated with the next reload; until then the
                    // pid file names the process.
                    drop(self.own_processes().write(&self.config));
                }
                return Ok(());
            }
            if !deadline.wait() {
                return Err(match pid.and(servers.map(drop)) {
                    Err(err) => Error::caused("haproxy: the new process does not serve", err),
                    Ok(()) => {
                        Error::new("haproxy: the new process does not show the expected servers")
                    }
                });
            }
        }
    }

    /// Restores the last good file, and starts HAProxy with it unless the old process still serves.
    fn roll_back(&self, start_lock: &StartLock, failed: Error) -> Error {
        let Ok(text) = regular_file::text(&self.good()) else { return failed };
        let restore = || -> Result<()> {
            map_files::write(&text, self.file_mode())?;
            files::replace(&self.config.config, &text, self.file_mode())?;
            let serving = self.socket.pid().ok().filter(|pid| self.owns(*pid));
            match serving {
                None => self.hand_over(start_lock, None, |_| true),
                Some(_) if self.is_own_process() => Ok(()),
                // The master may be waiting for a valid file. The old worker serves in any case.
                Some(pid) => self.hand_over(start_lock, Some(pid), |_| true).or(Ok(())),
            }
        };
        match restore() {
            Ok(()) => failed.with(RollbackState::RolledBack),
            Err(err) => {
                Error::caused(format!("{failed}; restoring the last good config failed too"), err)
            }
        }
    }
}

/// One run of `Haproxy::apply`, with what its steps share.
struct ConfigUpdate<'a> {
    proxy: &'a Haproxy,
    start_lock: &'a StartLock,
    config: &'a ProxyConfig,
    /// Of the certificates.
    mark: &'a str,
    /// Text of the last good file.
    good: String,
    is_serving: bool,
}

impl ConfigUpdate<'_> {
    fn text(&self, routes: &Routes) -> String {
        let proxy = self.proxy;
        render::render(self.config, &proxy.state_file, proxy.process_facts(), self.mark, routes)
    }

    fn apply_config(
        &mut self,
        routes: &Routes,
        serving: Option<u32>,
    ) -> Result<(ActionOutput, PartialConfig)> {
        let proxy = self.proxy;
        proxy.refresh_master_pid();
        let fingerprint =
            proxy.config.certificate.as_deref().map(files::fingerprint).unwrap_or_default();
        let mark = proxy.certificate_mark(&fingerprint);
        let mut update = ConfigUpdate { mark: &mark, good: self.good.clone(), ..*self };
        let whole = |routes: &Routes| PartialConfig {
            routes: routes.clone(),
            left_out: BTreeMap::new(),
            as_before: BTreeMap::new(),
        };
        if let Some(pid) = serving
            && proxy.runs(&update.text(routes))
            && proxy.serves_alone(routes, pid)
        {
            proxy.set_drains(routes)?;
            proxy.set_pids(pid, None);
            *proxy.fingerprint() = Some(fingerprint);
            *proxy.applied() = Some(routes.clone());
            proxy.note_certificates_loaded();
            return Ok((ActionOutput::Unchanged, whole(routes)));
        }
        if let Some(pid) = serving
            && *proxy.fingerprint() == Some(fingerprint.clone())
            && update.renews_only(routes, pid)
            && proxy.renew_certificates()?
        {
            let text = update.text(routes);
            files::replace(&proxy.config.config, &text, proxy.file_mode())?;
            files::replace(&proxy.good(), &text, proxy.file_mode())?;
            return Ok((ActionOutput::Unchanged, whole(routes)));
        }
        let partial = match update.validate(routes)? {
            Validation::Accepted => whole(routes),
            Validation::Refused(refusal) => {
                let message = refusal.message.clone();
                let before = proxy.applied().clone();
                let is_common = update.is_common(&refusal);
                let find =
                    || partial_config::find_accepted(routes, before.as_ref(), refusal, &mut update);
                match if is_common { None } else { find()? } {
                    Some(partial) => partial,
                    None => {
                        update.keep_refused(routes)?;
                        return Err(Error::new(message));
                    }
                }
            }
        };
        let text = update.text(&partial.routes);
        let effect = update.swap(&text, &partial.routes, serving)?;
        if partial.routes != *routes {
            update.keep_refused(routes)?;
        }
        *proxy.fingerprint() = Some(fingerprint);
        *proxy.applied() = Some(partial.routes.clone());
        Ok((effect, partial))
    }

    /// Whether the process that serves has all of these routes, and other certificates at most.
    fn renews_only(&self, routes: &Routes, serving: u32) -> bool {
        let same = render::without_mark(&self.text(routes)) == render::without_mark(&self.good);
        same && self.proxy.runs(&self.good) && self.proxy.serves_alone(routes, serving)
    }

    /// Whether the certificate is at fault. Every frontend has it, so no service is left out.
    fn is_common(&self, refusal: &RefusedConfig) -> bool {
        let certificate = self.config.certificate.as_ref();
        certificate.is_some_and(|file| refusal.output.contains(&*file.to_string_lossy()))
    }

    /// Leaves the refused file where HAProxy's message says it is, for the operator to read.
    fn keep_refused(&self, routes: &Routes) -> Result<()> {
        let text = self.text(routes);
        let proxy = self.proxy;
        files::write_new(&proxy.config.config, &text, proxy.file_mode()).map(drop)
    }

    /// Steps 5 to 9, with a text that `haproxy -c` accepted.
    fn swap(&self, text: &str, routes: &Routes, serving: Option<u32>) -> Result<ActionOutput> {
        let proxy = self.proxy;
        let start_lock = self.start_lock;
        if let Some(pid) = serving
            && proxy.runs(text)
            && proxy.serves_alone(routes, pid)
        {
            // The same services were left out last time: HAProxy already runs with this text.
            proxy.set_drains(routes)?;
            proxy.set_pids(pid, None);
            return Ok(ActionOutput::Unchanged);
        }
        proxy.check_base_config()?;
        let new = files::write_new(&proxy.config.config, text, proxy.file_mode())?;
        // Step 5.
        map_files::write(text, proxy.file_mode())?;
        files::rename(&new, &proxy.config.config)?;
        if serving.is_none() {
            // The states saved for an earlier reload are out of date.
            files::remove(&proxy.state_file)?;
        }
        proxy
            .hand_over(start_lock, serving, |servers| routes.agree(servers.iter()))
            .map_err(|err| proxy.roll_back(start_lock, err))?;
        if !proxy.is_own_process() {
            // A worker that somebody else starts later must not load these states.
            files::remove(&proxy.state_file)?;
        }
        proxy.note_certificates_loaded();
        // Step 9.
        map_files::remove_others(&self.good, text)?;
        files::replace(&proxy.good(), text, proxy.file_mode())?;
        proxy.remove_unused_certificates();
        proxy.set_drains(routes)?;
        Ok(ActionOutput::Changed)
    }
}

impl Validator for ConfigUpdate<'_> {
    /// Steps 3 and 4.
    fn validate(&mut self, routes: &Routes) -> Result<Validation> {
        let text = self.text(routes);
        let proxy = self.proxy;
        map_files::create_missing(&text, proxy.file_mode())?;
        let new = files::write_new(&proxy.config.config, &text, proxy.file_mode())?;
        proxy.validate(self.start_lock, &new)
    }

    fn is_served_unchanged(&self, routes: &Routes, service: &str) -> bool {
        let text = self.text(routes);
        self.is_serving
            && partial_config::settings(&text, service)
                == partial_config::settings(&self.good, service)
    }

    fn named(&self, routes: &Routes, refusal: &RefusedConfig) -> Option<String> {
        let new = files::beside(&self.proxy.config.config, "new");
        partial_config::culprit(&self.text(routes), &new, &refusal.output)
    }
}

const STATS_PORT: &str = "load_balancer.stats_port";

fn frontend_key(frontend: &Frontend) -> String {
    format!("load_balancer.frontends.{}.listen", frontend.name)
}

fn listen_key(backend: &Backend) -> String {
    format!("services.{}.listen", backend.service)
}
