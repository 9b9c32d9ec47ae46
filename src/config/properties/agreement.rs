//! The schema for editors refuses nothing that the parser accepts: on configs that are made up, on
//! those of people, and on both with a few things in them changed.

use std::fs;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use crate::config::properties::spelling::{Style, write};
use crate::config::properties::{Random, World, valid, written};

const CONFIGS: u64 = 2500;
const CHANGES: u64 = 10;

/// At the edges of rules, or words that mean something somewhere.
const TEXTS: [&str; 63] = [
    "",
    "a",
    "b c",
    "0",
    "1",
    "80",
    "080",
    "65536",
    "é",
    "\n",
    "*",
    "h*",
    "scale.up",
    "a=b",
    "=",
    "/",
    "/a",
    "/a:/b",
    "/a:/b:ro",
    "v1:/b:ro,z",
    "~",
    "/~0",
    "http://a",
    "http://a/?b",
    "http://a:9:9",
    "http://me:a/b@c",
    "http://me:%40@[::1]:9#a",
    "https://a",
    "24:00",
    "00:00",
    "23:59",
    "mon",
    "UTC",
    "Etc/GMT+1",
    "2028-02-29",
    "0s",
    "99ms",
    "1h",
    "5m",
    "007s",
    "6m",
    "7340032",
    "2g",
    "2GB",
    "hold",
    "min",
    "max",
    "swarm",
    "docker",
    "process",
    "cpu",
    "memory",
    "haproxy",
    "http",
    "tcp",
    "none",
    "queue",
    "on-failure",
    "on-failure:+5",
    "127.0.0.1:80",
    "[::1]:01",
    "+200 - 0300,\t404",
    "0123456789abcdef",
];
const DOLLARS: [&str; 6] = ["${T0}", "$${", "a$${T0}b", "${", "${T9}", "$"];
const NUMBERS: [&str; 34] = [
    "0",
    "1",
    "-1",
    "2",
    "0.01",
    "0.001",
    "0.5",
    "1.5",
    "5.0",
    "16",
    "17",
    "60",
    "90",
    "90.01",
    "99",
    "100",
    "101",
    "599",
    "600",
    "1000",
    "1001",
    "1024",
    "3600",
    "3601",
    "6291455",
    "6291456",
    "10000",
    "10000.01",
    "65535",
    "65536",
    "86400",
    "86401",
    "100000",
    "1000000000",
];

struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new() -> Schema {
        let text = fs::read_to_string("contrib/config.schema.json").unwrap();
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        let document = serde_json::from_str(&text).unwrap();
        compiler.add_resource("http://plimsoll/schema", document).unwrap();
        let index = compiler.compile("http://plimsoll/schema", &mut schemas).unwrap();
        Schema { schemas, index }
    }

    fn accepts(&self, config: &Value) -> bool {
        self.schemas.validate(config, self.index).is_ok()
    }

    #[track_caller]
    fn check(&self, config: &Value, seed: u64) {
        if let Err(err) = self.schemas.validate(config, self.index) {
            panic!("seed {seed}: the parser accepts what the schema refuses: {err}\n{config:#}");
        }
    }
}

/// Mostly of the kind that stands there: of another kind it is refused nearly everywhere.
fn any_value(random: &mut Random, there: &Value) -> Value {
    let number = |random: &mut Random| serde_json::from_str(random.word(&NUMBERS)).unwrap();
    let is_like = !random.one_in(3);
    match (there, random.below(12)) {
        (Value::Bool(there), _) if is_like => Value::Bool(!there),
        (Value::Number(_), _) if is_like => number(random),
        (Value::String(_), 0..3) if is_like => json!(random.word(&DOLLARS)),
        (Value::String(_), _) if is_like => json!(random.word(&TEXTS)),
        (_, 0) => Value::Null,
        (_, 1) => Value::Bool(random.one_in(2)),
        (_, 2) => json!([]),
        (_, 3) => json!({}),
        (_, 4) => json!([random.word(&TEXTS)]),
        (_, 5) => json!({ "file": random.word(&["/made/up/0", "/nowhere", "${T0}"]) }),
        (_, 6) => json!(random.word(&DOLLARS)),
        (_, 7..10) => number(random),
        _ => json!(random.word(&TEXTS)),
    }
}

/// The pointers to everything in it, and every key.
fn places(value: &Value, at: &str, pointers: &mut Vec<String>, keys: &mut Vec<String>) {
    pointers.push(at.to_owned());
    match value {
        Value::Array(list) => {
            for (i, inner) in list.iter().enumerate() {
                places(inner, &format!("{at}/{i}"), pointers, keys);
            }
        }
        Value::Object(object) => {
            for (key, inner) in object {
                keys.push(key.clone());
                let key = key.replace('~', "~0").replace('/', "~1");
                places(inner, &format!("{at}/{key}"), pointers, keys);
            }
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => (),
    }
}

fn change(random: &mut Random, config: &mut Value, known: &[String]) {
    let mut pointers = Vec::new();
    let mut keys = known.to_vec();
    places(config, "", &mut pointers, &mut keys);
    let place = random.of(&pointers);
    let other = random.of(&pointers);
    let here = config.pointer(place).unwrap().clone();
    let there = config.pointer(other).unwrap().clone();
    let key = random.of(&keys).clone();
    let value = any_value(random, &here);
    let target = config.pointer_mut(place).unwrap();
    match (random.below(8), target) {
        (0, Value::Object(object)) => {
            let keys: Vec<String> = object.keys().cloned().collect();
            if !keys.is_empty() {
                object.remove(random.of(&keys));
            }
        }
        (0, Value::Array(list)) => drop(list.pop()),
        (1, Value::Object(object)) => {
            let keys: Vec<String> = object.keys().cloned().collect();
            if !keys.is_empty() {
                let value = object.remove(random.of(&keys)).unwrap();
                object.insert(key, value);
            }
        }
        (2, Value::Object(object)) => drop(object.insert(key, value)),
        (3, Value::Object(object)) => drop(object.insert(key, there)),
        (2 | 3, Value::Array(list)) => list.push(there),
        (4, target) => {
            *target = there;
            // A swap, unless one was within the other.
            if let Some(target) = config.pointer_mut(other) {
                *target = here;
            }
        }
        (5, target) => *target = there,
        (_, target) => *target = value,
    }
}

/// Half of its texts into the environment, each to where the parser finds it.
fn move_out(random: &mut Random, value: &mut Value, world: &mut World) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|inner| move_out(random, inner, world)),
        Value::Object(object) => {
            object.values_mut().for_each(|inner| move_out(random, inner, world));
        }
        Value::String(text) if random.one_in(2) => {
            let name = format!("${{T{}}}", world.variables.len());
            world.variables.push(std::mem::replace(text, name).replace("$${", "${"));
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => (),
    }
}

/// What people wrote, as far as it is JSON without comments.
fn people() -> Vec<Value> {
    let folders = ["tests/configs/good", "tests/configs/good", "tests/configs/bad"];
    let known = |text: &String| {
        text.replace("PLIMSOLL_TEST_GREETING", "T0").replace("/proc/self/comm", "/made/up/0")
    };
    let all = written(&folders).iter().map(known).collect::<Vec<_>>();
    all.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
}

#[test]
fn what_the_parser_accepts_the_schema_accepts() {
    let schema = Schema::new();
    let people = people();
    assert!(100 < people.len());
    let mut all = Vec::new();
    let mut keys = Vec::new();
    people.iter().for_each(|config| places(config, "", &mut all, &mut keys));
    keys.sort();
    keys.dedup();
    let mut tried = 0;
    let mut accepted = 0;
    let mut refused_by_both = 0;
    for seed in 0..CONFIGS {
        let mut random = Random::new(seed);
        let (config, mut world) = if random.one_in(3) {
            (random.of(&people).clone(), World::default())
        } else {
            let spec = valid::config(&mut random);
            let (text, world) = write(&spec, Style::Compact, &mut random);
            let mut config: Value = serde_json::from_str(&text).unwrap();
            schema.check(&config, seed);
            let mut moved = config.clone();
            let mut world_of_moved = World::default();
            move_out(&mut random, &mut moved, &mut world_of_moved);
            assert!(world_of_moved.parse(&moved.to_string()).config.is_some(), "seed {seed}");
            schema.check(&moved, seed);
            // With one service, a change is more likely to be the only one that counts.
            let services = config["services"].as_object_mut().unwrap();
            let others: Vec<String> = services.keys().skip(1).cloned().collect();
            others.iter().for_each(|name| drop(services.remove(name)));
            (config, world)
        };
        world.variables.push(random.word(&TEXTS).to_owned());
        world.files.push(random.word(&TEXTS).to_owned());
        for _ in 0..CHANGES {
            let mut changed = config.clone();
            for _ in 0..1 + usize::from(random.one_in(4)) {
                change(&mut random, &mut changed, &keys);
            }
            tried += 1;
            if world.parse(&changed.to_string()).config.is_some() {
                accepted += 1;
                schema.check(&changed, seed);
            } else if !schema.accepts(&changed) {
                refused_by_both += 1;
            }
        }
    }
    let only = tried - accepted - refused_by_both;
    println!(
        "{tried} tried, {accepted} accepted, {refused_by_both} refused by both, {only} by one"
    );
    assert!(2500 < accepted && 2500 < refused_by_both);
}
