//! `outside::ContainerControl` for the container that HAProxy runs in.

use serde::Deserialize;
use serde_json::json;

use crate::docker::Docker;
use crate::docker::client::Call;
use crate::docker::engine_calls::Method;
use crate::outside::{CommandOutput, ContainerControl, Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreatedExec {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecState {
    exit_code: Option<i64>,
}

impl ContainerControl for Docker {
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
        // Sent twice, it would reload HAProxy twice.
        self.client.call(Call { idempotent: false, ..call }, self.timeout)?.ok().map(drop)
    }

    fn run(&self, container: &str, command: &[&str]) -> Result<CommandOutput> {
        let post = |path: &str, body: &serde_json::Value| {
            let body = body.to_string();
            let call =
                Call { method: Method::Post, body: Some(body.as_bytes()), ..Call::get(path) };
            self.client.call(Call { idempotent: false, ..call }, self.timeout)?.ok()
        };
        // With a terminal, Docker sends the output as it is, without its framing of two streams.
        let exec =
            json!({ "AttachStdout": true, "AttachStderr": true, "Tty": true, "Cmd": command });
        let created: CreatedExec = post(&format!("/containers/{container}/exec"), &exec)?.json()?;
        let start = json!({ "Detach": false, "Tty": true });
        let output = post(&format!("/exec/{}/start", created.id), &start)?;
        let text = String::from_utf8_lossy(output.body()).into_owned();
        let path = format!("/exec/{}/json", created.id);
        let state: ExecState =
            self.client.call(Call::get(&path), self.look_timeout())?.ok()?.json()?;
        Ok(CommandOutput { is_success: state.exit_code == Some(0), text })
    }
}
