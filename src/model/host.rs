//! The machine that the containers run on.

/// `None` for values that cannot be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Host {
    pub(crate) name: Option<String>,
    pub(crate) cpus: Option<u64>,
    /// Processes that run or want to, on average over 1, 5 and 15 minutes.
    pub(crate) load: Option<[f64; 3]>,
    /// Bytes: all, and what could be given to processes.
    pub(crate) memory: Option<(u64, u64)>,
    /// Of all owners.
    pub(crate) containers: Option<u64>,
    pub(crate) running: Option<u64>,
    /// Why Docker did not tell.
    pub(crate) error: Option<String>,
}
