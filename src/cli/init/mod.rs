//! `plimsoll init`: a starting config, from a compose file or from running containers.

mod compose;
mod draft;
mod labels;
mod options;
mod running;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::args::cli_command::InitArgs;
use crate::cli::client;
use crate::cli::compose_file::ComposeFile;
use crate::cli::init::draft::Draft;
use crate::cli::output::{complain, say};
use crate::config;
use crate::model::terminal;
use crate::preflight::live;
use crate::regular_file;

pub(crate) fn init(asked: &InitArgs) -> ExitCode {
    let text = match &asked.compose {
        Some(file) => from_compose(file, asked.labels),
        None => from_running(),
    };
    match (text, &asked.output) {
        (Err(message), _) => client::failed(&message),
        // Escaped as on a terminal, where the file may be shown.
        (Ok(text), None) => say(&text),
        (Ok(text), Some(path)) => keep(&terminal::plain(&text), path),
    }
}

fn from_compose(file: &Path, labels: bool) -> Result<String, String> {
    let mut compose = ComposeFile::open(file)?;
    for (line, what) in std::mem::take(&mut compose.ignored) {
        match line {
            0 => complain(&what),
            line => complain(&format!("{}:{line}: {what}", file.display())),
        }
    }
    let drafts = compose::drafts(&compose);
    if labels {
        return Ok(labels::write(file, drafts));
    }
    Ok(draft::write(&head(&format!("from {}", file.display())), drafts))
}

fn from_running() -> Result<String, String> {
    let running = config::defaults_here()
        .and_then(|config| live::running(&config).map_err(|err| err.to_string()))
        .map_err(|err| format!("{err}; without Docker use `plimsoll init --compose FILE`"))?;
    let mut drafts = running::drafts(running);
    if drafts.is_empty() {
        let mut example = Draft::new("web");
        example.unfit = Some("an example, as no containers run here".to_owned());
        example.put("image", "shop/web:1.4");
        example.put("port", 8080);
        example.put("listen", 80);
        example.guess_bounds(1);
        drafts.push(example);
    }
    Ok(draft::write(&head("from the running containers"), drafts))
}

fn head(source: &str) -> Vec<String> {
    let lines = [
        &format!("Written by `plimsoll init`, {source}."),
        "Check each guess and remove what you do not want. Then:",
        "`plimsoll check --live` finds problems, `plimsoll run --dry-run` shows what it would do.",
    ];
    lines.map(str::to_owned).to_vec()
}

/// Readable by the owner alone: environments of containers may hold secrets.
fn keep(text: &str, path: &Path) -> ExitCode {
    let shown = path.display();
    let made = regular_file::create_new(path);
    match made.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => say(&format!("wrote {shown}; next: `plimsoll check --config {shown}`\n")),
        Err(err) if err.kind() == ErrorKind::AlreadyExists => {
            client::failed(&format!("{shown} exists already and is not overwritten"))
        }
        Err(err) => client::failed(&format!("cannot write {shown}: {err}")),
    }
}
