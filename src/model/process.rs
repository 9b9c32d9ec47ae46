//! What the kernel says of this process.

use std::time::Duration;

use crate::model::time::Moment;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessUsage {
    pub(crate) started: Moment,
    /// `None` if it cannot be read, here and below.
    pub(crate) cpu: Option<Duration>,
    pub(crate) open_files: Option<u64>,
    /// `None` also where there is no limit.
    pub(crate) max_files: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) resident_bytes: Option<u64>,
}
