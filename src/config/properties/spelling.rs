//! One config, spelled in two ways, is one config.

use std::sync::Arc;

use crate::config::properties::valid::{self, Spec};
use crate::config::properties::{Random, World, errors};
use crate::model::config::Config;
use crate::model::service::Service;

const CONFIGS: u64 = 4000;

/// How much freedom a writer takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Short, in order, and JSON in the strict sense.
    Compact,
    /// With comments and trailing commas, in any order, and taken from around where that goes.
    Loose,
}

pub(crate) struct Writer<'r> {
    random: &'r mut Random,
    style: Style,
    text: String,
    world: World,
}

pub(crate) fn write(spec: &Spec, style: Style, random: &mut Random) -> (String, World) {
    let mut writer = Writer { random, style, text: String::new(), world: World::default() };
    writer.value(spec);
    writer.gap();
    (writer.text, writer.world)
}

impl Writer<'_> {
    fn gap(&mut self) {
        if self.style == Style::Loose {
            self.text +=
                self.random.word(&["", " ", "\n", "\t", "\r\n", " /* { \" */ ", " // }\n"]);
        }
    }

    fn value(&mut self, spec: &Spec) {
        self.gap();
        match spec {
            Spec::Null => self.text += "null",
            Spec::Bool(value) => self.text += &value.to_string(),
            Spec::Number(value) => self.text += value,
            Spec::Text(value) => self.phrase(value),
            Spec::Secret(value) => self.secret(value),
            Spec::Milliseconds(value) => self.span(*value),
            Spec::Bytes(value) => self.size(*value),
            Spec::List(all) => self.list(all),
            Spec::Object(all) => self.object(all, self.style == Style::Loose),
            Spec::Ordered(all) => self.object(all, false),
            Spec::Either(all) => {
                let chosen = self.random.of(all);
                self.value(chosen);
            }
            Spec::Default(inner) => self.value(inner),
        }
    }

    /// Any character may be escaped.
    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            let is_odd = self.style == Style::Loose && self.random.one_in(9);
            if is_odd || c.is_control() {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    self.text += &format!("\\u{unit:04x}");
                }
            } else if matches!(c, '"' | '\\') {
                self.text.extend(['\\', c]);
            } else {
                self.text.push(c);
            }
        }
        self.text.push('"');
    }

    fn phrase(&mut self, text: &str) {
        if self.style == Style::Loose && self.random.one_in(8) {
            // From one place to another, so that it stands between two texts of the file.
            let middle: String = text.chars().skip(1).take(3).collect();
            let first: String = text.chars().take(1).collect();
            let rest: String = text.chars().skip(4).collect();
            if !first.contains('$') && !middle.ends_with('$') {
                let number = self.world.variables.len();
                self.world.variables.push(middle);
                let rest = rest.replace("${", "$${");
                return self.quoted(&format!("{first}${{T{number}}}{rest}"));
            }
        }
        self.quoted(&text.replace("${", "$${"));
    }

    fn secret(&mut self, text: &str) {
        if self.style == Style::Loose && self.random.one_in(3) {
            let number = self.world.files.len();
            self.world.files.push(text.to_owned());
            let path = ("file".to_owned(), Spec::Text(format!("/made/up/{number}")));
            return self.object(&[path], false);
        }
        self.phrase(text);
    }

    fn span(&mut self, ms: u64) {
        let mut all = vec![format!("{ms}ms")];
        for (unit, length) in [("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)] {
            if ms.is_multiple_of(length) {
                all.push(format!("{}{unit}", ms / length));
            }
        }
        if ms.is_multiple_of(1000) && self.random.one_in(2) {
            self.text += &(ms / 1000).to_string();
        } else {
            let spelled = self.random.of(&all).clone();
            self.phrase(&spelled);
        }
    }

    fn size(&mut self, bytes: u64) {
        let mut all = vec![bytes.to_string(), format!("{bytes}b"), format!("{bytes}B")];
        for (units, shift) in
            [(["k", "K", "kb"], 10), (["m", "M", "mB"], 20), (["g", "G", "gb"], 30)]
        {
            if bytes.is_multiple_of(1 << shift) {
                all.extend(units.map(|unit| format!("{}{unit}", bytes >> shift)));
            }
        }
        if self.random.one_in(3) {
            self.text += &bytes.to_string();
        } else {
            let spelled = self.random.of(&all).clone();
            self.phrase(&spelled);
        }
    }

    fn list(&mut self, all: &[Spec]) {
        self.text.push('[');
        for (i, spec) in all.iter().enumerate() {
            self.value(spec);
            self.comma(i + 1 == all.len());
        }
        self.gap();
        self.text.push(']');
    }

    fn object(&mut self, all: &[(String, Spec)], any_order: bool) {
        let mut all: Vec<_> = all.iter().collect();
        all.retain(|(_, spec)| !matches!(spec, Spec::Default(_)) || self.random.one_in(2));
        if any_order {
            self.random.shuffle(&mut all);
        }
        self.text.push('{');
        for (i, (key, spec)) in all.iter().enumerate() {
            self.gap();
            self.quoted(key);
            self.gap();
            self.text.push(':');
            self.value(spec);
            self.comma(i + 1 == all.len());
        }
        self.gap();
        self.text.push('}');
    }

    fn comma(&mut self, is_last: bool) {
        self.gap();
        if !is_last || (self.style == Style::Loose && self.random.one_in(2)) {
            self.text.push(',');
        }
    }
}

#[track_caller]
fn parsed(seed: u64, (text, world): &(String, World)) -> Config {
    let loaded = world.parse(text);
    assert!(errors(&loaded).is_empty(), "seed {seed}: {:#?}\n{text}", errors(&loaded));
    loaded.config.unwrap()
}

#[test]
fn two_spellings_of_a_config_are_one_config() {
    let mut services = 0;
    let mut metrics = 0;
    let mut texts = 0;
    for seed in 0..CONFIGS {
        let mut random = Random::new(seed);
        let spec = valid::config(&mut random);
        let styles = [Style::Compact, Style::Loose];
        let spelled = styles.map(|style| write(&spec, style, &mut random));
        let [one, other] = spelled.each_ref().map(|spelled| parsed(seed, spelled));
        let [short, long] = &spelled;
        assert!(one == other, "seed {seed}:\n{}\n{}\n{one:#?}\n{other:#?}", short.0, long.0);
        let all: Vec<&Arc<Service>> = one.services.values().collect();
        services += all.len();
        metrics += all.iter().map(|service| service.metrics.len()).sum::<usize>();
        texts += long.1.variables.len() + long.1.files.len();
    }
    println!("{CONFIGS} configs, {services} services, {metrics} metrics, {texts} from around");
    assert!(5000 < services && 10_000 < metrics && 10_000 < texts);
}
