//! `outside::Net`: what is asked of replicas. Every call has a deadline.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ureq::Agent;

use crate::model::service::HEALTH_HOST;
use crate::outside::{Error, Net, Result};

pub(crate) struct SystemNet {
    agent: Agent,
}

impl SystemNet {
    pub(crate) fn new() -> SystemNet {
        // A connection is used once: what it answers is about now. The environment's proxies
        // know nothing of our networks, and a redirect is an answer like any other.
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
            .input_buffer_size(16 << 10)
            .output_buffer_size(4 << 10)
            .max_idle_connections(0)
            .build();
        SystemNet { agent: config.new_agent() }
    }
}

impl Net for SystemNet {
    /// The body is left unread.
    fn get_status(&self, to: SocketAddr, path: &str, timeout: Duration) -> Result<u16> {
        let url = format!("http://{to}{path}");
        let request = self
            .agent
            .get(&url)
            .header("host", HEALTH_HOST)
            .config()
            .timeout_global(Some(timeout))
            .build();
        let response = request.call().map_err(|err| match err {
            ureq::Error::Timeout(_) => {
                Error::new(format!("GET {url}: no answer within {} ms", timeout.as_millis()))
            }
            ureq::Error::Io(err) => Error::caused(format!("GET {url}"), err),
            err => Error::caused(format!("GET {url}"), err),
        })?;
        Ok(response.status().as_u16())
    }

    fn connect(&self, to: SocketAddr, timeout: Duration) -> Result<()> {
        let opened = TcpStream::connect_timeout(&to, timeout);
        opened.map(drop).map_err(|err| Error::caused(format!("connect to {to}"), err))
    }
}
