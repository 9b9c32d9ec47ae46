//! Commands in containers: each ends at once, with one output and the exit code that a test set.

use serde_json::json;

use crate::fake_docker::{FakeDocker, Route, State, refusal};

impl FakeDocker {
    /// From now on containers show when they were started, and commands end with this code.
    pub(crate) fn end_commands(&self, code: i64) {
        self.shared.state.lock().unwrap().exec_code = Some(code);
    }
}

impl State {
    pub(super) fn exec(&self, route: Route) -> (u16, String) {
        let Some(code) = self.exec_code else { return refusal(404, "page not found") };
        match route {
            Route::Exec => (201, json!({ "Id": "exec-1" }).to_string()),
            Route::ExecStart => (200, "\u{1}\0\0\0\0\0\0\u{5}said\n".to_owned()),
            _ => (200, json!({ "Running": false, "ExitCode": code }).to_string()),
        }
    }
}
