//! Checks of the file with credentials for registries, and of the helpers that it names.

use std::collections::BTreeMap;
use std::path::Path;

use crate::docker::Docker;
use crate::docker::registry_auth::{LoginFile, RegistryAuth};
use crate::model::config::Config;
use crate::model::units::plural;
use crate::preflight::{Finding, places};

const CHECK: &str = "docker.config";
/// What is wrong, and whether the daemon can run with it.
pub(super) struct LoginProblem {
    pub(super) message: String,
    pub(super) is_warning: bool,
}

const REMEDY: &str = "`docker login` as the daemon's user writes it anew; see docker.config";

/// What `doctor` shows of it.
pub(super) fn findings(config: &Config, engine: &Docker) -> Vec<Finding> {
    let file = engine.login_file();
    let asked = asked(config, engine);
    let mut found = vec![summary(&file)];
    let with = asked.iter().filter(|auth| auth.header.is_some());
    found.extend(
        with.map(|auth| Finding::good(CHECK, format!("{}: {}", auth.registry.host(), auth.source))),
    );
    let problems = problems(config, engine, &file, &asked);
    if !problems.is_empty() && !matches!(file, LoginFile::Read { .. }) {
        found.clear();
    }
    found.extend(problems.into_iter().map(|problem| {
        let finding = match problem.is_warning {
            true => Finding::warning(CHECK, problem.message),
            false => Finding::fails(CHECK, problem.message),
        };
        finding.remedy(REMEDY)
    }));
    if let LoginFile::Read { path, .. } = &file {
        found.extend(places::secret(path));
    }
    found
}

/// What is wrong with it, for `check --live`.
pub(super) fn look(config: &Config, engine: &Docker) -> Vec<LoginProblem> {
    problems(config, engine, &engine.login_file(), &asked(config, engine))
}

fn summary(file: &LoginFile) -> Finding {
    let shown = |path: &Path| path.display().to_string();
    Finding::good(
        CHECK,
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
                let all: Vec<String> = looked
                    .iter()
                    .map(|(path, why)| match why {
                        None => shown(path),
                        Some(why) => format!("{} ({why})", shown(path)),
                    })
                    .collect();
                format!(
                    "images are pulled without credentials: there is none of {}",
                    all.join(", ")
                )
            }
        },
    )
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
            let wrong = wrong.into_iter().map(|(key, why)| format!("{file}: auths.{key:?}: {why}"));
            let missing = logins.helper_names().into_iter();
            let missing = missing.filter_map(|name| engine.missing_helper(name));
            let missing = missing.map(|why| format!("{why} ({file} names it)"));
            found.extend(wrong.chain(missing).filter(|why| is_new(why)).map(warning));
            found
        }
    }
}
