//! What the example app answers, to tell a wrong answer from a right one. Paths that it does not
//! have are those of other targets, whose answers are not known.

pub(crate) fn is_right(path: &str, sent: &[u8], body: &[u8]) -> bool {
    match path.split('?').next().unwrap_or_default() {
        "/" => body.starts_with(b"hello from ") && body.ends_with(b"\n"),
        "/slow" => {
            let ms = parameter(path, "ms").unwrap_or(500);
            body.starts_with(format!("slept {ms} ms on ").as_bytes()) && body.ends_with(b"\n")
        }
        "/stream" => {
            let bytes = 1024 * parameter(path, "chunks").unwrap_or(10);
            body.len() as u64 == bytes && body.iter().all(|byte| *byte == b'x')
        }
        "/echo" => body == sent,
        _ => true,
    }
}

pub(crate) fn parameter(path: &str, name: &str) -> Option<u64> {
    let mut pairs = path.split_once('?')?.1.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name)?.1.parse().ok()
}
