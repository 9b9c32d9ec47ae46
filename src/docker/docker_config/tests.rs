//! Kinds of keys, of entries and of broken files.

use crate::docker::docker_config::{Credential, DockerLogins, Found, Registry};
use crate::model::base64;

fn parsed(text: &str) -> DockerLogins {
    DockerLogins::parse(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"))
}

/// The header's JSON, or what else was found.
fn sent(file: &DockerLogins, image: &str) -> String {
    let json = |credential: &Credential| {
        let header = credential.header().unwrap();
        String::from_utf8(base64::decode(header.expose()).unwrap()).unwrap()
    };
    match file.find(&Registry::of(image)) {
        Found::Nothing => String::new(),
        Found::Credential(found) => json(&found),
        Found::Wrong { key, why } => format!("{key}: {why}"),
        Found::Helper { name, stored } => {
            format!("{name} {}", stored.as_ref().map(json).unwrap_or_default())
        }
    }
}

#[test]
fn an_image_names_its_registry_as_for_docker() {
    for (image, host, key) in [
        ("web", "docker.io", "https://index.docker.io/v1/"),
        ("web:1", "docker.io", "https://index.docker.io/v1/"),
        ("me/web:1", "docker.io", "https://index.docker.io/v1/"),
        ("docker.io/me/web", "docker.io", "https://index.docker.io/v1/"),
        ("index.docker.io/me/web", "docker.io", "https://index.docker.io/v1/"),
        ("registry-1.docker.io/me/web", "docker.io", "https://index.docker.io/v1/"),
        ("a.example/web", "a.example", "a.example"),
        ("a.example:5000/x/web:1", "a.example:5000", "a.example:5000"),
        ("a:5000/web@sha256:ab", "a:5000", "a:5000"),
        ("localhost/web", "localhost", "localhost"),
        ("localhost:5000/web", "localhost:5000", "localhost:5000"),
        ("127.0.0.1:5000/web", "127.0.0.1:5000", "127.0.0.1:5000"),
        ("[::1]:5000/web", "[::1]:5000", "[::1]:5000"),
        ("Reg/web", "Reg", "Reg"),
        ("mirror/docker.io/web", "docker.io", "https://index.docker.io/v1/"),
    ] {
        let registry = Registry::of(image);
        assert_eq!((registry.host(), registry.key()), (host, key), "{image}");
    }
    assert_eq!(Registry::of("web").login(), "login");
    assert_eq!(Registry::of("a:5000/web").login(), "login a:5000");
}

#[test]
fn each_way_to_write_a_registry_is_understood() {
    let hub = "me/web";
    let own = "a.example:5000/team/web:1";
    for (key, image, fits) in [
        ("https://index.docker.io/v1/", hub, true),
        ("index.docker.io", hub, true),
        ("docker.io", hub, true),
        ("https://docker.io", hub, true),
        ("registry-1.docker.io", hub, true),
        ("https://registry-1.docker.io/v2/", hub, true),
        ("docker.io/me", hub, true),
        ("http://index.docker.io/v1", hub, true),
        ("https://index.docker.io/v1/access-token", hub, false),
        ("https://index.docker.io/v1/refresh-token", hub, false),
        ("hub.docker.com", hub, false),
        ("docker.io.example", hub, false),
        ("", hub, false),
        ("a.example:5000", own, true),
        ("A.Example:5000", own, true),
        ("https://a.example:5000", own, true),
        ("http://a.example:5000", own, true),
        ("https://a.example:5000/v1/", own, true),
        ("https://a.example:5000/v2/", own, true),
        ("a.example:5000/team", own, true),
        ("a.example:5000/other", own, true),
        ("a.example", own, false),
        ("a.example:443", own, false),
        ("b.example:5000", own, false),
        ("a.example:50000", own, false),
        ("https://b.example/a.example:5000", own, false),
        ("a.example:5000@b.example", own, false),
        ("https://index.docker.io/v1/", own, false),
        ("a.example", "a.example/web", true),
        ("https://a.example", "a.example/web", true),
        ("a.example:5000", "a.example/web", false),
    ] {
        let file = parsed(&format!(r#"{{"auths": {{"{key}": {{"username": "me"}}}}}}"#));
        assert_eq!(!sent(&file, image).is_empty(), fits, "{key} for {image}");
        let file = parsed(&format!(r#"{{"credHelpers": {{"{key}": "x"}}}}"#));
        assert_eq!(!sent(&file, image).is_empty(), fits, "helper of {key} for {image}");
    }
}

#[test]
fn of_several_entries_the_one_that_fits_best_is_taken() {
    for (keys, image, want) in [
        (&["docker.io", "https://index.docker.io/v1/"][..], "web", 1),
        (&["https://index.docker.io/v1/access-token", "docker.io"], "web", 1),
        (&["https://a.example/v1/", "a.example"], "a.example/x/web", 1),
        (&["a.example/x", "a.example"], "a.example/x/web", 1),
        (&["a.example/x", "https://a.example"], "a.example/x/web", 0),
        (&["a.example/x", "https://a.example"], "a.example/y/web", 1),
        (&["a.example/x", "https://a.example"], "a.example/xy/web", 1),
        (&["a.example/x", "a.example/x/web", "a.example/x/we"], "a.example/x/web:1", 1),
        (&["a.example/z", "a.example/y"], "a.example/x/web", 1),
    ] {
        let entry = |(i, key): (usize, &&str)| format!(r#""{key}": {{"username": "u{i}"}}"#);
        let entries: Vec<String> = keys.iter().enumerate().map(entry).collect();
        let file = parsed(&format!(r#"{{"auths": {{{}}}}}"#, entries.join(", ")));
        let user = format!("\"u{want}\"");
        let sent = sent(&file, image);
        assert!(sent.contains(&user), "{keys:?} for {image}: {sent}");
    }
}

#[test]
fn each_kind_of_credentials_is_sent_in_dockers_words() {
    let encoded = |plain: &str| base64::encode(plain.as_bytes());
    let url = base64::encode_url(b"me:?>~?>~");
    for (entry, want) in [
        ("{}".to_owned(), ""),
        ("null".to_owned(), ""),
        (r#"{"auth": ""}"#.to_owned(), ""),
        (r#"{"email": "me@a.example"}"#.to_owned(), ""),
        (format!(r#"{{"auth": "{}"}}"#, encoded("me:s3")), r#""username":"me","password":"s3","#),
        (format!(r#"{{"auth": "{}"}}"#, encoded("me:a:b")), r#""username":"me","password":"a:b","#),
        (format!(r#"{{"auth": "{}"}}"#, encoded("me:")), r#""username":"me","#),
        (format!(r#"{{"auth": "{}"}}"#, encoded("me:a\0\0")), r#""username":"me","password":"a","#),
        (format!(r#"{{"auth": "{url}"}}"#), r#""username":"me","password":"?>~?>~","#),
        (
            format!(r#"{{"auth": "{}", "username": "x", "password": "y"}}"#, encoded("me:s3")),
            r#""username":"me","password":"s3","#,
        ),
        (
            r#"{"username": "me", "password": "s3"}"#.to_owned(),
            r#""username":"me","password":"s3","#,
        ),
        (
            r#"{"Username": "me", "PASSWORD": "s3"}"#.to_owned(),
            r#""username":"me","password":"s3","#,
        ),
        (
            format!(r#"{{"auth": "{}", "identitytoken": "t0"}}"#, encoded("0000:")),
            r#""username":"0000","identitytoken":"t0","#,
        ),
        (r#"{"identityToken": "t0"}"#.to_owned(), r#""identitytoken":"t0","#),
        (r#"{"registrytoken": "t1"}"#.to_owned(), r#""registrytoken":"t1","#),
    ] {
        let file = parsed(&format!(r#"{{"auths": {{"https://a.example/v1/": {entry}}}}}"#));
        let want = match want {
            "" => String::new(),
            fields => format!(r#"{{{fields}"serveraddress":"a.example"}}"#),
        };
        assert_eq!(sent(&file, "a.example/web"), want, "{entry}");
        assert_eq!(sent(&file, "b.example/web"), "", "{entry}");
    }
}

#[test]
fn an_entry_that_cannot_be_read_is_named_without_its_values_and_hinders_no_other() {
    let b64 = |plain: &[u8]| base64::encode(plain);
    for (entry, want) in [
        (r#""s3cret""#.to_owned(), "the entry must be an object whose values are texts"),
        (r#"{"auth": 5}"#.to_owned(), "the entry must be an object whose values are texts"),
        (
            r#"{"password": ["s3cret"]}"#.to_owned(),
            "the entry must be an object whose values are texts",
        ),
        (r#"{"auth": "s3cret!"}"#.to_owned(), "`auth` is not base64"),
        (r#"{"auth": "me:s3cret"}"#.to_owned(), "`auth` is not base64"),
        (format!(r#"{{"auth": "{}"}}"#, b64(b"s3cret")), "must be the base64 of USER:PASSWORD"),
        (format!(r#"{{"auth": "{}"}}"#, b64(b":s3cret")), "must be the base64 of USER:PASSWORD"),
        (format!(r#"{{"auth": "{}"}}"#, b64(b"me:\xff")), "must be the base64 of USER:PASSWORD"),
    ] {
        let good = r#""b.example": {"username": "me"}"#;
        let file = parsed(&format!(r#"{{"auths": {{"a.example": {entry}, {good}}}}}"#));
        let shown = sent(&file, "a.example/web");
        assert!(shown.contains(want) && shown.starts_with("a.example: "), "{entry}: {shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(sent(&file, "b.example/web").contains(r#""me""#), "{entry}");
        let (good, wrong) = file.entries();
        assert_eq!((good, wrong.len()), (vec!["b.example"], 1), "{entry}");
    }
    let ended = format!(r#"{{"auths": {{"a": {{"auth": "{}"}}}}}}"#, b64(b"me:s3cret\n"));
    let ended = parsed(&ended);
    assert!(ended.entries().1[0].1.contains("line end"));
    let patterns = r#"{"auths": {"*.a": {"username": "me"}}, "credHelpers": {"*.b": "x"}}"#;
    let patterns = parsed(patterns);
    let (good, wrong) = patterns.entries();
    let keys: Vec<&str> = wrong.iter().map(|(key, _)| *key).collect();
    assert_eq!((good, keys), (vec![], vec!["*.a", "*.b"]));
}

#[test]
fn helpers_are_chosen_as_docker_does() {
    let stored = r#""auths": {"a.example": {"username": "me"}, "b.example": {}}"#;
    for (rest, image, want) in [
        ("", "a.example/web", "me"),
        (r#""credsStore": "desktop""#, "a.example/web", "desktop me"),
        (r#""credsStore": "desktop""#, "b.example/web", "desktop "),
        (r#""credsStore": "desktop""#, "c.example/web", "desktop "),
        (r#""credsStore": """#, "a.example/web", "me"),
        (r#""credsStore": null"#, "a.example/web", "me"),
        (r#""credHelpers": {"c.example": "ecr"}"#, "c.example/web", "ecr "),
        (r#""credHelpers": {"c.example": "ecr"}"#, "a.example/web", "me"),
        (r#""credHelpers": {"https://c.example": "ecr"}"#, "c.example/web", "ecr "),
        (
            r#""credsStore": "desktop", "credHelpers": {"c.example": "ecr"}"#,
            "c.example/web",
            "ecr ",
        ),
        (r#""credsStore": "desktop", "credHelpers": {"c.example": "ecr"}"#, "web", "desktop "),
        (r#""credsStore": "desktop", "credHelpers": {"a.example": ""}"#, "a.example/web", "me"),
        (r#""credHelpers": {"docker.io": "pass"}"#, "web", "pass "),
        // A star stands for nothing in Docker's file.
        (r#""credHelpers": {"*.example": "ecr"}"#, "c.example/web", ""),
    ] {
        let comma = if rest.is_empty() { "" } else { ", " };
        let file = parsed(&format!("{{{stored}{comma}{rest}}}"));
        let found = match file.find(&Registry::of(image)) {
            Found::Helper { name, stored } => {
                format!("{name} {}", stored.map(|stored| stored.username).unwrap_or_default())
            }
            Found::Credential(stored) => stored.username,
            Found::Nothing | Found::Wrong { .. } => String::new(),
        };
        assert_eq!(found, want, "{rest} for {image}");
    }
    let file = r#"{"credsStore": "b", "credHelpers": {"x": "c", "y": "a", "z": "a", "w": ""}}"#;
    assert_eq!(parsed(file).helper_names(), ["a", "b", "c"]);
}

#[test]
fn a_helpers_answer_is_a_password_or_a_token() {
    let of = |answer: &str| Credential::of_helper(answer.as_bytes(), &Registry::of("web"));
    let server = r#""serveraddress":"https://index.docker.io/v1/""#;
    for (answer, want) in [
        (
            r#"{"ServerURL": "x", "Username": "me", "Secret": "s3"}"#,
            Some(r#""username":"me","password":"s3","#),
        ),
        (r#"{"Username": "<token>", "Secret": "t0"}"#, Some(r#""identitytoken":"t0","#)),
        (
            r#"{"username": "me", "secret": "s3"} trailing"#,
            Some(r#""username":"me","password":"s3","#),
        ),
        (r#"{"Secret": "s3"}"#, Some(r#""password":"s3","#)),
        (r#"{"Username": "me", "Secret": ""}"#, None),
        (r#"{"Username": "me"}"#, None),
        (r#"{"Username": "me", "Secret": 5}"#, None),
        ("{}", None),
        ("[]", None),
        ("", None),
        ("s3cret", None),
    ] {
        let header = of(answer).map(|found| {
            let header = found.header().unwrap();
            String::from_utf8(base64::decode(header.expose()).unwrap()).unwrap()
        });
        assert_eq!(header, want.map(|fields| format!("{{{fields}{server}}}")), "{answer}");
    }
}

#[test]
fn the_header_is_base64_for_addresses_with_padding() {
    let file = parsed(r#"{"auths": {"a.b": {"username": "~~~>>>", "password": "???ÿ"}}}"#);
    let Found::Credential(found) = file.find(&Registry::of("a.b/web")) else { panic!("none") };
    let header = found.header().unwrap();
    let header = header.expose();
    assert!(header.contains(['-', '_']) && !header.contains(['+', '/']), "{header}");
    assert_eq!(header.len() % 4, 0, "{header}");
}

#[test]
fn a_broken_file_is_refused_with_the_place_and_no_value() {
    for (text, want) in [
        ("", ""),
        ("  \n", ""),
        ("{}", ""),
        ("\u{feff}{}", ""),
        ("{} behind it", ""),
        (r#"{"auths": null, "credsStore": null, "psFormat": "x"}"#, ""),
        ("{", "is not JSON: EOF while parsing an object at line 1 column 1"),
        (
            "{\n  \"auths\": {\"a\": {\"auth\": \"s3cret\"},}\n}",
            "is not JSON: trailing comma at line 2 column 37",
        ),
        (
            "{\n  \"auths\": {\"a\": {\"auth\": s3cret}}\n}",
            "is not JSON: expected value at line 2 column 27",
        ),
        ("s3cret", "is not JSON: expected value at line 1 column 1"),
        ("[\"s3cret\"]", "must be an object"),
        (r#"{"auths": "s3cret"}"#, "`auths` must be an object with a registry for each key"),
        (r#"{"auths": ["s3cret"]}"#, "`auths` must be an object"),
        (r#"{"credHelpers": ["s3cret"]}"#, "`credHelpers` must be an object"),
        (r#"{"credHelpers": {"a": 5}}"#, "`credHelpers` must be the end of the name"),
        (r#"{"credsStore": {"a": "s3cret"}}"#, "`credsStore` must be the end of the name"),
        (r#"{"credsStore": "../s3cret"}"#, "`credsStore` must be the end of a program's name"),
        (r#"{"credHelpers": {"a": "/bin/s3cret"}}"#, "without `/`"),
    ] {
        let why = DockerLogins::parse(text.as_bytes()).err().unwrap_or_default();
        assert!(why.contains(want) && why.is_empty() == want.is_empty(), "{text}: {why:?}");
        assert!(!why.contains("s3cret"), "{why}");
    }
    let deep = "[".repeat(100_000);
    assert!(DockerLogins::parse(deep.as_bytes()).is_err());
}

#[test]
fn no_secret_is_printed() {
    let file = parsed(r#"{"auths": {"a.example": {"username": "me", "password": "s3cret"}}}"#);
    let found = file.find(&Registry::of("a.example/web"));
    let shown = format!("{found:?}");
    assert!(shown.contains("me") && !shown.contains("s3cret"), "{shown}");
}
