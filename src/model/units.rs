//! Texts with a unit, and how near two words are.

use std::time::Duration;

/// `500ms`, `60s`, `5m`, `2h`, `90d`: a whole number and a unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let ms = match &text[digits..] {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    };
    ms.map(Duration::from_millis)
}

/// As people type it: a duration, or digits alone, which are seconds as in the config.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let is_bare = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_bare { text.parse().ok().map(Duration::from_secs) } else { duration(text) }
}

/// In the largest unit that it is a whole number of; in days from a week on.
pub(crate) fn show(span: Duration) -> String {
    match span.as_millis() {
        0 => "0s".to_owned(),
        ms if 604_800_000 <= ms && ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// Bytes: a whole number, alone or with `k`, `m` or `g` (powers of 1024), as Docker writes it.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].to_ascii_lowercase();
    let shift = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Exact: with two places `62.5` is 6250. More decimals, a sign or an exponent is none.
pub(crate) fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole)
        || !digits(part)
        || places < part.len()
        || (text.contains('.') && part.is_empty())
    {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("0{part:0<places$}").parse().ok()?;
    whole.checked_mul(10_u64.checked_pow(u32::try_from(places).ok()?)?)?.checked_add(part)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour to make one
/// word the other ("optimal string alignment"), unless it is more than `most`.
pub(crate) fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    // What one has more must all be put in. A word in a file may be as long as the file.
    if most < a.chars().count().abs_diff(b.chars().count()) {
        return None;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        // No row has less than the least of the two before it.
        let is_over = |row: &Vec<usize>| row.iter().all(|far| most < *far);
        if 1 < i && rows[i - 2..i].iter().all(is_over) {
            return None;
        }
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let crossed = 1 < i && 1 < j && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if crossed { least.min(rows[i - 2][j - 2] + 1) } else { least }
            };
        }
    }
    Some(rows[a.len()][b.len()]).filter(|far| *far <= most)
}

/// The known word that is nearest, if it is no farther than `most`; the first of several.
pub(crate) fn nearest<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
    most: usize,
) -> Option<&'k str> {
    let far = known.into_iter().filter_map(|known| Some((distance(known, word, most)?, known)));
    far.min_by_key(|(far, _)| *far).map(|(_, known)| known)
}

/// What may be meant by a key that is not known: the more letters, the more of them may be wrong;
/// else the only one that it is an abbreviation of.
pub(crate) fn nearest_key<'k>(
    key: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    let near = nearest(key, known.clone(), 1 + key.len() / 5);
    let mut longer = known.into_iter().filter(|known| abbreviates(key, known));
    near.or_else(|| longer.next().filter(|_| longer.next().is_none()))
}

/// `; did you mean `near`?`, or nothing.
pub(crate) fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// `1 replica`, `3 replicas`.
pub(crate) fn plural(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// `the config has no service wbe; did you mean web?`, or else with all that it has.
pub(crate) fn no_service<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> String {
    if let Some(near) = nearest_key(name, known.clone()) {
        return format!("the config has no service {name}; did you mean {near}?");
    }
    let known: Vec<&str> = known.into_iter().collect();
    match known[..] {
        [] => format!("the config has no service {name}, and no other"),
        _ => format!("the config has no service {name}; it has: {}", known.join(", ")),
    }
}

/// `cooldown` and `period_cool` are short for `cooldown_period`.
fn abbreviates(short: &str, long: &str) -> bool {
    let begins_a_word = |part: &str| long.split('_').any(|word| word.starts_with(part));
    short.split('_').all(|part| 3 <= part.len() && begins_a_word(part))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::units::{bytes, decimal, distance, duration, nearest_key, show, span};

    #[test]
    fn durations_have_a_whole_number_and_a_unit() {
        for (text, ms, shown) in [
            ("500ms", 500, "500ms"),
            ("60s", 60_000, "1m"),
            ("5m", 300_000, "5m"),
            ("2h", 7_200_000, "2h"),
            ("6d", 518_400_000, "144h"),
            ("7d", 604_800_000, "7d"),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
            assert_eq!(show(Duration::from_millis(ms)), shown);
        }
        for odd in [
            "",
            "5",
            "s",
            "5 s",
            "1.5s",
            "-5s",
            "5S",
            "5w",
            "99999999999999999999s",
            "9999999999999999999h",
            "9999999999999999999d",
        ] {
            assert_eq!(duration(odd), None, "{odd}");
            let bare = (odd == "5").then_some(Duration::from_secs(5));
            assert_eq!(span(odd), bare, "{odd}");
        }
        assert_eq!(span("90s"), span("90"));
        assert_eq!((span("+5"), span("99999999999999999999")), (None, None));
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, want) in [
            ("512", Some(512)),
            ("512b", Some(512)),
            ("2k", Some(2048)),
            ("512m", Some(512 << 20)),
            ("512MB", Some(512 << 20)),
            ("1g", Some(1 << 30)),
            ("1gbb", None),
            ("1t", None),
            ("", None),
            ("m", None),
            ("-1m", None),
            ("99999999999g", None),
        ] {
            assert_eq!(bytes(text), want, "{text}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        for (text, places, want) in [
            ("75", 2, Some(7500)),
            ("62.5", 2, Some(6250)),
            ("0.01", 2, Some(1)),
            ("0.001", 2, None),
            ("0.001", 3, Some(1)),
            ("0.125", 3, Some(125)),
            ("0.0625", 3, None),
            ("1e3", 2, None),
            ("-1", 2, None),
            ("1.", 2, None),
            ("99999999999999999999", 2, None),
        ] {
            assert_eq!(decimal(text, places), want, "{text}");
        }
    }

    #[test]
    fn near_words_are_near() {
        for (a, b, want) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("paht", "path", 1),
            ("ab", "ba", 1),
            ("abc", "cab", 2),
        ] {
            for most in 0..5 {
                let want = Some(want).filter(|want| *want <= most);
                assert_eq!(distance(a, b, most), want, "{a} {b}");
                assert_eq!(distance(b, a, most), want, "{b} {a}");
            }
        }
    }

    #[test]
    fn a_key_that_is_short_for_one_alone_is_near_it() {
        let known = ["cooldown_period", "environment", "max_replicas", "min_replicas", "port"];
        for (key, want) in [
            ("prot", Some("port")),
            ("cooldown", Some("cooldown_period")),
            ("env", Some("environment")),
            ("min", Some("min_replicas")),
            ("replicas_max", Some("max_replicas")),
            ("minReplicas", Some("min_replicas")),
            ("replicas", None),
            ("co", None),
            ("", None),
        ] {
            assert_eq!(nearest_key(key, known), want, "{key}");
        }
    }
}
