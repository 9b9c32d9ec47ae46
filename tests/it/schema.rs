//! `contrib/config.schema.json`, which editors go by, against the program: it knows the same keys,
//! refuses nothing that `check` accepts, and as much of the rest as a schema can.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boon::{Compiler, SchemaIndex, Schemas};
use jsonc_parser::ast::Value as Ast;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Map, Number, Value, json};

use crate::daemon::{Dir, PLIMSOLL};
use crate::quickref::event_words;

const SCHEMA: &str = "contrib/config.schema.json";
/// No key is near it.
const NO_KEY: &str = "zzzzzzzzzzzzzzzzzzzzzzzz";
/// Objects whose keys are the operator's own.
const FREE: [&str; 12] = [
    "services",
    "environment",
    "extra_hosts",
    "options",
    "sysctls",
    "ulimits",
    "headers",
    "labels",
    "frontends",
    "users",
    "request_headers",
    "response_headers",
];

/// Bad files that are good by the schema, and what it cannot say.
const BEYOND: &[(&str, &[&str])] = &[
    ("whether a key stands twice", &["environment-twice", "service-name-twice"]),
    (
        "how two values compare",
        &[
            "bounds-crossed",
            "environment-list-twice",
            "frontend-default",
            "frontend-default-tcp",
            "frontend-listen-taken",
            "frontend-redirect-alone",
            "frontend-stats",
            "health-expect-order",
            "hooks-swarm",
            "forecast-history-off",
            "hours-outside-over-max",
            "metrics-twice",
            "notifications-of-others",
            "health-timeout-over-interval",
            "listen-taken",
            "load-balancer-base-same",
            "load-balancer-same-file",
            "load-balancer-none-metric",
            "load-balancer-stats-listen",
            "policy-source-safe",
            "policy-sticky-config",
            "policy-tcp",
            "route-frontend",
            "route-no-frontends",
            "route-twice",
            "schedule-bounds",
            "schedule-name-twice",
            "sleep-page-over-timeout",
            "sleep-page-tcp",
            "sleep-timeout-over-server",
            "sysctl-twice",
            "thresholds-crossed",
            "tmpfs-twice",
            "ulimit-order",
        ],
    ),
    (
        "how long the span or how big the size is that a text stands for",
        &[
            "autoscaler-history",
            "autoscaler-interval-range",
            "behavior-policy-period",
            "behavior-stabilization",
            "cooldown-range",
            "docker-timeout-range",
            "drain-timeout-range",
            "forecast-horizon",
            "health-interval-range",
            "health-start-period",
            "image-updates-check",
            "memory-little",
            "notifications-every-range",
            "proxy-hard-stop-range",
            "proxy-reload-interval-range",
            "schedule-prewarm",
            "sleep-page-range",
            "sleep-timeout-range",
        ],
    ),
    (
        "what a text holds, begins or ends with, or that a list is empty",
        &[
            "behavior-policies-empty",
            "hooks-blank",
            "image-updates-digest",
            "label-compose",
            "networks-host",
            "notifications-chat-id-name",
            "notifications-ntfy-topic",
            "notifications-telegram-bot",
        ],
    ),
    (
        "what is an address, and who reaches it",
        &[
            "docker-socket-blank",
            "docker-tcp-brackets",
            "docker-tcp-name",
            "docker-tcp-path",
            "docker-tcp-port",
            "docker-tcp-public",
            "docker-tcp-unspecified",
            "docker-tcp-user",
            "docker-tls-unix",
        ],
    ),
    (
        "what is part of HAProxy's expressions, and how many segments a path has",
        &["frontend-config-path", "route-strip"],
    ),
    // By `multipleOf`, 0.07 would be refused as well: editors divide in floating point.
    ("how many decimals a number has", &["cpus-decimals"]),
    (
        "what is in files and in the environment",
        &[
            "api-token-file-absent",
            "api-token-file-folder",
            "env-file-absent",
            "env-file-behind",
            "env-file-brace",
            "env-file-dollar",
            "env-file-name",
            "env-file-nul",
            "env-file-open",
            "env-file-operator",
            "env-file-unset",
            "environment-file-absent",
            "seccomp-absent",
            "seccomp-no-json",
            "variable-absent",
            "variable-name",
            "variable-open",
        ],
    ),
    ("what a template says", &["notifications-template"]),
    (
        "what is an address, a capability, a signal, and an option of a file system in memory",
        &["cap-name", "extra-hosts-address", "extra-hosts-map", "stop-signal", "tmpfs-option"],
    ),
    ("which time zones there are", &["hours-zone-city", "hours-zone-far", "hours-zone-near"]),
];

struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new() -> Schema {
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler.add_resource("http://plimsoll/schema", document()).unwrap();
        let index = compiler.compile("http://plimsoll/schema", &mut schemas).unwrap();
        Schema { schemas, index }
    }

    fn refusal(&self, config: &Value) -> Option<String> {
        self.schemas.validate(config, self.index).err().map(|err| err.to_string())
    }
}

fn document() -> Value {
    serde_json::from_str(&fs::read_to_string(SCHEMA).unwrap()).unwrap()
}

fn value(ast: &Ast) -> Value {
    match ast {
        Ast::StringLit(text) => Value::from(text.value.as_ref()),
        Ast::NumberLit(number) => Value::Number(number.value.parse::<Number>().unwrap()),
        Ast::BooleanLit(boolean) => Value::from(boolean.value),
        Ast::NullKeyword(_) => Value::Null,
        Ast::Array(list) => list.elements.iter().map(value).collect(),
        Ast::Object(object) => {
            let pair =
                |p: &jsonc_parser::ast::ObjectProp| (p.name.as_str().to_owned(), value(&p.value));
            Value::Object(object.properties.iter().map(pair).collect())
        }
    }
}

/// `None`: it is no JSON, comments and trailing commas or not.
fn read(file: &Path) -> Option<Value> {
    let text = fs::read_to_string(file).unwrap();
    let options = ParseOptions {
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        ..ParseOptions::default()
    };
    let parsed = parse_to_ast(&text, &CollectOptions::default(), &options).ok()?;
    parsed.value.as_ref().map(value)
}

fn configs(dir: &str) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let json = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
    let named = json.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path));
    let mut files: Vec<_> = named.collect();
    files.sort();
    files
}

/// What a problem of `check` says, by the path of what it is about.
fn problems(config: &Value) -> BTreeMap<String, String> {
    let dir = Dir::new("schema");
    let file = dir.write("config.json", &config.to_string());
    let mut check = Command::new(PLIMSOLL);
    check.args(["check", "--json", "--config"]).arg(file);
    check.env("PLIMSOLL_TEST_GREETING", "hello");
    let said: Value = serde_json::from_slice(&check.output().unwrap().stdout).unwrap();
    let text = |problem: &Value, key: &str| problem[key].as_str().unwrap().to_owned();
    let problems = said["problems"].as_array().unwrap().iter();
    problems.map(|problem| (text(problem, "path"), text(problem, "message"))).collect()
}

/// A place in every config: `services.*.schedules[].name`.
fn below(place: &str, key: &str) -> String {
    let is_free = FREE.contains(&place.rsplit('.').next().unwrap_or_default());
    let key = if is_free { "*" } else { key };
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// Puts the key that nobody knows into every object; gives the place of each, by its path.
fn spoil(value: &mut Value, path: &str, place: &str, places: &mut BTreeMap<String, String>) {
    match value {
        Value::Array(list) => {
            for (i, element) in list.iter_mut().enumerate() {
                spoil(element, &format!("{path}[{i}]"), &format!("{place}[]"), places);
            }
        }
        Value::Object(object) => {
            let at =
                |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            for (key, inner) in object.iter_mut() {
                spoil(inner, &at(key), &below(place, key), places);
            }
            object.insert(NO_KEY.to_owned(), Value::Null);
            places.insert(at(NO_KEY), place.to_owned());
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => (),
    }
}

/// The keys that the program knows, by place: it lists them to whoever writes another one.
fn known_to_the_program() -> BTreeMap<String, BTreeSet<String>> {
    let mut sample = read(Path::new("tests/configs/good/every-key.json")).unwrap();
    // Wherever there may be an object, there is one.
    let file = json!({ "file": "/proc/self/comm" });
    sample["api"]["token"] = file.clone();
    let hooks = &mut sample["notifications"];
    for key in ["url", "template"] {
        hooks[0][key] = file.clone();
    }
    hooks[0]["headers"]["Authorization"] = file.clone();
    hooks[1]["chat_id"] = file;
    let behavior = &mut sample["services"]["web"]["behavior"];
    behavior["scale_down"]["policies"] = behavior["scale_up"]["policies"].clone();
    let mut places = BTreeMap::new();
    spoil(&mut sample, "", "", &mut places);
    let problems = problems(&sample);
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, place) in places {
        let message = problems.get(&path).map(String::as_str).unwrap_or_default();
        if let Some((_, keys)) = message.split_once("known keys: ") {
            known.entry(place).or_default().extend(keys.split(", ").map(str::to_owned));
        }
    }
    known
}

/// The keys that the schema knows, by place. `schema` may say it in several parts.
fn known_to_the_schema(
    root: &Value,
    schema: &Value,
    place: &str,
    known: &mut BTreeMap<String, BTreeSet<String>>,
) {
    let Value::Object(schema) = schema else { return };
    if let Some(reference) = schema.get("$ref") {
        let pointer = reference.as_str().unwrap().trim_start_matches('#');
        known_to_the_schema(root, root.pointer(pointer).unwrap(), place, known);
    }
    for part in ["allOf", "anyOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten() {
        known_to_the_schema(root, part, place, known);
    }
    if let Some(items) = schema.get("items") {
        known_to_the_schema(root, items, &format!("{place}[]"), known);
    }
    if let Some(Value::Object(keys)) = schema.get("properties") {
        // A part that only narrows what another part allows is no list of keys.
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            known.entry(place.to_owned()).or_default().extend(keys.keys().cloned());
        }
        for (key, inner) in keys {
            known_to_the_schema(root, inner, &below(place, key), known);
        }
    }
    if let Some(free @ Value::Object(_)) = schema.get("additionalProperties") {
        known_to_the_schema(root, free, &below(place, "*"), known);
    }
}

/// The keys of a config, by the place of the object that they are in.
pub(crate) fn keys() -> BTreeMap<String, BTreeSet<String>> {
    let root = document();
    let mut keys = BTreeMap::new();
    known_to_the_schema(&root, &root, "", &mut keys);
    keys
}

#[test]
fn it_knows_the_keys_that_the_program_knows() {
    let program = known_to_the_program();
    let mut schema = keys();
    // Not shown to people, as it is for their editors.
    assert!(schema.get_mut("").unwrap().remove("$schema"));
    let places: BTreeSet<_> = program.keys().chain(schema.keys()).collect();
    for place in places {
        assert_eq!(schema.get(place), program.get(place), "keys of {place:?}: schema, program");
    }
    let count: usize = schema.values().map(BTreeSet::len).sum();
    println!("{count} keys of {} objects", schema.len());
    assert!(100 < count && 20 < schema.len());
}

#[test]
fn it_says_what_every_key_is_for() {
    fn silent(schema: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
        for (word, inner) in schema {
            let path = format!("{path}/{word}");
            let Value::Object(inner) = inner else { continue };
            if word == "properties" && !path.contains("/then/") && !path.contains("/if/") {
                for (key, value) in inner {
                    let has = |key: &str| value.get(key).is_some();
                    if !has("description") && !has("$ref") && !value.is_boolean() {
                        found.push(format!("{path}/{key}"));
                    }
                }
            }
            silent(inner, &path, found);
        }
    }
    let Value::Object(root) = document() else { panic!("{SCHEMA} is no object") };
    let mut found = Vec::new();
    silent(&root, "", &mut found);
    assert!(found.is_empty(), "no description: {found:#?}");
}

#[test]
fn it_knows_every_event() {
    let words = event_words();
    let document = document();
    let listed = &document["$defs"]["webhook"]["properties"]["events"]["items"]["anyOf"][0]["enum"];
    let listed: BTreeSet<String> =
        listed.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    assert!(20 <= words.len() && words == listed, "{words:?} but {listed:?}");
}

#[test]
fn it_accepts_every_good_config() {
    let schema = Schema::new();
    let mut files = configs("tests/configs/good");
    files.extend(configs("contrib/examples"));
    assert!(10 <= files.len());
    for (name, file) in files {
        assert_eq!(schema.refusal(&read(&file).unwrap()), None, "{name}");
    }
}

#[test]
fn it_refuses_every_bad_config_that_it_can() {
    let schema = Schema::new();
    let mut beyond: BTreeSet<&str> = BEYOND.iter().flat_map(|(_, names)| *names).copied().collect();
    let files = configs("tests/configs/bad");
    let mut refused = 0;
    let mut wrong = Vec::new();
    for (name, file) in &files {
        let is_refused = read(file).is_none_or(|config| schema.refusal(&config).is_some());
        refused += usize::from(is_refused);
        if beyond.remove(name.as_str()) == is_refused {
            wrong.push(format!("{name} is {}", if is_refused { "refused" } else { "accepted" }));
        }
    }
    println!("{refused} of {} bad files are refused", files.len());
    assert!(wrong.is_empty(), "not as BEYOND has it: {wrong:#?}");
    assert!(beyond.is_empty(), "no such files: {beyond:?}");
}

/// The way from each example to the schema, as an editor takes it.
#[test]
fn the_examples_name_it() {
    let examples = configs("contrib/examples");
    assert!(4 <= examples.len(), "only {} examples", examples.len());
    for (name, file) in examples {
        let config = read(&file).unwrap();
        let named = config["$schema"].as_str().unwrap_or_else(|| panic!("{name} has no $schema"));
        let found = file.parent().unwrap().join(named);
        assert_eq!(found.canonicalize().unwrap(), Path::new(SCHEMA).canonicalize().unwrap());
    }
}
