//! `outside::Vessel`: HAProxy's own container.

use serde::Deserialize;
use serde_json::json;

use crate::docker::Docker;
use crate::docker::client::{Call, Method};
use crate::outside::{Error, Result, Said, Vessel};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ended {
    exit_code: Option<i64>,
}

impl Vessel for Docker {
    fn main_process(&self, container: &str) -> Result<Option<u32>> {
        let found = self.inspect(container, self.look_timeout())?;
        let found = found.ok_or_else(|| {
            Error::new(format!("docker: no container {container} (see load_balancer.container)"))
        })?;
        Ok(found.pid())
    }

    fn signal(&self, container: &str, name: &str) -> Result<()> {
        let path = format!("/containers/{container}/kill");
        let query = [("signal", name)];
        let call = Call { method: Method::Post, query: &query, ..Call::get(&path) };
        // Twice would be two reloads.
        self.client.call(Call { idempotent: false, ..call }, self.timeout)?.ok().map(drop)
    }

    fn run(&self, container: &str, command: &[&str]) -> Result<Said> {
        let post = |path: &str, body: &serde_json::Value| {
            let body = body.to_string();
            let call =
                Call { method: Method::Post, body: Some(body.as_bytes()), ..Call::get(path) };
            self.client.call(Call { idempotent: false, ..call }, self.timeout)?.ok()
        };
        // With a terminal, what is said comes as it is, without frames around it.
        let order =
            json!({ "AttachStdout": true, "AttachStderr": true, "Tty": true, "Cmd": command });
        let begun: Begun = post(&format!("/containers/{container}/exec"), &order)?.json()?;
        let start = json!({ "Detach": false, "Tty": true });
        let said = post(&format!("/exec/{}/start", begun.id), &start)?;
        let words = String::from_utf8_lossy(said.body()).into_owned();
        let path = format!("/exec/{}/json", begun.id);
        let ended: Ended = self.client.call(Call::get(&path), self.look_timeout())?.ok()?.json()?;
        Ok(Said { is_good: ended.exit_code == Some(0), words })
    }
}
