//! Certificates of the shared frontends, as they were last read.

use std::path::PathBuf;

use crate::model::time::{DAY, Wall};

/// One certificate file of an operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateSeen {
    /// The file, or what the config names if nothing was found there.
    pub(crate) source: PathBuf,
    /// That of the certificate which is served, if one is.
    pub(crate) served: Option<CertificateFacts>,
    /// Why what is in the file now is not served.
    pub(crate) rejected: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// DNS names; `*.` is one label.
    pub(crate) names: Vec<String>,
    /// After this moment clients refuse it.
    pub(crate) not_after: Wall,
}

impl CertificateFacts {
    /// Whole days until clients refuse it; below zero they do.
    pub(crate) fn days_left(&self, now: Wall) -> i64 {
        self.not_after.0.saturating_sub(now.0).div_euclid(DAY)
    }
}
