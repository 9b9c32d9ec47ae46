//! From one configuration to the next: write, validate, swap, take over, verify; or roll back.
//!
//! That HAProxy takes a file says little: it may start and still not serve. So a reload counts as
//! done when the new process answers with the servers that it should have, and not before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::haproxy::partial_config::{PartialConfig, Validator};
use crate::haproxy::process::{ChildOutput, Processes, RefusedConfig, StartLock, Validation};
use crate::haproxy::{Haproxy, base_config, files, identity, partial_config, render};
use crate::model::action::{Aftermath, Effect, Steering};
use crate::model::config::{ProxyConfig, ProxyMode};
use crate::model::proxy::{Backend, Routes, SeenServer};
use crate::model::service::Listen;
use crate::outside::{Error, Proxy, Result};
use crate::regular_file;

/// How long a process that was started may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Haproxy {
    /// A frontend that cannot be opened keeps its old address, if it has one, and a service that
    /// HAProxy refuses is left out; both are told: the others must not wait for it.
    pub(crate) fn apply(&self, routes: &Routes) -> Result<Effect> {
        let start_lock = self.processes().start_lock()?;
        let serving = self.socket.pid().ok().filter(|pid| self.owns(*pid));
        let refused = self.unbindable(routes);
        let mut config = self.config.clone();
        config.stats_port = config.stats_port.filter(|_| !refused.contains_key(STATS_PORT));
        let good = regular_file::text(&self.good()).unwrap_or_default();
        let mut open = routes.clone();
        for backend in open.backends.iter_mut().filter(|b| refused.contains_key(&listen_key(b))) {
            let old = render::listen_of(&good, &backend.service);
            let wants = |l: &Listen| routes.backends.iter().any(|b| b.listen.as_ref() == Some(l));
            backend.listen = old.filter(|old| !wants(old));
        }
        let (start_lock, fingerprint, is_serving) = (&start_lock, "", serving.is_some());
        let mut update = ConfigUpdate {
            proxy: self,
            start_lock,
            config: &config,
            fingerprint,
            good,
            is_serving,
        };
        let (effect, partial) = update.apply_config(&open, serving)?;
        let mut words: Vec<String> = refused.values().map(Error::to_string).collect();
        let told = partial.left_out.iter().map(|(name, why)| {
            format!("service {name} is left out, as HAProxy does not take it: {why}")
        });
        words.extend(told);
        let told = partial.as_before.iter().map(|(name, why)| {
            format!(
                "service {name} keeps its former settings, as HAProxy does not take the new: {why}"
            )
        });
        words.extend(told);
        if words.is_empty() {
            return Ok(effect);
        }
        let left_out = partial.left_out.into_keys().collect();
        let message = format!("{}; all else is served", words.join("; "));
        Err(Error::new(message).with(Aftermath::DoneButForThat { left_out }))
    }

    /// Whether the certificate is another one than HAProxy has.
    pub(crate) fn is_stale(&self) -> bool {
        let Some(file) = &self.config.certificate else { return false };
        self.fingerprint()
            .as_ref()
            .is_some_and(|fingerprint| *fingerprint != files::fingerprint(file))
    }

    /// The configuration that was last seen to serve.
    pub(crate) fn good(&self) -> PathBuf {
        files::beside(&self.config.config, "good")
    }

    /// What stands in the file proves little: we may have been cut off before HAProxy read it.
    pub(crate) fn runs(&self, text: &str) -> bool {
        let is_text = |path: &Path| regular_file::text(path).is_ok_and(|now| now == text);
        is_text(&self.good()) && is_text(&self.config.config)
    }

    /// Those that clients come in at.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let text = regular_file::text(&self.good()).unwrap_or_default();
        let mut binds = base_config::binds(&text);
        if binds.is_empty() {
            // Then the operator's own are all there are.
            let base = self.config.base_config.as_deref();
            let text = base.and_then(|base| regular_file::text(base).ok()).unwrap_or_default();
            binds = base_config::binds(&text);
        }
        binds.into_iter().map(|at| at.port()).collect()
    }

    /// Listeners that cannot be opened. A process that cannot bind first asks the old one to pause
    /// its own, which clients would notice for seconds. So what HAProxy does not hold yet is bound
    /// by us for a moment.
    fn unbindable(&self, routes: &Routes) -> BTreeMap<String, Error> {
        // A process holds its listeners whether its socket answers or not, and it may have been
        // started by one of our own that did not live to see it serve.
        let is_held = match self.config.mode {
            ProxyMode::Process => !self.all_pids().is_empty(),
            ProxyMode::Systemd(_) => self.socket.pid().is_ok(),
            // Its network may be another than ours.
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
        for (key, listen) in services.chain(stats) {
            let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let address = SocketAddr::new(listen.address.unwrap_or(everywhere), listen.port);
            // HAProxy shares a port with itself, whatever the address, as long as this host has
            // that; nobody else may.
            let is_own = |line| render::binds(line, listen.port);
            let is_held = held.iter().flat_map(|t| t.lines()).any(is_own);
            let tried = if is_held { SocketAddr::new(address.ip(), 0) } else { address };
            if let Err(err) = TcpListener::bind(tried) {
                let message = format!("haproxy cannot bind {address} (see {key})");
                errors.insert(key, Error::caused(message, err));
            }
        }
        errors
    }

    /// What of these routes HAProxy would refuse, without touching the one that runs. Its files go
    /// to `dir`.
    pub(crate) fn dry_run(&self, routes: &Routes, dir: &Path) -> Vec<Error> {
        if let ProxyMode::Container(container) = &self.config.mode {
            // What it would say of the file can be asked only where it sees that.
            return self.is_reloadable(container).err().into_iter().collect();
        }
        let mut errors: Vec<Error> = self.unbindable(routes).into_values().collect();
        let config = ProxyConfig { config: dir.join("haproxy.cfg"), ..self.config.clone() };
        let elsewhere = Processes { config: &config, clock: &*self.clock };
        let text = render::render(&self.config, &self.state_file, self.drops_root, "", routes);
        let validate = || {
            let new = files::write_new(&config.config, &text, files::PRIVATE)?;
            match elsewhere.validate(&elsewhere.start_lock()?, &new)? {
                Validation::Accepted => self.check_base_config(),
                Validation::Refused(refusal) => Err(Error::new(refusal.message)),
            }
        };
        errors.extend(validate().err());
        errors
    }

    /// A new process takes over the listeners of the one that serves, if any does.
    fn hand_over(
        &self,
        start_lock: &StartLock,
        serving: Option<u32>,
        is_right: impl Fn(&[SeenServer]) -> bool,
    ) -> Result<()> {
        if let Some(pid) = serving {
            files::replace(&self.state_file, &self.socket.states()?, self.file_mode())?;
            self.keep_cli_open(pid);
        }
        let own = self.is_own_process();
        let old = if own { self.all_pids() } else { serving.into_iter().collect() };
        // As after a daemon that root ran by hand: it would serve beside the new one for ever, with
        // servers that go.
        if let Some(pid) = identity::foreign_process(&self.config).filter(|_| own) {
            return Err(Error::new(format!(
                "haproxy: process {pid} runs as another user, who alone may end it; as root \
                 `kill -USR1 {pid}`, and one of ours takes its place"
            )));
        }
        if own {
            // The pid file is about to name another one.
            self.own_processes().write(&self.config)?;
        }
        let mut output = self.start_reload(start_lock, &old, serving.is_some())?;
        *self.reloaded_at() = serving.map(|_| self.clock.now());
        let launched = identity::in_pid_file(&self.config).filter(|_| own);
        let deadline = self.processes().deadline(ANSWER_MAX);
        loop {
            if launched.is_some_and(|pid| !self.owns(pid)) {
                let what = "haproxy: the new process ended as soon as it had started";
                let words = output.as_mut().map(ChildOutput::message).unwrap_or_default();
                let colon = if words.is_empty() { "" } else { ": " };
                return Err(Error::new(format!("{what}{colon}{words}")));
            }
            let pid = self.socket.pid();
            let servers = self.socket.servers();
            if let Ok(pid) = &pid
                && !old.contains(pid)
                && servers.as_ref().is_ok_and(|s| is_right(s))
            {
                self.set_pids(*pid, Some(&old));
                if own {
                    // It serves; a record that cannot be written is written with the next one, and
                    // until then the pid file tells.
                    drop(self.own_processes().write(&self.config));
                }
                return Ok(());
            }
            if !deadline.wait() {
                return Err(match pid.and(servers.map(drop)) {
                    Err(err) => Error::caused("haproxy: the new process does not serve", err),
                    Ok(()) => Error::new("haproxy: the new process does not show its servers"),
                });
            }
        }
    }

    /// Puts back the file that worked last, and starts it unless the old process still serves.
    fn roll_back(&self, start_lock: &StartLock, failed: Error) -> Error {
        let Ok(text) = regular_file::text(&self.good()) else { return failed };
        let restore = || -> Result<()> {
            files::replace(&self.config.config, &text, self.file_mode())?;
            let serving = self.socket.pid().ok().filter(|pid| self.owns(*pid));
            match serving {
                None => self.hand_over(start_lock, None, |_| true),
                Some(_) if self.is_own_process() => Ok(()),
                // The master may wait for a better file. What serves goes on in any case.
                Some(pid) => self.hand_over(start_lock, Some(pid), |_| true).or(Ok(())),
            }
        };
        match restore() {
            Ok(()) => failed.with(Aftermath::RolledBack),
            Err(err) => Error::caused(format!("{failed}; and what worked before fails too"), err),
        }
    }
}

/// One bringing about, with what is open at it.
struct ConfigUpdate<'a> {
    proxy: &'a Haproxy,
    start_lock: &'a StartLock,
    config: &'a ProxyConfig,
    fingerprint: &'a str,
    /// The file that was last seen to serve.
    good: String,
    is_serving: bool,
}

impl ConfigUpdate<'_> {
    fn text(&self, routes: &Routes) -> String {
        let proxy = self.proxy;
        render::render(self.config, &proxy.state_file, proxy.drops_root, self.fingerprint, routes)
    }

    fn apply_config(
        &mut self,
        routes: &Routes,
        serving: Option<u32>,
    ) -> Result<(Effect, PartialConfig)> {
        let proxy = self.proxy;
        proxy.refresh_master_pid();
        let fingerprint =
            proxy.config.certificate.as_deref().map(files::fingerprint).unwrap_or_default();
        let mut update =
            ConfigUpdate { fingerprint: &fingerprint, good: self.good.clone(), ..*self };
        let whole = |routes: &Routes| PartialConfig {
            routes: routes.clone(),
            left_out: BTreeMap::new(),
            as_before: BTreeMap::new(),
        };
        if let Some(pid) = serving
            && proxy.runs(&update.text(routes))
            && proxy.strays(pid).is_empty()
            && proxy.socket.servers().is_ok_and(|s| routes.agree(s.iter()))
        {
            proxy.steer(&drains(routes))?;
            proxy.set_pids(pid, None);
            *proxy.fingerprint() = Some(fingerprint);
            *proxy.applied() = Some(routes.clone());
            return Ok((Effect::Unchanged, whole(routes)));
        }
        let partial = match update.validate(routes)? {
            Validation::Accepted => whole(routes),
            Validation::Refused(refusal) => {
                let (message, before) = (refusal.message.clone(), proxy.applied().clone());
                let is_common = update.is_common(&refusal);
                let sift =
                    || partial_config::find_accepted(routes, before.as_ref(), refusal, &mut update);
                match if is_common { None } else { sift()? } {
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

    /// The certificate stands at every frontend, and is no service's own.
    fn is_common(&self, refusal: &RefusedConfig) -> bool {
        let certificate = self.config.certificate.as_ref();
        certificate.is_some_and(|file| refusal.output.contains(&*file.to_string_lossy()))
    }

    /// Where HAProxy's words say that it is, for the operator to look at.
    fn keep_refused(&self, routes: &Routes) -> Result<()> {
        let (text, proxy) = (self.text(routes), self.proxy);
        files::write_new(&proxy.config.config, &text, proxy.file_mode()).map(drop)
    }

    /// `haproxy -c` accepted the file.
    fn swap(&self, text: &str, routes: &Routes, serving: Option<u32>) -> Result<Effect> {
        let (proxy, start_lock) = (self.proxy, self.start_lock);
        if let Some(pid) = serving
            && proxy.runs(text)
            && proxy.strays(pid).is_empty()
            && proxy.socket.servers().is_ok_and(|s| routes.agree(s.iter()))
        {
            // What was left out before is left out again.
            proxy.steer(&drains(routes))?;
            proxy.set_pids(pid, None);
            return Ok(Effect::Unchanged);
        }
        proxy.check_base_config()?;
        let new = files::write_new(&proxy.config.config, text, proxy.file_mode())?;
        files::rename(&new, &proxy.config.config)?;
        if serving.is_none() {
            // What servers were like when an earlier process was reloaded is over.
            files::remove(&proxy.state_file)?;
        }
        proxy
            .hand_over(start_lock, serving, |servers| routes.agree(servers.iter()))
            .map_err(|err| proxy.roll_back(start_lock, err))?;
        if !proxy.is_own_process() {
            // A worker that others start later must not go by what servers were like now.
            files::remove(&proxy.state_file)?;
        }
        files::replace(&proxy.good(), text, proxy.file_mode())?;
        proxy.steer(&drains(routes))?;
        Ok(Effect::Changed)
    }
}

impl Validator for ConfigUpdate<'_> {
    fn validate(&mut self, routes: &Routes) -> Result<Validation> {
        let text = self.text(routes);
        let new = files::write_new(&self.proxy.config.config, &text, self.proxy.file_mode())?;
        self.proxy.validate(self.start_lock, &new)
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

fn listen_key(backend: &Backend) -> String {
    format!("services.{}.listen", backend.service)
}

/// The state file carries them over; this makes sure.
fn drains(routes: &Routes) -> Vec<Steering> {
    let servers = routes.backends.iter().flat_map(|b| b.servers.iter().map(move |s| (b, s)));
    let draining = servers.filter(|(_, server)| server.draining);
    let steering = draining.map(|(backend, server)| Steering {
        backend: backend.service.as_str().to_owned(),
        server: server.name.clone(),
        duty: server.duty(),
    });
    steering.collect()
}
