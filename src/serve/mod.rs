//! The HTTP API and the dashboard. Reads the status that was published last and sends commands;
//! knows no adapter and decides nothing.
//!
//! `listener` accepts a connection, `connection` reads one whole request within limits,
//! `request_parser` parses it, `tiny_bridge` passes it to tiny_http, and `handlers` answer it.
//! tiny_http has no limits of its own, so no client is ever connected to it.

pub(crate) mod acme;
mod auth;
pub(crate) mod client;
mod connection;
mod event_log;
mod forecast_json;
mod handlers;
mod history_query;
mod listener;
mod page;
mod query;
mod request;
mod request_body;
mod request_parser;
mod response;
mod routes;
mod socket_files;
mod sources;
mod status_json;
mod threads;
mod tiny_bridge;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::config::Api;
use crate::outside::{Clock, Error, MetricsSink, Result};
use crate::serve::auth::Auth;
pub(crate) use crate::serve::event_log::EventRing;
use crate::serve::handlers::ApiHandler;
use crate::serve::listener::{ListenAddr, ServerContext};
use crate::serve::socket_files::SocketFiles;
pub(crate) use crate::serve::sources::{Sources, StatusCell};
use crate::serve::threads::spawn;
use crate::serve::tiny_bridge::TinyBridge;

/// Serves as long as the process lives. Dropped, it removes its sockets' files.
pub(crate) struct ApiServer {
    files: Arc<SocketFiles>,
}

impl ApiServer {
    /// If an address cannot be bound, that is logged and retried in the background; scaling goes on
    /// meanwhile.
    pub(crate) fn open(
        api: &Api,
        clock: Arc<dyn Clock>,
        sources: Sources,
        metrics_sink: MetricsSink,
    ) -> Result<ApiServer> {
        let files = Arc::new(SocketFiles::default());
        let handler = ApiHandler::new(sources, clock.clone(), Auth::of(api));
        let bridge =
            TinyBridge::new(private_socket(&api.socket), files.clone(), clock.clone(), handler);
        let context = Arc::new(ServerContext::new(clock, bridge, files.clone(), metrics_sink));
        let tcp = api.listen.map(ListenAddr::Tcp);
        for addr in tcp.into_iter().chain([ListenAddr::Control(api.socket.clone())]) {
            let name = addr.thread();
            let context = context.clone();
            spawn(name, move || listener::serve_forever(&addr, &context))
                .map_err(|err| Error::caused(format!("cannot start thread {name}"), err))?;
        }
        Ok(ApiServer { files })
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.files.remove();
    }
}

/// Beside the control socket, so that the same folder permissions protect it.
fn private_socket(socket: &Path) -> PathBuf {
    let mut name = OsString::from(socket);
    name.push(".http");
    PathBuf::from(name)
}
