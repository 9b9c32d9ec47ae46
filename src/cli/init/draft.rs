//! A starting config as text. Guesses are marked, and what the config cannot take is a comment.

use serde_json::{Value, json};

use crate::config;
use crate::model::terminal;

/// One service, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Draft {
    pub(crate) name: String,
    /// Its name where it comes from.
    pub(crate) origin: String,
    /// Where it comes from, and what was left out of it.
    pub(crate) remarks: Vec<String>,
    /// In the order in which they are written.
    pub(crate) keys: Vec<Key>,
    /// Why it cannot be scaled: then all of it is a comment.
    pub(crate) unfit: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    pub(crate) remark: Option<String>,
    /// Only a comment.
    is_off: bool,
}

impl Draft {
    pub(crate) fn new(name: &str) -> Draft {
        Draft { name: service_name(name), origin: name.to_owned(), ..Draft::default() }
    }

    pub(crate) fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.keys.push(Key { name, value: value.into(), remark: None, is_off: false });
    }

    pub(crate) fn guess(&mut self, name: &'static str, value: impl Into<Value>, why: &str) {
        let remark = Some(format!("a guess: {why}"));
        self.keys.push(Key { name, value: value.into(), remark, is_off: false });
    }

    /// For the operator to decide.
    pub(crate) fn guess_bounds(&mut self, least: u32) {
        self.guess("min_replicas", least, "never fewer replicas than this");
        self.guess("max_replicas", 4.max(least), "never more than the host can carry");
        self.guess(
            "scale_up_threshold",
            75,
            "average CPU % of the limit, above which one is added",
        );
        self.guess("scale_down_threshold", 25, "below which one is removed");
    }

    fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    /// Adds guesses for required keys.
    fn complete(&mut self) {
        if !self.has("image") && !self.has("compose") {
            self.keys.insert(
                0,
                Key {
                    name: "image",
                    value: json!("NAME:TAG"),
                    remark: Some("a guess: set the image".to_owned()),
                    is_off: false,
                },
            );
        }
        if !self.has("port") {
            self.guess("port", 8080, "the port that a replica listens on");
        }
        if !self.has("max_replicas") {
            self.guess_bounds(1);
        }
    }
}

/// With only the characters that the config allows.
fn service_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).take(63).collect();
    let name = name.trim_start_matches(['_', '.', '-']);
    if name.is_empty() { "service".to_owned() } else { name.to_owned() }
}

/// The whole file. Keys that would not pass `check` become comments with the reason.
pub(crate) fn write(head: &[String], mut drafts: Vec<Draft>) -> String {
    let mut names: Vec<String> = Vec::new();
    for draft in &mut drafts {
        while names.contains(&draft.name) {
            draft.name.push('2');
        }
        names.push(draft.name.clone());
        draft.complete();
    }
    let text = lines(head, &drafts);
    for problem in config::parse("", &text).problems.iter().filter(|p| !p.is_warning) {
        for draft in &mut drafts {
            // Names may hold dots themselves.
            let Some(rest) = problem.path.strip_prefix(&format!("services.{}.", draft.name)) else {
                continue;
            };
            let at = |key: &&mut Key| rest.split(['.', '[']).next() == Some(key.name);
            match draft.keys.iter_mut().find(at) {
                Some(key) if ["image", "compose", "port", "max_replicas"].contains(&key.name) => {
                    draft.unfit = Some(format!("{}: {}", key.name, problem.message));
                }
                Some(key) => {
                    key.is_off = true;
                    key.remark = Some(format!("not used: {}", problem.message));
                }
                None => draft.unfit = Some(problem.message.clone()),
            }
        }
    }
    lines(head, &drafts)
}

fn lines(head: &[String], drafts: &[Draft]) -> String {
    let mut out = String::new();
    for line in head {
        out += &format!("// {}\n", one_line(line));
    }
    out += "{\n  \"services\": {\n";
    for draft in drafts {
        out += &service(draft);
    }
    out + "  }\n}\n"
}

fn service(draft: &Draft) -> String {
    let mut out = String::new();
    for remark in &draft.remarks {
        out += &format!("    // {}\n", one_line(remark));
    }
    let off = match &draft.unfit {
        Some(why) => {
            out += &format!("    // left out: {}\n", one_line(why));
            "// "
        }
        None => "",
    };
    out += &format!("    {off}{}: {{\n", json!(draft.name));
    for Key { name, value, remark, is_off } in &draft.keys {
        let off = if *is_off { "// " } else { off };
        let behind = remark.as_ref().map(|remark| format!(" // {}", one_line(remark)));
        let line = format!("\"{name}\": {}", literal(value));
        out += &format!("      {off}{line},{}\n", behind.unwrap_or_default());
    }
    out + &format!("    {off}}},\n")
}

/// As JSON, with `${` as the config writes the two signs themselves.
fn literal(value: &Value) -> String {
    value.to_string().replace("${", "$${")
}

/// A comment ends at the end of its line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if terminal::is_plain(c) { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use crate::cli::init::draft::{Draft, write};
    use crate::config;

    #[test]
    fn what_is_written_passes_the_check_whatever_was_found() {
        let mut web = Draft::new("web");
        web.remarks.push("two\nlines".to_owned());
        web.put("image", "shop/web:1");
        web.put("port", 8080);
        web.put("volumes", serde_json::json!(["data", "/a:/b"]));
        web.put("environment", serde_json::json!({ "A": "${B} \u{1}\"" }));
        web.guess_bounds(6);
        let mut odd = Draft::new("-Ö x");
        odd.put("image", "has space");
        let again = Draft::new("web");
        let text = write(&["a head".to_owned()], vec![web, odd, again]);
        let loaded = config::parse("made", &text);
        assert!(loaded.problems.iter().all(|p| p.is_warning), "{:?}\n{text}", loaded.problems);
        let config = loaded.config.unwrap();
        let names: Vec<&str> = config.services.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["web", "web2"], "{text}");
        let web = config.services.values().next().unwrap();
        assert_eq!(web.container.environment["A"].expose(), "${B} \u{1}\"");
        for words in ["// a head\n", "// two lines\n", "// left out: image: ", "not used: "] {
            assert!(text.contains(words), "no {words} in\n{text}");
        }
    }
}
