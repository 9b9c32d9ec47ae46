//! Environment variables and secret files that a config refers to.

use std::borrow::Cow;
use std::path::Path;

use crate::regular_file;

/// Bytes of a secret file at most.
const FILE_BYTES_MAX: u64 = 64 << 10;

pub(crate) struct Around<'a> {
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file, or why it cannot be used.
    pub(crate) file: &'a dyn Fn(&Path) -> Result<String, String>,
    /// The same of a file that holds no secret.
    pub(crate) public_file: &'a dyn Fn(&Path) -> Result<String, String>,
    /// Whether there is something at the path, readable or not.
    pub(crate) exists: &'a dyn Fn(&Path) -> bool,
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The content of a secret file, without a line end at its end.
pub(crate) fn file(path: &Path) -> Result<String, String> {
    let name = path.display();
    let bytes = regular_file::read(path, FILE_BYTES_MAX)
        .map_err(|err| format!("{name} cannot be read: {err}"))?;
    let bytes = bytes.ok_or(format!("{name} is larger than 64 KiB, the limit of a secret"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Replaces each `${NAME}` with the environment variable NAME; `$${` stands for a literal `${`.
pub(crate) fn expand<'t>(text: &'t str, around: &Around) -> Result<Cow<'t, str>, String> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out += before;
            out += "${";
            rest = &from[2..];
            continue;
        }
        out += before;
        let Some((name, after)) = from[2..].split_once('}').filter(|(name, _)| is_name(name))
        else {
            return Err("has `${` without a variable's name and a closing `}`; \
                        write `$${` for a literal `${`"
                .to_owned());
        };
        let Some(value) = (around.variable)(name) else {
            return Err(format!(
                "the environment variable {name} is not set; set it, or write `$${{` for a \
                 literal `${{`"
            ));
        };
        out += &value;
        rest = after;
    }
    Ok(Cow::Owned(out + rest))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::secret::{Around, expand};

    #[test]
    fn variables_are_put_in() {
        let variable = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "_b2" => Some("${A}".to_owned()),
            _ => None,
        };
        let file = |_: &Path| Err(String::new());
        let around =
            Around { variable: &variable, file: &file, public_file: &file, exists: &|_| false };
        for (text, want) in [
            ("", Some("")),
            ("plain $5 $", Some("plain $5 $")),
            ("${A}", Some("1")),
            ("x${A}y${A}", Some("x1y1")),
            ("${_b2}", Some("${A}")),
            ("$${A}", Some("${A}")),
            ("$$${A}", Some("$${A}")),
            ("${A} $${A}", Some("1 ${A}")),
            ("${B}", None),
            ("${}", None),
            ("${A", None),
            ("${2}", None),
            ("${A-b}", None),
        ] {
            assert_eq!(expand(text, &around).ok().as_deref(), want, "{text}");
        }
    }
}
