//! Files of environment variables, in the format that docker compose reads. Messages name a line
//! and a variable, never a value.

use std::collections::BTreeMap;
use std::path::Path;

use jsonc_parser::ast::Value;

use crate::config::cursor::Node;
use crate::model::secret::Secret;

/// Of one file, in their order: a later variable replaces an earlier one of its name.
type Variables = BTreeMap<String, String>;

/// Begins the name of a variable in braces.
const OPEN: &str = "${";

/// What `$NAME` stands for, if it is set.
type Lookup<'f> = &'f dyn Fn(&str) -> Option<String>;

/// A path, or a list of paths and of `{"path", "required", "format"}`. Of two files with the same
/// variable the later one wins.
pub(super) fn env_files(node: Option<Node>) -> BTreeMap<String, Secret> {
    let mut all = Variables::new();
    let Some(node) = node else { return BTreeMap::new() };
    let nodes = match node.value {
        Value::Array(_) => node.list().unwrap_or_default(),
        _ => vec![node],
    };
    for node in nodes {
        read(&node, &mut all);
    }
    all.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()
}

fn read(node: &Node, all: &mut Variables) {
    let Value::Object(_) = node.value else {
        if node.string.is_none() {
            node.complain(r#"must be the path of a file, or {"path": "/path", "required": false}"#);
            return;
        }
        return content(node, true, false, all);
    };
    let Some(section) = node.section() else { return };
    let path = section.need("path", "the path of the file");
    let required = section.get("required").and_then(|n| n.boolean()).unwrap_or(true);
    let format = |word: &str| (word == "raw").then_some(());
    let raw = section.get("format").and_then(|n| n.word("raw, or left out", format)).is_some();
    section.done();
    if let Some(path) = path {
        content(&path, required, raw, all);
    }
}

fn content(node: &Node, required: bool, is_raw: bool, all: &mut Variables) {
    let Some(path) = node.text() else { return };
    if !path.starts_with('/') {
        node.wrong::<()>("an absolute path");
        return;
    }
    let path = Path::new(&*path);
    let around = node.around();
    if !required && !(around.exists)(path) {
        return;
    }
    let text = match (around.file)(path) {
        Ok(text) => text,
        Err(message) => return node.error(message),
    };
    let parsed =
        if is_raw { raw(&text, around.variable, all) } else { parse(&text, around.variable, all) };
    if let Err(EnvFileFault { line, message }) = parsed {
        node.error(format!("line {line} of {} {message}", path.display()));
    }
}

#[derive(Debug)]
struct EnvFileFault {
    line: usize,
    message: String,
}

/// As `docker run --env-file` reads it: each line is a variable, and its value is taken as it is.
fn raw(text: &str, outside: Lookup, all: &mut Variables) -> Result<(), EnvFileFault> {
    for (number, line) in text.lines().enumerate() {
        let fault = |message: String| EnvFileFault { line: number + 1, message };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, outside(line)),
        };
        check_name(name).map_err(fault)?;
        check_value(name, value.as_deref()).map_err(fault)?;
        all.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err("must begin with NAME=, where NAME has only letters, digits, `_`, `.` and `-`"
            .to_owned());
    }
    Ok(())
}

fn check_value(name: &str, value: Option<&str>) -> Result<(), String> {
    match value {
        Some(value) if value.contains('\0') => Err(format!("has a NUL character in {name}")),
        Some(_) | None => Ok(()),
    }
}

/// `NAME=value`, also with `export` before it. A value in quotes may span lines; of one without,
/// ` #` begins a comment. Single quotes keep everything as it is.
fn parse(text: &str, outside: Lookup, all: &mut Variables) -> Result<(), EnvFileFault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text;
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let fault = |message| EnvFileFault { line: 1 + text[..at].matches('\n').count(), message };
        rest = statement(rest, outside, all).map_err(fault)?;
    }
    Ok(())
}

/// Reads one variable, or a line without one. Returns what follows it.
fn statement<'t>(text: &'t str, outside: Lookup, all: &mut Variables) -> Result<&'t str, String> {
    let (line, next) = text.split_once('\n').unwrap_or((text, ""));
    let start = line.trim();
    if start.is_empty() || start.starts_with('#') {
        return Ok(next);
    }
    let is_space = |c: char| c == ' ' || c == '\t';
    let line = line.trim_start();
    let bare = match line.strip_prefix("export") {
        Some(bare) if bare.starts_with(is_space) => bare.trim_start(),
        Some(_) | None => line,
    };
    let Some(end) = bare.find(['=', ':']) else {
        // Only a name: as it is outside, if it is set there.
        let name = bare.trim_end();
        check_name(name)?;
        all.extend(outside(name).map(|value| (name.to_owned(), value)));
        return Ok(next);
    };
    let name = bare[..end].trim_end();
    check_name(name)?;
    let offset = text.find('\n').unwrap_or(text.len());
    let after = bare[end + 1..].trim_start_matches(is_space);
    let (value, next) = match after.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            // A quoted value may end in a later line.
            let from = offset - after.len();
            quoted(name, &text[from + 1..], quote, outside, all)?
        }
        Some(_) | None => (unquoted(name, after, outside, all)?, next),
    };
    check_value(name, Some(&value))?;
    all.insert(name.to_owned(), value);
    Ok(next)
}

fn unquoted(name: &str, text: &str, outside: Lookup, all: &Variables) -> Result<String, String> {
    // After `=` and spaces a comment may begin at once: the value is empty then.
    let is_space = |c: char| c == ' ' || c == '\t';
    let mut before = ' ';
    let end = text.char_indices().find(|(_, c)| {
        let begins = *c == '#' && is_space(before);
        before = *c;
        begins
    });
    let value = text[..end.map_or(text.len(), |(at, _)| at)].trim_end();
    substituted(name, value, outside, all)
}

/// Returns the value and what follows its line.
fn quoted<'t>(
    name: &str,
    text: &'t str,
    quote: char,
    outside: Lookup,
    all: &Variables,
) -> Result<(String, &'t str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let (line, next) = text[at + 1..].split_once('\n').unwrap_or((&text[at + 1..], ""));
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                return Err(format!(
                    "has text behind the closing quote of {name}; write \\{quote} for a quote in it"
                ));
            }
            let value = match quote {
                '\'' => value,
                _ => substituted(name, &value, outside, all)?,
            };
            return Ok((value, next));
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let Some((_, escaped)) = chars.next() else { break };
        match (quote, escaped) {
            (_, c) if c == quote => value.push(c),
            ('\'', c) => value.extend(['\\', c]),
            (_, 'n') => value.push('\n'),
            (_, 'r') => value.push('\r'),
            (_, 't') => value.push('\t'),
            (_, '\\') => value.push('\\'),
            (_, '$') => value += "$$",
            (_, c) => value.extend(['\\', c]),
        }
    }
    Err(format!("has no closing {quote} for {name}"))
}

/// Replaces `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME-default}`; `$$` is one `$`. Compose
/// takes an unset variable as empty, which cuts a password with a `$` short; here it is an error.
fn substituted(name: &str, text: &str, outside: Lookup, all: &Variables) -> Result<String, String> {
    let find = |of: &str| all.get(of).cloned().or_else(|| outside(of));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let help = "write $$ for one `$`, or put the value in single quotes";
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let braced = after.strip_prefix('{');
        let (inner, next) = match braced {
            Some(inner) => inner
                .split_once('}')
                .ok_or_else(|| format!("has `{OPEN}` without a closing brace in {name}; {help}"))?,
            None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
        };
        rest = next;
        let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
        let (of, operator) = inner.split_at(end);
        if of.starts_with(|c: char| c.is_ascii_digit()) || (of.is_empty() && braced.is_some()) {
            return Err(format!("has a `$` that no variable's name follows in {name}; {help}"));
        }
        let value = match (operator.strip_prefix(":-"), operator.strip_prefix('-')) {
            _ if of.is_empty() => Some("$".to_owned()),
            (Some(default), _) => {
                find(of).filter(|value| !value.is_empty()).or_else(|| Some(default.to_owned()))
            }
            (None, Some(default)) => find(of).or_else(|| Some(default.to_owned())),
            (None, None) if operator.is_empty() => find(of),
            (None, None) => {
                return Err(format!(
                    "has an operator in {name} that is not supported: use `${{NAME}}` or \
                     `${{NAME:-default}}`; {help}"
                ));
            }
        };
        let unset = || format!("uses the variable {of} in {name}, which is not set; {help}");
        out += &value.ok_or_else(unset)?;
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use crate::config::env_file::{EnvFileFault, Variables, parse, raw};

    fn outside(name: &str) -> Option<String> {
        match name {
            "OUT" => Some("side".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn read(text: &str) -> Result<Vec<(String, String)>, EnvFileFault> {
        let mut all = Variables::new();
        parse(text, &outside, &mut all)?;
        Ok(all.into_iter().collect())
    }

    #[test]
    fn values_are_read_as_compose_reads_them() {
        for (text, want) in [
            ("A=1", "1"),
            ("\u{feff}A=1\r\n", "1"),
            ("  A = 1  \n", "1"),
            ("export A=1", "1"),
            ("export\tA=1", "1"),
            ("A: 1", "1"),
            ("A=", ""),
            ("A=a=b:c", "a=b:c"),
            ("A=1\nA=2", "2"),
            ("# A=2\n\nA=1\n  # end", "1"),
            // A `#` is a comment only behind a space.
            ("A=abc#def", "abc#def"),
            ("A=#abc", ""),
            ("A=abc #def", "abc"),
            ("A=abc\t# def", "abc"),
            ("A=   # only a comment", ""),
            ("A=http://x/#y", "http://x/#y"),
            ("A=\"a # b\" # c", "a # b"),
            ("A='a # b'", "a # b"),
            ("A=it's", "it's"),
            (r"A='it\'s'", "it's"),
            (r"A='a\nb'", r"a\nb"),
            (r#"A="a\nb\t\"c\"\\d""#, "a\nb\t\"c\"\\d"),
            ("A=\"two\nlines\"\nB=2", "two\nlines"),
            ("A='two\nlines' # c\nB=2", "two\nlines"),
            (r"A=C:\dir\new", r"C:\dir\new"),
            (r#"A={"a": "b"}"#, r#"{"a": "b"}"#),
            // Variables.
            ("B=1\nA=${B}$B-x", "11-x"),
            ("A=$OUT", "side"),
            ("A=\"${OUT}!\"", "side!"),
            ("A='$OUT ${NONE}'", "$OUT ${NONE}"),
            ("A=${NONE:-d} ${EMPTY:-e}|${EMPTY-f}${NONE-g}", "d e|g"),
            ("A=a$$b$$OUT", "a$b$OUT"),
            (r#"A="a\$OUT""#, "a$OUT"),
            ("A=a$", "a$"),
            ("A=5$ or $!", "5$ or $!"),
        ] {
            let found = read(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            let value = found.iter().find(|(name, _)| name == "A");
            assert_eq!(value.map(|(_, value)| value.as_str()), Some(want), "{text}");
        }
    }

    #[test]
    fn a_name_alone_is_taken_from_outside() {
        let outs = |text| read(text).unwrap().into_iter().map(|(_, v)| v).collect::<Vec<_>>();
        assert_eq!(outs("OUT\nNONE\nEMPTY"), ["", "side"]);
    }

    #[test]
    fn what_compose_would_silently_cut_is_an_error_with_its_line_and_no_value() {
        for (text, line, want) in [
            ("A=1\nB=s3cret$NONE", 2, "uses the variable NONE in B, which is not set"),
            ("A=\"s3cret${NONE}\"", 1, "uses the variable NONE in A, which is not set"),
            ("A=\"s3cret", 1, "has no closing \" for A"),
            ("\nA='s3cret\nB=2", 2, "has no closing ' for A"),
            ("A=\"1\nx\"\nB='s3cret' x", 3, "has text behind the closing quote of B"),
            ("A=s3cret${B", 1, "has `${` without a closing brace in A"),
            ("A=${OUT:?s3cret}", 1, "has an operator in A that is not supported"),
            ("A=s3cret$1", 1, "has a `$` that no variable's name follows in A"),
            ("A=${}", 1, "has a `$` that no variable's name follows in A"),
            ("=s3cret", 1, "must begin with NAME="),
            ("s3cret words", 1, "must begin with NAME="),
            ("é=1", 1, "must begin with NAME="),
            ("A=s3\0cret", 1, "has a NUL character in A"),
        ] {
            let EnvFileFault { line: found, message } = read(text).unwrap_err();
            assert!(found == line && message.starts_with(want), "{text}: {found} {message}");
            assert!(!message.contains("s3"), "{message}");
        }
    }

    #[test]
    fn a_raw_file_is_taken_as_it_is() {
        let mut all = Variables::new();
        let text = "# c\n\n A=\"x\" # $OUT\nOUT\nNONE\nB= 1 \n";
        raw(text, &outside, &mut all).unwrap();
        let found: Vec<_> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("A", "\"x\" # $OUT"), ("B", " 1 "), ("OUT", "side")]);
        assert_eq!(raw("A=1\nb c=2", &outside, &mut all).unwrap_err().line, 2);
    }
}
