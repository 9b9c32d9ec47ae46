//! Which credentials go to Docker with a pull: found anew for each, so that a new token counts at
//! once. What hinders never stops a pull, since most images need none; it is explained when the
//! registry refuses.

use std::env;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::docker::credential_helper::{CredentialHelpers, program};
use crate::docker::docker_config::{Credential, DockerLogins, Found, LINE_END, Registry};
use crate::model::secret::Secret;
use crate::model::terminal::plain_line;
use crate::outside::Clock;
use crate::regular_file;

/// Bytes of the file at most. `docker login` writes some hundred for a registry.
const FILE_MAX: u64 = 1 << 20;
/// Bytes of the header at most; dockerd itself takes a megabyte of all headers.
pub(crate) const HEADER_MAX: usize = 64 << 10;
/// The file for a daemon whose user has no home folder, or none that it may see.
const SYSTEM_FILE: &str = "/etc/plimsoll/docker.json";

/// Words by which a registry refuses, as Docker passes them on. "permission denied" alone is an
/// error of this host.
const REFUSALS: [&str; 8] = [
    "unauthorized",
    "no basic auth credentials",
    "authentication required",
    "authorization failed",
    "access denied",
    "resource is denied",
    "denied: ",
    "forbidden",
];
/// A registry that gives anonymous clients less.
const LIMITS: [&str; 2] = ["toomanyrequests", "rate limit"];

/// Finds credentials.
pub(crate) struct RegistryLogins {
    /// `docker.config`.
    config: Option<PathBuf>,
}

/// What was found for one image.
#[derive(Debug)]
pub(crate) struct RegistryAuth {
    pub(crate) registry: Registry,
    /// The header `X-Registry-Auth`; `None`: the pull is anonymous.
    pub(crate) header: Option<Secret>,
    /// Whose credentials these are, or where none were found.
    pub(crate) source: String,
    /// What to do if the registry refuses.
    remedy: String,
    /// Why credentials that exist, or may, are not used.
    pub(crate) problem: Option<String>,
}

impl RegistryAuth {
    /// Docker's message of a failed call, with what it was tried with if a registry refuses.
    pub(crate) fn explain(&self, message: &str) -> String {
        let lower = message.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let host = self.registry.host();
        let source = &self.source;
        let remedy = &self.remedy;
        match (&self.header, has(&LIMITS)) {
            (Some(_), true) => format!("{message}; {host} was asked as {source}"),
            (None, true) => format!("{message}; {host} was asked {source}; {remedy}"),
            _ if !has(&REFUSALS) => message.to_owned(),
            (Some(_), _) => format!("{message}; {host} refused {source}; {remedy}"),
            (None, _) => format!("{message}; {host} was asked {source}; {remedy}"),
        }
    }
}

/// The file that is used.
pub(crate) enum LoginFile {
    /// None exists. Each was looked for; a reason says why one may exist nevertheless.
    Absent(Vec<(PathBuf, Option<String>)>),
    Unusable {
        path: PathBuf,
        why: String,
    },
    Read {
        path: PathBuf,
        logins: DockerLogins,
    },
}

impl RegistryLogins {
    pub(crate) fn new(config: Option<&Path>) -> RegistryLogins {
        RegistryLogins { config: config.map(Path::to_owned) }
    }

    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(config) = &self.config {
            return vec![config.clone()];
        }
        let folder = env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
        let named = folder.map(|folder| PathBuf::from(folder).join("config.json"));
        let own = env::home_dir().filter(|home| home.is_absolute());
        let own = own.map(|home| home.join(".docker/config.json"));
        named.into_iter().chain(own).chain([PathBuf::from(SYSTEM_FILE)]).collect()
    }

    /// Reads the first of the files that exists.
    pub(crate) fn file(&self) -> LoginFile {
        let mut absent = Vec::new();
        for path in self.candidates() {
            match path.metadata() {
                Ok(_) => return read(path),
                Err(err) => absent.push((path, reason(&err))),
            }
        }
        LoginFile::Absent(absent)
    }

    /// The credentials for the registry of an image, by a helper if the file says so.
    pub(crate) fn look_up(&self, image: &str, clock: &dyn Clock) -> RegistryAuth {
        self.look_up_with(image, &CredentialHelpers::of_host(clock))
    }

    fn look_up_with(&self, image: &str, helpers: &CredentialHelpers) -> RegistryAuth {
        let registry = Registry::of(image);
        let (path, logins) = match self.file() {
            LoginFile::Absent(looked) => return nothing(registry, self.absent(&looked)),
            LoginFile::Unusable { path, why } => {
                let problem = format!("{} {why}", path.display());
                return unusable(registry, problem);
            }
            LoginFile::Read { path, logins } => (path, logins),
        };
        match logins.find(&registry) {
            Found::Nothing => nothing(registry, (of_file(&path), Some(path))),
            Found::Credential(found) => using(registry, &found, None, &path),
            Found::Wrong { key, why } => {
                let problem = format!("{}: {key:?}: {why}", path.display());
                unusable(registry, problem)
            }
            Found::Helper { name, stored } => {
                let program = program(&name);
                let asked = helpers.get(&name, &registry);
                match (asked, stored) {
                    (Ok(Some(found)), _) => using(registry, &found, Some(&program), &path),
                    (asked, Some(stored)) => {
                        let problem = asked.err().map(|why| named(&why, &path));
                        RegistryAuth { problem, ..using(registry, &stored, None, &path) }
                    }
                    (Ok(None), None) => {
                        let file = path.display();
                        let source = format!(
                            "without credentials: {program}, which {file} names, has none for it"
                        );
                        let remedy = format!("log in with {program}, or remove it from that file");
                        RegistryAuth { registry, header: None, source, remedy, problem: None }
                    }
                    (Err(why), None) => unusable(registry, named(&why, &path)),
                }
            }
        }
    }

    /// Where none was found, and no file.
    fn absent(&self, looked: &[(PathBuf, Option<String>)]) -> (String, Option<PathBuf>) {
        let shown = |(path, why): &(PathBuf, Option<String>)| match why {
            None => path.display().to_string(),
            Some(why) => format!("{} ({why})", path.display()),
        };
        let all: Vec<String> = looked.iter().map(shown).collect();
        let all = all.join(", ");
        if self.config.is_some() {
            return (
                format!("without credentials: docker.config names {all}, which does not exist"),
                None,
            );
        }
        (format!("without credentials: there is none of {all}"), None)
    }
}

fn of_file(path: &Path) -> String {
    format!("without credentials: {} has none for it", path.display())
}

fn named(why: &str, path: &Path) -> String {
    format!("{why} ({} names it)", path.display())
}

/// `None`: it is not there.
fn reason(err: &io::Error) -> Option<String> {
    match err.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => None,
        _ => Some(err.to_string()),
    }
}

fn read(path: PathBuf) -> LoginFile {
    let bytes = match regular_file::read(&path, FILE_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let why = format!("is larger than {} KiB", FILE_MAX >> 10);
            return LoginFile::Unusable { path, why };
        }
        Err(err) => {
            let who = match err.kind() {
                ErrorKind::PermissionDenied => "; the daemon's user must be able to read it",
                _ => "",
            };
            let why = format!("cannot be read: {err}{who}");
            return LoginFile::Unusable { path, why };
        }
    };
    match DockerLogins::parse(&bytes) {
        Ok(logins) => LoginFile::Read { path, logins },
        Err(why) => LoginFile::Unusable { path, why },
    }
}

fn using(
    registry: Registry,
    found: &Credential,
    helper: Option<&str>,
    file: &Path,
) -> RegistryAuth {
    let owner = found.owner();
    let path = file.display();
    let mut source = match helper {
        Some(program) => format!("{owner} of {program}, which {path} names"),
        None => format!("{owner} of {path}"),
    };
    if found.ends_in_line_end() {
        source += &format!(" ({LINE_END})");
    }
    let header = found.header().filter(|header| header.expose().len() <= HEADER_MAX);
    if header.is_none() {
        let why = format!("{source} is longer than {} KiB", HEADER_MAX >> 10);
        return unusable(registry, why);
    }
    let again = match helper {
        Some(program) => format!("renew the login that {program} has"),
        None => format!("log in again: {}", login(&registry, file)),
    };
    let remedy = format!("check the image's name, and {again}");
    RegistryAuth { registry, header, source, remedy, problem: None }
}

/// Credentials may exist, but cannot be used.
fn unusable(registry: Registry, problem: String) -> RegistryAuth {
    let problem = plain_line(&problem).into_owned();
    let source = format!("without credentials: {problem}");
    let remedy = "correct that; `plimsoll doctor` checks it".to_owned();
    RegistryAuth { registry, header: None, source, remedy, problem: Some(problem) }
}

fn nothing(registry: Registry, (source, file): (String, Option<PathBuf>)) -> RegistryAuth {
    let how = match file {
        Some(file) => login(&registry, &file),
        None => format!(
            "`docker {}` as the daemon's user, or put its file to {SYSTEM_FILE}, or name it in \
             docker.config",
            registry.login()
        ),
    };
    let remedy = format!("log in: {how}");
    RegistryAuth { registry, header: None, source, remedy, problem: None }
}

/// How to write this file anew. Docker's client writes `config.json` in any folder, and no other.
fn login(registry: &Registry, file: &Path) -> String {
    let login = registry.login();
    match (file.file_name(), file.parent()) {
        (Some(name), Some(folder)) if name == "config.json" => {
            format!("`docker --config {} {login}` as the daemon's user", folder.display())
        }
        _ => format!("`docker {login}`, and put its entry into {}", file.display()),
    }
}

#[cfg(test)]
mod tests;
