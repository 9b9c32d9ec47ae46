//! The labels with which a compose file configures one of its services.

use std::collections::BTreeMap;

/// What every label of plimsoll's begins with.
pub(crate) const LABEL_PREFIX: &str = "plimsoll.";
/// Names and values of one container's labels together, in bytes. More are refused.
pub(crate) const LABEL_BYTES_MAX: usize = 64 << 10;

/// Of one service of docker compose: the labels of its newest container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelSet {
    pub(crate) project: String,
    /// Its name in the compose file.
    pub(crate) service: String,
    /// The name of the container, for messages.
    pub(crate) container: String,
    /// When that was made, in seconds since 1970.
    pub(crate) created: u64,
    /// By name, without the prefix.
    pub(crate) labels: BTreeMap<String, String>,
    /// There were more than `LABEL_BYTES_MAX`, and `labels` lacks some.
    pub(crate) is_cut: bool,
    /// `None`: not known yet.
    pub(crate) facts: Option<ContainerFacts>,
}

/// What defaults are derived from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerFacts {
    /// TCP ports that it exposes, smallest first.
    pub(crate) ports: Vec<u16>,
    /// Docker runs a health check in it.
    pub(crate) has_health_check: bool,
    /// Containers of the service that docker compose made itself.
    pub(crate) replicas: u32,
}

impl LabelSet {
    /// Whether both are of one service of docker compose.
    pub(crate) fn is_of_same(&self, other: &LabelSet) -> bool {
        self.project == other.project && self.service == other.service
    }

    /// Whether both configure it alike, whichever container they were read from.
    pub(crate) fn says_same(&self, other: &LabelSet) -> bool {
        self.is_of_same(other)
            && self.labels == other.labels
            && self.is_cut == other.is_cut
            && self.facts == other.facts
    }
}

/// What became of a set of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelVerdict {
    /// The service's name in the config, or the one that it would have.
    pub(crate) name: String,
    pub(crate) container: String,
    /// Why it was refused, each with the label. Empty: it was not.
    pub(crate) errors: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) outcome: LabelOutcome,
}

/// What configures the service of a set of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabelOutcome {
    /// This set.
    Applied,
    /// The last good set before.
    LastGood,
    /// The config file.
    Ignored,
    /// Nothing.
    Rejected,
}

impl LabelOutcome {
    /// As the API calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            LabelOutcome::Applied => "applied",
            LabelOutcome::LastGood => "last_good",
            LabelOutcome::Ignored => "ignored",
            LabelOutcome::Rejected => "rejected",
        }
    }
}
