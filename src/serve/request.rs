//! A request as the handlers see it.

/// The socket that a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Tcp,
    /// The Unix socket. Its file mode says who may connect.
    Control,
}

impl Channel {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Channel::Tcp => "tcp",
            Channel::Control => "control",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Channel> {
        [Channel::Tcp, Channel::Control].into_iter().find(|via| via.word() == word)
    }
}

/// The headers that no handler reads are left out.
#[derive(Clone, Debug)]
pub(crate) struct ApiRequest {
    pub(crate) via: Channel,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: Option<String>,
    pub(crate) accept: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) fetch_site: Option<String>,
    pub(crate) body: Vec<u8>,
}
