//! Base64, in the two alphabets of RFC 4648.

const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With the usual alphabet, and padded.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= three.len() { char::from(sign) } else { '=' });
        }
    }
    out
}

/// With the alphabet for addresses and file names, and padded.
pub(crate) fn encode_url(bytes: &[u8]) -> String {
    encode(bytes).replace('+', "-").replace('/', "_")
}

/// Takes both alphabets, with padding or without. Line ends are skipped. `None`: it is no base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
    let signs = text.len() - text.iter().rev().take_while(|b| **b == b'=').count();
    let padding = text.len() - signs;
    let is_whole = padding == 0 || (padding <= 2 && text.len().is_multiple_of(4));
    if signs % 4 == 1 || !is_whole {
        return None;
    }
    let mut out = Vec::with_capacity(signs / 4 * 3 + 2);
    for four in text[..signs].chunks(4) {
        let mut bits = 0;
        for sign in four {
            bits = bits << 6 | value(*sign)?;
        }
        let bytes = (bits << (6 * (4 - four.len()))).to_be_bytes();
        out.extend_from_slice(&bytes[1..four.len()]);
    }
    Some(out)
}

fn value(sign: u8) -> Option<u32> {
    let value = match sign {
        b'A'..=b'Z' => sign - b'A',
        b'a'..=b'z' => sign - b'a' + 26,
        b'0'..=b'9' => sign - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use crate::model::base64::{decode, encode, encode_url};

    #[test]
    fn the_examples_of_the_standard_are_encoded_and_decoded() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), encoded);
            assert_eq!(encode_url(plain.as_bytes()), encoded);
            assert_eq!(decode(encoded).as_deref(), Some(plain.as_bytes()), "{encoded}");
            let bare = encoded.trim_end_matches('=');
            assert_eq!(decode(bare).as_deref(), Some(plain.as_bytes()), "{bare}");
        }
    }

    #[test]
    fn the_alphabets_differ_in_two_signs() {
        let bytes = [0xfb, 0xff, 0xbe, 0xff];
        assert_eq!(encode(&bytes), "+/++/w==");
        assert_eq!(encode_url(&bytes), "-_--_w==");
        assert_eq!(decode("+/++/w==").as_deref(), Some(&bytes[..]));
        assert_eq!(decode("-_--_w").as_deref(), Some(&bytes[..]));
    }

    #[test]
    fn every_byte_survives() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)).as_deref(), Some(&bytes[..]));
        assert_eq!(decode(&encode_url(&bytes)).as_deref(), Some(&bytes[..]));
    }

    #[test]
    fn what_is_no_base64_is_none() {
        for text in ["Z", "Zm9vY", "Z===", "Zg=", "Zm9v=", "=", "Zm 9v", "Zm9v!", "Zg==Zg==", "ä"]
        {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode("Zm9\r\nv\n").as_deref(), Some(&b"foo"[..]));
    }
}
