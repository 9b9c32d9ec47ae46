//! Checks of the file with credentials for registries, and of the helpers that it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::docker::Docker;
use crate::docker::registry_auth::{LoginFile, RegistryAuth};
use crate::model::config::Config;
use crate::model::units::plural;
use crate::preflight::lock;
use crate::regular_file::folder;

/// What is wrong, and whether the daemon can run with it.
pub(super) struct LoginProblem {
    pub(super) message: String,
    pub(super) is_warning: bool,
}

impl LoginProblem {
    /// What to do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self.message.contains("docker-credential-") {
            true => {
                "install or repair the helper for the daemon's user, or take it out of the file"
            }
            false => "`docker login` as the daemon's user writes the file anew; see docker.config",
        }
    }
}

/// The state of the file and of what it is for.
pub(super) struct LoginReport {
    pub(super) good: Vec<String>,
    pub(super) problems: Vec<LoginProblem>,
    /// The file that is read, if it can be.
    pub(super) file: Option<PathBuf>,
}

/// Reads the file, and asks the helpers for the registries of the config's images.
pub(super) fn examine(config: &Config, engine: &Docker) -> LoginReport {
    let file = engine.login_file();
    let asked = asked(config, engine);
    let mut problems = problems(config, engine, &file, &asked);
    problems.extend(other_user(config));
    let is_usable = problems.is_empty() || matches!(file, LoginFile::Read { .. });
    let mut good = Vec::new();
    if is_usable {
        good.push(summary(&file));
        let with = asked.iter().filter(|auth| auth.header.is_some());
        good.extend(with.map(|auth| format!("{}: {}", auth.registry.host(), auth.source)));
    }
    let file = match file {
        LoginFile::Read { path, .. } => Some(path),
        LoginFile::Unusable { .. } | LoginFile::Absent(_) => None,
    };
    LoginReport { good, problems, file }
}

/// Another user has another home folder, and so another file.
fn other_user(config: &Config) -> Option<LoginProblem> {
    let daemons = lock::user(&config.fixed).filter(|_| config.fixed.docker.config.is_none())?;
    let own = folder::own_uid().ok().filter(|own| *own != daemons)?;
    let message = format!(
        "the daemon's user is {daemons} and this is user {own}, so it may find another file: run \
         this as that user, or set docker.config"
    );
    Some(LoginProblem { message, is_warning: true })
}

fn summary(file: &LoginFile) -> String {
    let shown = |path: &Path| path.display().to_string();
    match file {
        LoginFile::Read { path, logins } => {
            let (good, _) = logins.entries();
            let count = plural(u32::try_from(good.len()).unwrap_or(u32::MAX), "login");
            let helpers: Vec<String> =
                logins.helper_names().iter().map(|name| format!(", helper {name}")).collect();
            format!("{}: {count}{}", shown(path), helpers.concat())
        }
        LoginFile::Unusable { path, .. } => shown(path),
        LoginFile::Absent(looked) => {
            let one = |(path, why): &(PathBuf, Option<String>)| match why {
                None => shown(path),
                Some(why) => format!("{} ({why})", shown(path)),
            };
            let all: Vec<String> = looked.iter().map(one).collect();
            format!("images are pulled without credentials: there is none of {}", all.join(", "))
        }
    }
}

/// The credentials for each registry that an image comes from, once. It runs the helpers.
fn asked(config: &Config, engine: &Docker) -> Vec<RegistryAuth> {
    let mut hosts = BTreeMap::new();
    for image in config.images() {
        let host = Docker::registry_of(image);
        hosts.entry(host).or_insert(image);
    }
    hosts.into_values().map(|image| engine.registry_auth(image)).collect()
}

fn problems(
    config: &Config,
    engine: &Docker,
    file: &LoginFile,
    asked: &[RegistryAuth],
) -> Vec<LoginProblem> {
    let is_named = config.fixed.docker.config.is_some();
    let problem = |message: String| LoginProblem { message, is_warning: !is_named };
    let warning = |message: String| LoginProblem { message, is_warning: true };
    match file {
        LoginFile::Absent(looked) if is_named => {
            let all = looked.iter().map(|(path, why)| match why {
                None => problem(format!("{} does not exist", path.display())),
                Some(why) => problem(format!("{} cannot be read: {why}", path.display())),
            });
            all.collect()
        }
        LoginFile::Absent(_) => Vec::new(),
        LoginFile::Unusable { path, why } => vec![problem(format!("{} {why}", path.display()))],
        LoginFile::Read { path, logins } => {
            let file = path.display();
            let of_images: Vec<&String> =
                asked.iter().filter_map(|auth| auth.problem.as_ref()).collect();
            let mut found: Vec<LoginProblem> = asked
                .iter()
                .filter_map(|auth| Some((auth.registry.host(), auth.problem.as_ref()?)))
                .map(|(host, why)| warning(format!("{host}: {why}")))
                .collect();
            let is_new = |why: &str| !of_images.iter().any(|known| known.contains(why));
            let (_, wrong) = logins.entries();
            let wrong = wrong.into_iter().map(|(key, why)| format!("{file}: {key:?}: {why}"));
            let missing = logins.helper_names().into_iter();
            let missing = missing.filter_map(|name| engine.missing_helper(name));
            let missing = missing.map(|why| format!("{why} ({file} names it)"));
            found.extend(wrong.chain(missing).filter(|why| is_new(why)).map(warning));
            found
        }
    }
}
