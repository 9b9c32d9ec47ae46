//! Files that are there, are not, or cannot be used, and what is said of each when a registry
//! refuses.

use std::fs;
use std::path::Path;

use crate::docker::credential_helper::tests::{CountingClock, HelperFolder};
use crate::docker::registry_auth::{FILE_MAX, HEADER_MAX, RegistryAuth, RegistryLogins};
use crate::model::base64;

const REFUSAL: &str = r#"Head "https://a:5/v2/web/manifests/1": unauthorized: incorrect"#;

fn look(folder: &HelperFolder, file: &Path) -> RegistryAuth {
    let clock = CountingClock::default();
    let logins = RegistryLogins::new(Some(file));
    logins.look_up_with("a:5/web:1", &folder.helpers(&clock, 10_000))
}

/// Who is asked for, or `anonymous`, and what is said of a refusal behind Docker's words.
#[track_caller]
fn check(folder: &HelperFolder, content: &[u8], user: &str, problem: &str, said: &str) {
    let file = folder.0.join("config.json");
    fs::write(&file, content).unwrap();
    let auth = look(folder, &file);
    let sent = auth.header.as_ref().map_or("anonymous".to_owned(), |header| {
        String::from_utf8(base64::decode(header.expose()).unwrap()).unwrap()
    });
    assert!(sent.contains(user), "{sent}");
    let shown = |text: &str| text.replace("FILE", &file.display().to_string());
    assert_eq!(auth.problem.clone().unwrap_or_default(), shown(problem));
    assert_eq!(auth.explain(REFUSAL), format!("{REFUSAL}; {}", shown(said)));
    assert_eq!(auth.explain("manifest unknown"), "manifest unknown");
    assert!(!format!("{auth:?} {}", auth.explain(REFUSAL)).contains("s3cret"));
}

#[test]
fn what_was_sent_is_said_when_a_registry_refuses() {
    let folder = HelperFolder::new("logins");
    let check = |content: &str, user: &str, problem: &str, said: &str| {
        check(&folder, content.as_bytes(), user, problem, said);
    };
    let (docker, correct) = ends(&folder);
    let again = format!("check the image's name, and log in again: {docker}");
    let login = format!("log in: {docker}");
    folder.add("gives", r#"echo '{"Username": "you", "Secret": "s3cret"}'"#);
    folder.add("knows-none", "echo 'credentials not found in native keychain'; exit 1");
    folder.add("fails", "echo 'no keyring'; exit 1");

    let me = r#"{"username": "me", "password": "s3cret"}"#;
    check(
        &format!(r#"{{"auths": {{"a:5": {me}}}}}"#),
        r#""username":"me","password":"s3cret""#,
        "",
        &format!("a:5 refused user \"me\" of FILE; {again}"),
    );
    check(
        r#"{"auths": {"a:5": {"identitytoken": "s3cret"}}}"#,
        r#""identitytoken":"s3cret""#,
        "",
        &format!("a:5 refused its identity token of FILE; {again}"),
    );
    check(
        r#"{"auths": {"a:5": {"username": "me", "password": "s3cret\n"}}}"#,
        r#""username":"me""#,
        "",
        &format!(
            "a:5 refused user \"me\" of FILE (the password ends in a line end, as of \
             `echo … | base64`; take `echo -n` or `docker login`); {again}"
        ),
    );
    check(
        &format!(r#"{{"auths": {{"b:5": {me}}}}}"#),
        "anonymous",
        "",
        &format!("a:5 was asked without credentials: FILE has none for it; {login}"),
    );
    check(
        r#"{"credHelpers": {"a:5": "gives"}}"#,
        r#""username":"you","password":"s3cret""#,
        "",
        "a:5 refused user \"you\" of docker-credential-gives, which FILE names; check the \
         image's name, and renew the login that docker-credential-gives has",
    );
    check(
        r#"{"credsStore": "knows-none"}"#,
        "anonymous",
        "",
        "a:5 was asked without credentials: docker-credential-knows-none, which FILE names, \
         has none for it; log in with docker-credential-knows-none, or remove it from that file",
    );
    let fails = "docker-credential-fails failed (exit status: 1): no keyring (FILE names it)";
    check(
        r#"{"credsStore": "fails"}"#,
        "anonymous",
        fails,
        &format!("a:5 was asked without credentials: {fails}; {correct}"),
    );
}

/// The sentences that a refusal ends in.
fn ends(folder: &HelperFolder) -> (String, &'static str) {
    let docker = format!("`docker --config {} login a:5` as the daemon's user", folder.0.display());
    (docker, "correct that; `plimsoll doctor` checks it")
}

#[test]
fn what_cannot_be_used_is_named_and_what_the_file_has_beside_it_is_taken() {
    let folder = HelperFolder::new("unusable");
    let check = |content: &str, user: &str, problem: &str, said: &str| {
        check(&folder, content.as_bytes(), user, problem, said);
    };
    let (docker, correct) = ends(&folder);
    let again = format!("check the image's name, and log in again: {docker}");
    let me = r#"{"username": "me", "password": "s3cret"}"#;
    folder.add("knows-none", "echo 'credentials not found in native keychain'; exit 1");
    // As on a host that got its file from a desktop.
    let path = folder.0.display();
    let desktop = format!("docker-credential-desktop is not in PATH ({path}) (FILE names it)");
    check(
        &format!(r#"{{"auths": {{"a:5": {me}}}, "credsStore": "desktop"}}"#),
        r#""username":"me""#,
        &desktop,
        &format!("a:5 refused user \"me\" of FILE; {again}"),
    );
    check(
        &format!(r#"{{"auths": {{"a:5": {me}}}, "credsStore": "knows-none"}}"#),
        r#""username":"me""#,
        "",
        &format!("a:5 refused user \"me\" of FILE; {again}"),
    );
    let wrong = "FILE: \"https://a:5\": `auth` is not base64; log in again with `docker login`";
    check(
        r#"{"auths": {"https://a:5": {"auth": "s3cret!"}}}"#,
        "anonymous",
        wrong,
        &format!("a:5 was asked without credentials: {wrong}; {correct}"),
    );
    let broken = "FILE is not JSON: expected value at line 1 column 11";
    check(
        r#"{"auths": s3cret}"#,
        "anonymous",
        broken,
        &format!("a:5 was asked without credentials: {broken}; {correct}"),
    );
}

#[test]
fn a_file_is_read_up_to_a_bound_and_nothing_else_is_waited_for() {
    let folder = HelperFolder::new("bound");
    let file = folder.0.join("config.json");
    let correct = "correct that; `plimsoll doctor` checks it";
    let of = |name: &str, content: usize| {
        let mut text = format!("{{\"auths\": {{\"a:5\": {{\"{name}\": \"me\"}}}}}}").into_bytes();
        text.resize(content, b' ');
        text
    };
    let size = usize::try_from(FILE_MAX).unwrap();
    let refused = format!(
        "a:5 refused user \"me\" of FILE; check the image's name, and log in again: `docker \
         --config {} login a:5` as the daemon's user",
        folder.0.display()
    );
    check(&folder, &of("username", size), "me", "", &refused);
    let large = "FILE is larger than 1024 KiB";
    let said = format!("a:5 was asked without credentials: {large}; {correct}");
    check(&folder, &of("username", size + 1), "anonymous", large, &said);

    let token = |length: usize| {
        format!(r#"{{"auths": {{"a:5": {{"registrytoken": "{}"}}}}}}"#, "t".repeat(length))
    };
    // Three quarters of the header, less the JSON around the token.
    let most = HEADER_MAX / 4 * 3 - r#"{"registrytoken":"","serveraddress":"a:5"}"#.len();
    for (length, is_sent) in [(most, true), (most + 1, false)] {
        fs::write(&file, token(length)).unwrap();
        let auth = look(&folder, &file);
        assert_eq!(auth.header.is_some(), is_sent, "{length}");
        let problem = auth.problem.unwrap_or_default();
        assert_eq!(problem.contains("is longer than 64 KiB"), !is_sent, "{problem}");
    }
    fs::remove_file(&file).unwrap();
    for (make, why) in [
        ("mkfifo", "cannot be read: it is not a regular file"),
        ("mkdir", "cannot be read: it is not a regular file"),
    ] {
        assert!(std::process::Command::new(make).arg(&file).status().unwrap().success());
        let auth = look(&folder, &file);
        assert_eq!(auth.problem, Some(format!("{} {why}", file.display())), "{make}");
        fs::remove_file(&file).or_else(|_| fs::remove_dir(&file)).unwrap();
    }
    let auth = look(&folder, &file);
    let said = format!("docker.config names {}, which does not exist", file.display());
    assert!(auth.problem.is_none() && auth.explain(REFUSAL).contains(&said), "{auth:?}");
    assert!(auth.explain(REFUSAL).contains("or name it in docker.config"));
}

#[test]
fn each_refusal_is_known_and_nothing_else_is_taken_for_one() {
    let folder = HelperFolder::new("refusals");
    let file = folder.0.join("config.json");
    let explained = |content: &str, message: &str| {
        fs::write(&file, content).unwrap();
        look(&folder, &file).explain(message)
    };
    for (message, is_one) in [
        (r#"Head "https://a:5/v2/web/manifests/1": no basic auth credentials"#, true),
        ("Get \"https://a:5/v2/\": unauthorized: authentication required", true),
        (
            "pull access denied for web, repository does not exist or may require 'docker login': \
             denied: requested access to the resource is denied",
            true,
        ),
        ("denied: permission_denied: read_package", true),
        ("denied: Permission \"artifactregistry.repositories.downloadArtifacts\" denied", true),
        ("error parsing HTTP 403 response body: invalid character: \"Forbidden\"", true),
        (
            "pull access denied, repository does not exist or may require authorization: server \
          message: insufficient_scope: authorization failed",
            true,
        ),
        ("received unexpected HTTP status: 403 Forbidden", true),
        ("received unexpected HTTP status: 401 Unauthorized", true),
        ("manifest for a:5/web:1 not found: manifest unknown: manifest unknown", false),
        (
            "cannot reach Docker at /var/run/docker.sock: permission denied (is this user in group \
          docker?)",
            false,
        ),
        ("failed to register layer: mkdir /x: permission denied", false),
        ("dial tcp 127.0.0.1:5: connect: connection refused", false),
        ("x509: certificate signed by unknown authority", false),
        ("no progress for 120 s", false),
    ] {
        let with = explained(r#"{"auths": {"a:5": {"username": "me"}}}"#, message);
        let is_said = with.contains("a:5 refused user \"me\" of ");
        assert_eq!(is_said, is_one, "{message}: {with}");
        let without = explained("", message);
        let is_said = without.contains("a:5 was asked without credentials: ");
        assert_eq!(is_said, is_one, "{message}: {without}");
    }
    let limit = "toomanyrequests: You have reached your unauthenticated pull rate limit.";
    let with = explained(r#"{"auths": {"a:5": {"username": "me"}}}"#, limit);
    assert!(with.ends_with(&format!("a:5 was asked as user \"me\" of {}", file.display())));
    let login = format!("log in: `docker --config {} login a:5`", folder.0.display());
    assert!(explained("{}", limit).contains(&login));
}
