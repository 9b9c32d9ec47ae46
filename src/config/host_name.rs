//! Host names as a `Host` header has them.

/// Of a name without its dots, and of a label. From RFC 1035, section 2.3.4.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// The name in lower case, each label with other letters than ASCII's as punycode. `None`: it is no
/// host name.
pub(crate) fn ascii(name: &str) -> Option<String> {
    let labels: Option<Vec<String>> = name.split('.').map(label).collect();
    let name = labels?.join(".");
    (name.len() <= NAME_BYTES_MAX).then_some(name)
}

fn label(label: &str) -> Option<String> {
    let lower = label.to_lowercase();
    let label = if lower.is_ascii() { lower } else { format!("xn--{}", punycode(&lower)?) };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_good = !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && label.bytes().all(is_plain)
        && !label.starts_with('-')
        && !label.ends_with('-');
    is_good.then_some(label)
}

/// The constants of RFC 3492, section 5.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const FIRST_BIAS: u32 = 72;
const FIRST_N: u32 = 128;

/// RFC 3492, section 6.3. `None`: a letter cannot be in a name, or a number overflows.
fn punycode(label: &str) -> Option<String> {
    if !label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_') {
        return None;
    }
    let input: Vec<u32> = label.chars().map(u32::from).collect();
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if 0 < basic {
        out.push('-');
    }
    let mut n = FIRST_N;
    let mut delta: u32 = 0;
    let mut bias = FIRST_BIAS;
    let mut handled = basic;
    while usize::try_from(handled).ok()? < input.len() {
        let next = *input.iter().filter(|c| n <= **c).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for c in &input {
            if *c < n {
                delta = delta.checked_add(1)?;
            } else if *c == n {
                number(delta, bias, &mut out)?;
                bias = adapted(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(out)
}

/// A number in digits of changing base.
fn number(delta: u32, bias: u32, out: &mut String) -> Option<()> {
    let mut rest = delta;
    let mut k = BASE;
    loop {
        let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < t {
            out.push(digit(rest)?);
            return Some(());
        }
        out.push(digit(t + (rest - t) % (BASE - t))?);
        rest = (rest - t) / (BASE - t);
        k += BASE;
    }
}

fn adapted(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while (BASE - T_MIN) * T_MAX / 2 < delta {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

/// `a` to `z` are 0 to 25, `0` to `9` are 26 to 35.
fn digit(value: u32) -> Option<char> {
    let value = u8::try_from(value).ok()?;
    match value {
        0..=25 => Some(char::from(b'a' + value)),
        26..=35 => Some(char::from(b'0' + (value - 26))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::host_name::ascii;

    #[test]
    fn a_name_is_in_lower_case_and_in_ascii() {
        let long = format!("{}.example", "a".repeat(63));
        for (name, want) in [
            ("Shop.Example", Some("shop.example")),
            ("localhost", Some("localhost")),
            ("a_b.example", Some("a_b.example")),
            ("127.0.0.1", Some("127.0.0.1")),
            (long.as_str(), Some(long.as_str())),
            // By Python's `encode("idna")`, and the samples of RFC 3492, section 7.1.
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("BÜCHER.example", Some("xn--bcher-kva.example")),
            ("münchen.de", Some("xn--mnchen-3ya.de")),
            ("中国.icom.museum", Some("xn--fiqs8s.icom.museum")),
            ("ليهمابتكلموشعربي؟", None),
            ("他们为什么不说中文.x", Some("xn--ihqwcrb4cv8a8dqg056pqjye.x")),
            ("почемужеонинеговорятпорусски", Some("xn--b1abfaaepdrnnbgefbadotcwatmq2g4l")),
            ("3年b組金八先生", Some("xn--3b-ww4c5e180e575a65lsy2b")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a.", None),
            ("-a", None),
            ("a-", None),
            ("a b", None),
            ("a/b", None),
            ("a:80", None),
            ("[::1]", None),
            ("💩.la", None),
            (&"a".repeat(64), None),
            (&["a"; 128].join("."), None),
        ] {
            assert_eq!(ascii(name).as_deref(), want, "{name}");
        }
        assert_eq!(ascii(&["a"; 127].join(".")).map(|name| name.len()), Some(253));
    }
}
