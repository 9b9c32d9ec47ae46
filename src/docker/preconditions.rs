//! Questions of the preflight checks: permissions, networks and images. Changes nothing.

use crate::docker::Docker;
use crate::docker::client::{Call, Method};
use crate::docker::inspected::ImageInspected;
use crate::model::url;
use crate::outside::Result;

/// An id that no container and no service has.
const ABSENT_ID: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Docker {
    /// The calls that a start and hooks need and that are forbidden, for instance by a proxy that
    /// allows reading only. The calls made here change nothing: they name an absent id, or their
    /// body is invalid JSON.
    pub(crate) fn denied(&self, of_swarm: bool, has_hooks: bool) -> Result<Vec<String>> {
        let start = format!("/containers/{ABSENT_ID}/start");
        let remove = format!("/containers/{ABSENT_ID}");
        let exec = format!("/containers/{ABSENT_ID}/exec");
        let update = format!("/services/{ABSENT_ID}/update");
        const UNREADABLE: Option<&[u8]> = Some(b"{");
        let mut calls = if of_swarm {
            vec![(Method::Post, update.as_str(), "POST /services/ID/update", UNREADABLE)]
        } else {
            vec![
                (Method::Post, "/containers/create", "POST /containers/create", UNREADABLE),
                (Method::Post, start.as_str(), "POST /containers/ID/start", None),
                (Method::Delete, remove.as_str(), "DELETE /containers/ID", None),
            ]
        };
        if has_hooks && !of_swarm {
            calls.push((Method::Post, exec.as_str(), "POST /containers/ID/exec", UNREADABLE));
        }
        let mut denied = Vec::new();
        for (method, path, words, body) in calls {
            let query: &[_] = if of_swarm { &[("version", "1")] } else { &[] };
            let call = Call { method, body, query, ..Call::get(path) };
            let answer = self.client.call(call, self.look_timeout())?;
            if answer.is_denied() {
                denied.push(format!("{words}: {}", answer.status));
            }
        }
        Ok(denied)
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
        let mut name = String::new();
        url::encode(image, &mut name);
        let path = format!("/images/{}/json", name.replace("%2F", "/").replace("%3A", ":"));
        let answer = self.client.call(Call::get(&path), self.look_timeout())?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        Ok(answer.ok()?.json::<ImageInspected>()?.exposed_ports())
    }
}
