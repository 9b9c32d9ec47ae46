//! `outside::ContainerControl` for the container that HAProxy runs in.

use serde_json::json;

use crate::docker::Docker;
use crate::docker::client::Call;
use crate::docker::engine_calls::Method;
use crate::docker::exec::CreatedExec;
use crate::outside::{CommandOutput, ContainerControl, Error, Result};

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
        // With a terminal, Docker sends the output as it is, without its framing of two streams.
        let created = self.create_exec(container, command, (true, self.timeout))?;
        let created: CreatedExec = created.ok()?.json()?;
        let start = json!({ "Detach": false, "Tty": true }).to_string();
        let path = format!("/exec/{}/start", created.id);
        let call = Call { method: Method::Post, body: Some(start.as_bytes()), ..Call::get(&path) };
        let output = self.client.call(Call { idempotent: false, ..call }, self.timeout)?.ok()?;
        let text = String::from_utf8_lossy(output.body()).into_owned();
        let state = self.exec_state(&created.id, self.look_timeout())?;
        let code = state.and_then(|state| state.exit_code);
        Ok(CommandOutput { is_success: code == Some(0), text })
    }
}
