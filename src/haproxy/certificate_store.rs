//! What is known of the certificates of shared frontends, and which copies HAProxy is to have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::model::certificate::CertificateSeen;
use crate::model::front_door::{FrontDoor, Frontend};

/// What was read last.
#[derive(Clone, Debug, Default)]
pub(crate) struct CertificateStore {
    /// By chain file, or by the path of the config if nothing was found there.
    pub(crate) known: BTreeMap<PathBuf, KnownCertificate>,
    /// The chain files of each path of the config.
    pub(crate) found: BTreeMap<PathBuf, Vec<PathBuf>>,
    pub(crate) door: FrontDoor,
    /// Of everything that was read.
    pub(crate) fingerprint: String,
    /// By frontend, the copies that it had before, where it has no good certificate now.
    pub(crate) former: BTreeMap<String, Vec<PathBuf>>,
    /// What HAProxy is to have, once it has it, and what it has.
    pub(crate) current: CertificateSet,
    pub(crate) loaded: Option<CertificateSet>,
}

/// The copies that a process has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CertificateSet {
    /// The crt-lists, one after the other.
    pub(crate) lists: String,
    /// Of the content of each copy.
    pub(crate) hashes: BTreeMap<PathBuf, u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct KnownCertificate {
    /// Of chain and key. Empty: they were not read, or are to be read again.
    pub(crate) fingerprint: String,
    /// HAProxy's own, if there is a good one.
    pub(crate) copy: Option<PathBuf>,
    pub(crate) seen: CertificateSeen,
}

impl CertificateStore {
    pub(crate) fn seen(&self) -> Vec<CertificateSeen> {
        self.known.values().map(|known| known.seen.clone()).collect()
    }

    /// The copies of a frontend, in the order of the config: the first one is for clients that name
    /// no host, or none that is known.
    pub(crate) fn copies(&self, frontend: &Frontend) -> Vec<&Path> {
        let mut given = BTreeSet::new();
        let chains = frontend.certificates.iter().filter_map(|path| self.found.get(path)).flatten();
        let known = chains.filter_map(|chain| self.known.get(chain)?.copy.as_deref());
        let copies: Vec<&Path> = known.filter(|copy| given.insert(*copy)).collect();
        if !copies.is_empty() {
            return copies;
        }
        self.former.get(&frontend.name).into_iter().flatten().map(PathBuf::as_path).collect()
    }

    /// What HAProxy reads for a frontend.
    pub(crate) fn crt_list(&self, frontend: &Frontend) -> String {
        let copies = self.copies(frontend);
        copies.iter().map(|copy| format!("{}\n", copy.display())).collect()
    }

    pub(crate) fn serves(&self, frontend: &Frontend) -> bool {
        !frontend.is_tls() || !self.copies(frontend).is_empty()
    }
}

impl KnownCertificate {
    /// HAProxy could not be asked about it, so the former one is kept.
    pub(crate) fn is_unread(&self) -> bool {
        self.fingerprint.is_empty() && self.seen.rejected.is_none()
    }
}
