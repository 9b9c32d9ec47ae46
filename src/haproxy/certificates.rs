//! Keeps a validated copy of each certificate for HAProxy. What an ACME client is just writing, or
//! wrote wrongly, never reaches HAProxy: the last good copy serves on, also after a restart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::haproxy::certificate_files::{self, CertificateFile};
use crate::haproxy::certificate_store::{CertificateSet, CertificateStore, KnownCertificate};
use crate::haproxy::partial_config::ALERT;
use crate::haproxy::process::{StartLock, Validation};
use crate::haproxy::{Haproxy, files, front_door};
use crate::model::certificate::{CertificateFacts, CertificateSeen};
use crate::model::front_door::{FrontDoor, Frontend};
use crate::model::hash::fnv1a;
use crate::model::proxy::Routes;
use crate::model::time::Wall;
use crate::outside::{Error, Result};
use crate::regular_file;

/// In HAProxy's message about a key that does not fit.
const OTHER_KEY: &str = "inconsistencies between private key and certificate";

/// Begins a copy that HAProxy could not be asked about, as it needs one to start.
const UNPROVEN: &str = "# HAProxy has not validated this yet.\n";

/// Changes when a file comes, goes or is written.
fn fingerprint(door: &FrontDoor) -> String {
    let paths = door.frontends.iter().flat_map(|frontend| &frontend.certificates);
    let mut all = String::new();
    for path in paths {
        all += &files::fingerprint(path);
        for file in certificate_files::find(path).unwrap_or_default() {
            all += &fingerprint_of(&file);
        }
    }
    format!("{:016x}", fnv1a(all.as_bytes()))
}

fn fingerprint_of(file: &CertificateFile) -> String {
    let key = file.key.as_deref().map(files::fingerprint).unwrap_or_default();
    format!("{} {}; {key}\n", file.chain.display(), files::fingerprint(&file.chain))
}

/// Of a file's name, what stands behind that of the config.
fn is_copy_or_list(ending: &[u8]) -> bool {
    let is_copy = |name: &[u8]| name.len() == 16 && name.iter().all(u8::is_ascii_hexdigit);
    // One with `.new` was left by a daemon that died.
    let ending = ending.strip_suffix(b".new").unwrap_or(ending);
    let is_list = |name: &[u8]| !name.contains(&b'.');
    ending.strip_suffix(b".pem").is_some_and(is_copy)
        || ending.strip_suffix(b".crt-list").is_some_and(is_list)
}

impl Haproxy {
    /// Whether a certificate changed since it was read.
    pub(crate) fn has_new_certificates(&self) -> bool {
        let (door, known, is_unread) = {
            let store = self.certificates();
            let is_unread = store.known.values().any(KnownCertificate::is_unread);
            (store.door.clone(), store.fingerprint.clone(), is_unread)
        };
        let is_tls = door.frontends.iter().any(Frontend::is_tls);
        is_tls && (is_unread || fingerprint(&door) != known)
    }

    /// What a rendered text says of the certificates, so that it changes when they do.
    /// `single` is the fingerprint of the one that all services have.
    pub(crate) fn certificate_mark(&self, single: &str) -> String {
        let store = self.certificates();
        let CertificateSet { lists, hashes } = &store.current;
        if hashes.is_empty() {
            return single.to_owned();
        }
        let hash = fnv1a(format!("{lists}{hashes:?}").as_bytes());
        format!("{single} {hash:016x}").trim().to_owned()
    }

    /// The process that serves now has read the current copies.
    pub(crate) fn note_certificates_loaded(&self) {
        let mut store = self.certificates();
        store.loaded = Some(store.current.clone());
    }

    /// Has the running process take copies that changed. False: it takes a reload, as others came
    /// or went, or what the process has is not known.
    pub(crate) fn renew_certificates(&self) -> Result<bool> {
        let (current, loaded) = {
            let store = self.certificates();
            (store.current.clone(), store.loaded.clone())
        };
        let Some(loaded) = loaded.filter(|loaded| loaded.lists == current.lists) else {
            return Ok(false);
        };
        let changed =
            current.hashes.iter().filter(|(copy, hash)| loaded.hashes.get(*copy) != Some(*hash));
        for (copy, _) in changed {
            if !self.renew_certificate(copy)? {
                return Ok(false);
            }
        }
        self.note_certificates_loaded();
        Ok(true)
    }

    /// By a transaction of HAProxy's: until it is committed, the old one is served.
    fn renew_certificate(&self, copy: &Path) -> Result<bool> {
        let Ok(pem) = regular_file::text(copy) else { return Ok(false) };
        let copy = copy.display();
        // HAProxy may hang up on one that is too long for it.
        let set = self.socket.ask(&format!("set ssl cert {copy} <<\n{pem}")).unwrap_or_default();
        let committed = self.socket.ask(&format!("commit ssl cert {copy}"))?;
        let is_done = set.contains("Transaction") && committed.contains("Success!");
        if !is_done {
            self.socket.ask(&format!("abort ssl cert {copy}"))?;
        }
        Ok(is_done)
    }

    /// Without frontends that have no certificate to serve with.
    pub(crate) fn servable(&self, routes: &Routes) -> Routes {
        let mut routes = routes.clone();
        let store = self.certificates();
        routes.front_door.frontends.retain(|frontend| store.serves(frontend));
        routes
    }

    /// Reads what changed, and has the good ones in HAProxy's copies.
    pub(crate) fn read_certificates(&self, door: &FrontDoor, start_lock: &StartLock) -> Result<()> {
        let before = self.certificates().clone();
        let mut store = CertificateStore {
            door: door.clone(),
            fingerprint: fingerprint(door),
            loaded: before.loaded.clone(),
            ..CertificateStore::default()
        };
        let can_validate = door.frontends.iter().any(Frontend::is_tls) && self.can_validate()?;
        let paths = door.frontends.iter().flat_map(|frontend| &frontend.certificates);
        for path in paths.collect::<BTreeSet<_>>() {
            let found = match certificate_files::find(path) {
                Ok(found) => found,
                Err(why) => {
                    self.keep(path, &why, &before, &mut store);
                    continue;
                }
            };
            let chains: Vec<PathBuf> = found.iter().map(|file| file.chain.clone()).collect();
            for file in found {
                let fingerprint = fingerprint_of(&file);
                let is_same = |known: &&KnownCertificate| {
                    known.fingerprint == fingerprint && known.seen.rejected.is_none()
                };
                let known = before.known.get(&file.chain).filter(is_same);
                let known = match known {
                    Some(known) => known.clone(),
                    None if can_validate => {
                        self.read_certificate(&file, fingerprint, start_lock)?
                    }
                    None => self.read_unvalidated(&file)?,
                };
                store.known.insert(file.chain, known);
            }
            store.found.insert(path.clone(), chains);
        }
        self.write_lists(door, &mut store)?;
        *self.certificates() = store;
        Ok(())
    }

    /// Nothing was found at a path of the config: what was served from there goes on to be.
    fn keep(
        &self,
        path: &Path,
        why: &str,
        before: &CertificateStore,
        store: &mut CertificateStore,
    ) {
        let chains = before.found.get(path).cloned().unwrap_or_default();
        for chain in &chains {
            let known = before.known.get(chain).map(|known| (chain.clone(), known.clone()));
            store.known.extend(known);
        }
        let copy = self.copy_of(path);
        let served = self.former(&copy);
        let copy = served.is_some().then_some(copy);
        let rejected = Some(format!("{}: {why}", path.display()));
        let seen = CertificateSeen { source: path.to_owned(), served, rejected };
        let known = KnownCertificate { fingerprint: String::new(), copy, seen };
        store.known.insert(path.to_owned(), known);
        store.found.insert(path.to_owned(), [chains, vec![path.to_owned()]].concat());
    }

    fn copy_of(&self, chain: &Path) -> PathBuf {
        let name = fnv1a(chain.as_os_str().as_encoded_bytes());
        files::beside(&self.config.config, &format!("{name:016x}.pem"))
    }

    /// Copies hold keys: those that the process which serves now does not need are deleted. Files
    /// that cannot be listed or deleted stay until the next time.
    pub(crate) fn remove_unused_certificates(&self) {
        let store = self.certificates();
        let config = &self.config.config;
        let lists = store.door.frontends.iter().filter(|frontend| frontend.is_tls());
        let lists = lists.map(|frontend| front_door::crt_list(config, &frontend.name));
        let used: BTreeSet<PathBuf> = store.current.hashes.keys().cloned().chain(lists).collect();
        let folder = config.parent().unwrap_or(Path::new("/"));
        let begin = files::beside(config, "");
        let is_unused = |path: &PathBuf| {
            let bytes = path.as_os_str().as_encoded_bytes();
            let ending = bytes.strip_prefix(begin.as_os_str().as_encoded_bytes());
            ending.is_some_and(is_copy_or_list) && !used.contains(path)
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(is_unused) {
            drop(files::remove(&path));
        }
    }

    fn write_lists(&self, door: &FrontDoor, store: &mut CertificateStore) -> Result<()> {
        let mut current = CertificateSet::default();
        for frontend in door.frontends.iter().filter(|frontend| frontend.is_tls()) {
            let file = front_door::crt_list(&self.config.config, &frontend.name);
            if store.copies(frontend).is_empty() {
                // All of them are bad, as after a slip of the config: the former ones serve on.
                let former = regular_file::text(&file).unwrap_or_default();
                let there = former.lines().map(PathBuf::from).filter(|copy| copy.is_file());
                store.former.insert(frontend.name.clone(), there.collect());
            }
            let list = store.crt_list(frontend);
            if list.is_empty() {
                continue;
            }
            if regular_file::text(&file).ok().as_ref() != Some(&list) {
                files::replace(&file, &list, self.file_mode())?;
            }
            current.lists += &format!("{}\n{list}", frontend.name);
            for copy in store.copies(frontend) {
                let text = regular_file::text(copy).unwrap_or_default();
                current.hashes.insert(copy.to_owned(), fnv1a(text.as_bytes()));
            }
        }
        store.current = current;
        Ok(())
    }

    /// Whether HAProxy takes it, which also shows that the key is that of the certificate.
    fn read_certificate(
        &self,
        file: &CertificateFile,
        fingerprint: String,
        start_lock: &StartLock,
    ) -> Result<KnownCertificate> {
        let copy = self.copy_of(&file.chain);
        let now = self.clock.wall();
        let read = match certificate_files::read(file, now) {
            // It was validated when it was written.
            Ok((pem, facts)) if regular_file::text(&copy).is_ok_and(|text| text == pem) => {
                Ok(facts)
            }
            Ok((pem, facts)) => {
                let new = files::write_new(&copy, &pem, self.file_mode())?;
                match self.validate_certificate(&new, start_lock)? {
                    None => {
                        files::rename(&new, &copy)?;
                        Ok(facts)
                    }
                    Some(refusal) => {
                        files::remove(&new)?;
                        Err(refusal)
                    }
                }
            }
            Err(why) => Err(why),
        };
        Ok(self.known(file, fingerprint, copy, read))
    }

    /// While HAProxy cannot be asked. It must be able to start with what it has, so that a proven
    /// copy stays; an empty fingerprint is read again.
    fn read_unvalidated(&self, file: &CertificateFile) -> Result<KnownCertificate> {
        let copy = self.copy_of(&file.chain);
        let is_proven = regular_file::text(&copy).is_ok_and(|text| !text.starts_with(UNPROVEN));
        let former = if is_proven { self.former(&copy) } else { None };
        let read = match former {
            Some(facts) => Ok(facts),
            None => match certificate_files::read(file, self.clock.wall()) {
                Ok((pem, facts)) => {
                    files::replace(&copy, &format!("{UNPROVEN}{pem}"), self.file_mode())?;
                    Ok(facts)
                }
                Err(why) => Err(why),
            },
        };
        Ok(self.known(file, String::new(), copy, read))
    }

    /// Of one that cannot be used, the copy from before goes on to be served.
    fn known(
        &self,
        file: &CertificateFile,
        fingerprint: String,
        copy: PathBuf,
        read: std::result::Result<CertificateFacts, String>,
    ) -> KnownCertificate {
        let source = file.chain.clone();
        let (served, rejected) = match read {
            Ok(facts) => (Some(facts), None),
            Err(why) => (self.former(&copy), Some(format!("{}: {why}", source.display()))),
        };
        let copy = served.is_some().then_some(copy);
        let seen = CertificateSeen { source, served, rejected };
        KnownCertificate { fingerprint, copy, seen }
    }

    /// Of a copy from before. An expired one is better than none: clients say why.
    fn former(&self, copy: &Path) -> Option<CertificateFacts> {
        let file = CertificateFile { chain: copy.to_owned(), key: None };
        certificate_files::read(&file, Wall(i64::MIN)).ok().map(|(_, facts)| facts)
    }

    fn validate_certificate(&self, pem: &Path, start_lock: &StartLock) -> Result<Option<String>> {
        let trial = files::beside(&self.config.config, "certificate");
        let text = format!(
            "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    \
             timeout server 1s\n\nfrontend trial\n    bind 127.0.0.1:1 ssl crt {}\n    \
             http-request deny\n",
            pem.display()
        );
        let new = files::write_new(&trial, &text, self.file_mode())?;
        // Without the base config, which may have faults of its own.
        let verdict = self.validate_files(start_lock, &[&new]);
        files::remove(&new)?;
        Ok(match verdict? {
            Validation::Accepted => None,
            Validation::Refused(refusal) if refusal.output.contains(OTHER_KEY) => {
                Some("its private key is that of another certificate".to_owned())
            }
            // It ended before it read the certificate, as without memory.
            Validation::Refused(refusal) if !refusal.output.contains(ALERT) => {
                return Err(Error::new(refusal.message));
            }
            Validation::Refused(refusal) => Some(refusal.message),
        })
    }
}
