//! Questions of the preflight checks: permissions, networks and images. Changes nothing.

use crate::docker::Docker;
use crate::docker::client::{ApiResponse, Call};
use crate::docker::engine_calls::{ENGINE_CALLS, EngineCall};
use crate::docker::inspected::ImageInspected;
use crate::model::config::Config;
use crate::model::url;
use crate::outside::{Error, Result};

/// A call that does not reach Docker.
pub(crate) struct RefusedCall {
    pub(crate) call: &'static EngineCall,
    pub(crate) status: u16,
}

impl Docker {
    /// Calls that this config needs and that are refused, for instance by a proxy that allows
    /// reading only. Each is tried in the form that changes nothing.
    pub(crate) fn refused_calls(&self, config: &Config) -> Result<Vec<RefusedCall>> {
        let mut refused = Vec::new();
        for row in ENGINE_CALLS.iter().filter(|call| call.need.applies(config)) {
            let answer = self.try_harmless(row)?;
            let is_of_docker = match answer.status {
                502..=504 if !answer.is_error_of_docker() => {
                    return Err(Error::new("a proxy answers, but Docker behind it does not"));
                }
                400.. => answer.is_error_of_docker(),
                _ => true,
            };
            if answer.is_refused() || !is_of_docker {
                refused.push(RefusedCall { call: row, status: answer.status });
            }
        }
        Ok(refused)
    }

    fn try_harmless(&self, row: &EngineCall) -> Result<ApiResponse> {
        let path = row.harmless_path();
        let query = row.harmless.query;
        let body = row.harmless.body.map(str::as_bytes);
        let call = Call { method: row.method, query, body, ..Call::get(&path) };
        self.client.call(call, self.look_timeout())
    }

    /// By name or id.
    pub(crate) fn has_network(&self, name: &str) -> Result<bool> {
        let mut safe = String::new();
        url::encode(name, &mut safe);
        let path = format!("/networks/{safe}");
        let answer = self.client.call(Call::get(&path), self.look_timeout())?;
        if answer.status == 404 { Ok(false) } else { answer.ok().map(|_| true) }
    }

    /// TCP ports that an image exposes. Empty: none, or the image is not on this host.
    pub(crate) fn exposed(&self, image: &str) -> Result<Vec<u16>> {
        let found = self.inspect_image::<ImageInspected>(image)?;
        Ok(found.map(|found| found.exposed_ports()).unwrap_or_default())
    }
}
