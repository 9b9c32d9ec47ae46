//! The file that `docker login` writes (`config.json`), as far as it is about registries, and which
//! of its entries is for an image's registry.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::base64;
use crate::model::secret::Secret;

/// Docker Hub, by every name that a client or a file has for it.
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// The key that `docker login` writes for Docker Hub, and that helpers know it by.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Docker's client keeps tokens for itself under keys with these ends.
const TOKEN_KEYS: [&str; 2] = ["/access-token", "/refresh-token"];
/// A helper gives this as the user if the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// The registry that an image is pulled from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Registry {
    /// Host and perhaps port, as in the image's name; `docker.io` for Docker Hub.
    host: String,
    /// The image's name without registry, tag and digest.
    repository: String,
}

impl Registry {
    /// As Docker does: what stands before the first slash is a host if it cannot be anything else.
    pub(crate) fn of(image: &str) -> Registry {
        let name = image.split_once('@').map_or(image, |(name, _)| name);
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            Some(_) | None => (HUB_HOSTS[0], name),
        };
        let host = if HUB_HOSTS.contains(&host) { HUB_HOSTS[0] } else { host };
        let repository = path.rsplit_once(':').map_or(path, |(path, _)| path);
        Registry { host: host.to_owned(), repository: repository.to_owned() }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether both name one repository: Docker Hub's own ones are written with or without a
    /// folder.
    pub(crate) fn is_same(&self, other: &Registry) -> bool {
        let own = |registry: &Registry| {
            let short = registry.repository.strip_prefix("library/").filter(|_| registry.is_hub());
            short.unwrap_or(&registry.repository).to_owned()
        };
        self.host == other.host && own(self) == own(other)
    }

    fn is_hub(&self) -> bool {
        self.host == HUB_HOSTS[0]
    }

    /// What Docker's client calls it in its file, and asks a helper for.
    pub(crate) fn key(&self) -> &str {
        if self.is_hub() { HUB_KEY } else { &self.host }
    }

    /// The arguments of `docker` for a login that writes `key`.
    pub(crate) fn login(&self) -> String {
        if self.is_hub() { "login".to_owned() } else { format!("login {}", self.host) }
    }

    fn has_host(&self, host: &str) -> bool {
        let is_hub = HUB_HOSTS.iter().any(|name| name.eq_ignore_ascii_case(host));
        if self.is_hub() { is_hub } else { self.host.eq_ignore_ascii_case(host) }
    }

    /// How well a key of the file fits; `None`: it is for another registry. Docker's client takes
    /// the exact key, else any of the same host; which one is left to chance there. Here the
    /// longest path that the image is below comes first, as podman has it, then a key without one.
    fn fit(&self, key: &str) -> Option<Fit> {
        if key == self.key() {
            return Some(Fit::Exact);
        }
        let (host, path) = host_and_path(key);
        if !self.has_host(host) || TOKEN_KEYS.iter().any(|end| key.ends_with(end)) {
            return None;
        }
        let is_below = |path: &str| {
            let rest = self.repository.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        Some(match path.trim_matches('/') {
            "" | "v1" | "v2" => Fit::Host,
            path if is_below(path) => Fit::Path(path.len()),
            _ => Fit::OtherPath,
        })
    }

    /// The value whose key fits best; of two that fit alike, the first in the order of the keys.
    fn best<'f, T>(&self, of: &'f BTreeMap<String, T>) -> Option<(&'f str, &'f T)> {
        let fits = of.iter().filter_map(|(key, value)| Some((self.fit(key)?, key, value)));
        let best = fits.reduce(|best, next| if best.0 < next.0 { next } else { best });
        best.map(|(_, key, value)| (key.as_str(), value))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    OtherPath,
    Host,
    Path(usize),
    Exact,
}

fn is_host(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// Of `HOST`, `HOST:PORT/path` and `http(s)://HOST/path`.
fn host_and_path(key: &str) -> (&str, &str) {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (place.rsplit('@').next().unwrap_or_default(), path)
}

/// What is sent to Docker, in its own words. Empty fields are left out, as its client does.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Credential {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    password: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    registrytoken: String,
    /// Docker sends the rest to no other host, so this is the registry and not the file's key.
    #[serde(skip_serializing_if = "String::is_empty")]
    serveraddress: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credential {
    /// Of a helper's answer; `None`: it is not one. `{"ServerURL", "Username", "Secret"}`.
    pub(crate) fn of_helper(answer: &[u8], registry: &Registry) -> Option<Credential> {
        let Ok(Value::Object(answer)) = first_value(answer) else { return None };
        let user = text(&answer, "username").unwrap_or_default();
        let secret = text(&answer, "secret").filter(|secret| !secret.is_empty())?;
        let mut out = Credential { serveraddress: registry.key().to_owned(), ..Default::default() };
        if user == TOKEN_USER {
            out.identitytoken = secret;
        } else {
            (out.username, out.password) = (user, secret);
        }
        Some(out)
    }

    /// The value of the header `X-Registry-Auth`.
    pub(crate) fn header(&self) -> Option<Secret> {
        let json = serde_json::to_vec(self).ok()?;
        Some(Secret::new(base64::encode_url(&json)))
    }

    /// Whose it is: a user, or a token that has none.
    pub(crate) fn owner(&self) -> String {
        match self.username.as_str() {
            _ if !self.identitytoken.is_empty() => "its identity token".to_owned(),
            _ if !self.registrytoken.is_empty() => "its registry token".to_owned(),
            user => format!("user {user:?}"),
        }
    }

    /// `echo PASSWORD | base64` has the end of the line in it.
    pub(crate) fn ends_in_line_end(&self) -> bool {
        self.password.ends_with(['\n', '\r'])
    }
}

/// One entry of `auths`.
#[derive(Clone, PartialEq, Eq)]
enum StoredEntry {
    /// No credentials: they are with a helper, or there was a logout.
    Empty,
    Credential(Credential),
    /// What is wrong, without any value of the entry.
    Wrong(&'static str),
}

/// What the file says about one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Credential(Credential),
    /// `key` is the entry that cannot be used.
    Wrong {
        key: String,
        why: &'static str,
    },
    /// The credentials are with the program `docker-credential-NAME`. `stored` are those that the
    /// file has beside it: Docker's client ignores them.
    Helper {
        name: String,
        stored: Option<Credential>,
    },
}

/// The parsed file.
#[derive(Clone, Default)]
pub(crate) struct DockerLogins {
    auths: BTreeMap<String, StoredEntry>,
    /// By registry, names of helpers. An empty name: none, whatever the store is.
    helpers: BTreeMap<String, String>,
    /// The helper for all other registries.
    store: Option<String>,
}

impl DockerLogins {
    /// An error has no value of the file in it, since any may be a secret.
    pub(crate) fn parse(bytes: &[u8]) -> Result<DockerLogins, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        // As in Docker's client, an empty file has no logins.
        if bytes.trim_ascii().is_empty() {
            return Ok(DockerLogins::default());
        }
        let file = match first_value(bytes) {
            Ok(Value::Object(file)) => file,
            Ok(_) => return Err("must be an object: {\"auths\": {…}}".to_owned()),
            Err(err) => return Err(format!("is not JSON: {err}")),
        };
        let object = |key: &str| match field(&file, key) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(of)) => Ok(of.clone()),
            Some(_) => Err(format!("`{key}` must be an object with a registry for each key")),
        };
        let name = |key: &str, value: &Value| match value {
            Value::Null => Ok(String::new()),
            Value::String(name) if name.contains('/') => {
                Err(format!("`{key}` must be the end of a program's name, without `/`"))
            }
            Value::String(name) => Ok(name.clone()),
            _ => {
                Err(format!("`{key}` must be the end of the name of a docker-credential-… program"))
            }
        };
        let auths = object("auths")?;
        let auths =
            auths.into_iter().map(|(key, value)| (key, StoredEntry::read(&value))).collect();
        let helpers = object("credHelpers")?.into_iter();
        let helpers = helpers.map(|(key, value)| Ok((key, name("credHelpers", &value)?)));
        let helpers = helpers.collect::<Result<_, String>>()?;
        let store =
            field(&file, "credsStore").map(|value| name("credsStore", value)).transpose()?;
        Ok(DockerLogins { auths, helpers, store: store.filter(|name| !name.is_empty()) })
    }

    pub(crate) fn find(&self, registry: &Registry) -> Found {
        let stored = self.stored(registry);
        // A helper that the file names for this registry, else the one for all.
        let own = registry.best(&self.helpers).map(|(_, name)| name.clone());
        match own.or(self.store.clone()).filter(|name| !name.is_empty()) {
            Some(name) => {
                let stored = match stored {
                    Found::Credential(stored) => Some(stored),
                    _ => None,
                };
                Found::Helper { name, stored }
            }
            None => stored,
        }
    }

    fn stored(&self, registry: &Registry) -> Found {
        match registry.best(&self.auths) {
            None | Some((_, StoredEntry::Empty)) => Found::Nothing,
            Some((key, StoredEntry::Wrong(why))) => Found::Wrong { key: key.to_owned(), why },
            Some((_, StoredEntry::Credential(stored))) => {
                let serveraddress = registry.key().to_owned();
                Found::Credential(Credential { serveraddress, ..stored.clone() })
            }
        }
    }

    /// Every helper that the file names, once.
    pub(crate) fn helper_names(&self) -> Vec<&str> {
        let all = self.helpers.values().chain(&self.store).map(String::as_str);
        let mut names: Vec<&str> = all.filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Registries whose entry has credentials, and those whose entry is wrong, with the reason.
    pub(crate) fn entries(&self) -> (Vec<&str>, Vec<(&str, &'static str)>) {
        let mut good = Vec::new();
        let mut wrong = Vec::new();
        for (key, entry) in &self.auths {
            match entry {
                StoredEntry::Empty => (),
                StoredEntry::Wrong(why) => wrong.push((key.as_str(), *why)),
                StoredEntry::Credential(_) if key.contains('*') => wrong.push((key, PATTERN)),
                StoredEntry::Credential(stored) if stored.ends_in_line_end() => {
                    wrong.push((key, LINE_END));
                }
                StoredEntry::Credential(_) => good.push(key.as_str()),
            }
        }
        let patterns = self.helpers.keys().filter(|key| key.contains('*'));
        wrong.extend(patterns.map(|key| (key.as_str(), PATTERN)));
        (good, wrong)
    }
}

/// Podman has them, Docker has not.
const PATTERN: &str = "is for no registry: Docker knows no `*`; name each registry";
pub(crate) const LINE_END: &str =
    "the password ends in a line end, as of `echo … | base64`; take `echo -n` or `docker login`";
const NOT_BASE64: &str = "`auth` is not base64; log in again with `docker login`";
const NO_USER: &str = "`auth` must be the base64 of USER:PASSWORD";
const NOT_TEXT: &str = "the entry must be an object whose values are texts";

impl StoredEntry {
    fn read(value: &Value) -> StoredEntry {
        let entry = match value {
            Value::Null => return StoredEntry::Empty,
            Value::Object(entry) => entry,
            _ => return StoredEntry::Wrong(NOT_TEXT),
        };
        let is_text =
            |key: &&str| matches!(field(entry, key), None | Some(Value::Null | Value::String(_)));
        let keys = ["auth", "username", "password", "identitytoken", "registrytoken"];
        if !keys.iter().all(is_text) {
            return StoredEntry::Wrong(NOT_TEXT);
        }
        let of = |key: &str| text(entry, key).unwrap_or_default();
        let mut stored = Credential {
            username: of("username"),
            password: of("password"),
            identitytoken: of("identitytoken"),
            registrytoken: of("registrytoken"),
            serveraddress: String::new(),
        };
        let auth = of("auth");
        if !auth.is_empty() {
            match user_and_password(&auth) {
                Ok((user, password)) => (stored.username, stored.password) = (user, password),
                Err(why) => return StoredEntry::Wrong(why),
            }
        }
        match stored == Credential::default() {
            true => StoredEntry::Empty,
            false => StoredEntry::Credential(stored),
        }
    }
}

/// The password may have colons of its own.
fn user_and_password(auth: &str) -> Result<(String, String), &'static str> {
    let bytes = base64::decode(auth).ok_or(NOT_BASE64)?;
    let plain = String::from_utf8(bytes).map_err(|_| NO_USER)?;
    match plain.split_once(':') {
        // Old clients padded with zeros.
        Some((user, password)) if !user.is_empty() => {
            Ok((user.to_owned(), password.trim_matches('\0').to_owned()))
        }
        Some(_) | None => Err(NO_USER),
    }
}

/// What follows the first value is ignored, as Docker's client does.
fn first_value(bytes: &[u8]) -> serde_json::Result<Value> {
    Value::deserialize(&mut serde_json::Deserializer::from_slice(bytes))
}

/// The case of a key does not matter, as in Go; the exact one comes first.
fn field<'v>(of: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    let alike = || of.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, v)| v);
    of.get(key).or_else(alike)
}

fn text(of: &Map<String, Value>, key: &str) -> Option<String> {
    field(of, key).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests;
