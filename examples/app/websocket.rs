//! The app's side of a WebSocket (RFC 6455): it sends back each message of one frame, answers
//! pings, and ends with the client.

use std::io::{self, ErrorKind};

use tiny_http::{Header, ReadWrite, Request, Response};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FRAME_BYTES_MAX: u64 = 64 * 1024;
const FIN: u8 = 0x80;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

pub(crate) fn converse(request: Request) -> io::Result<()> {
    let key = request.headers().iter().find(|h| h.field.equiv("Sec-WebSocket-Key"));
    let Some(key) = key.map(|header| header.value.as_str().to_owned()) else {
        return request.respond(Response::from_string("no key\n").with_status_code(400));
    };
    let accept = base64(&sha1(format!("{key}{GUID}").as_bytes()));
    let accept = Header::from_bytes("Sec-WebSocket-Accept", accept.as_bytes());
    let accept = accept.map_err(|()| io::Error::other("no header"))?;
    let response = Response::empty(101).with_header(accept);
    let mut client = request.upgrade("websocket", response);
    while let Some((opcode, payload)) = read_frame(client.as_mut())? {
        let opcode = if opcode == PING { PONG } else { opcode };
        write_frame(client.as_mut(), opcode, &payload)?;
        if opcode == CLOSE {
            break;
        }
    }
    Ok(())
}

/// `None`: the client has ended.
fn read_frame(client: &mut dyn ReadWrite) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 2];
    match client.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let is_masked = head[1] & 0x80 != 0;
    let length = match head[1] & 0x7f {
        126 => {
            let mut bytes = [0; 2];
            client.read_exact(&mut bytes)?;
            u64::from(u16::from_be_bytes(bytes))
        }
        127 => {
            let mut bytes = [0; 8];
            client.read_exact(&mut bytes)?;
            u64::from_be_bytes(bytes)
        }
        short => u64::from(short),
    };
    if !is_masked || head[0] & FIN == 0 || FRAME_BYTES_MAX < length {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut mask = [0; 4];
    client.read_exact(&mut mask)?;
    let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
    client.read_exact(&mut payload)?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(Some((head[0] & 0xf, payload)))
}

/// Of the server's side: no mask.
fn write_frame(client: &mut dyn ReadWrite, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![FIN | opcode];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(length as u8),
        Ok(length) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    client.write_all(&frame)?;
    client.flush()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 0x3f;
            out.push(if digit <= three.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    out
}

/// FIPS 180-4. The handshake asks for it; nothing here is secret.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let bits = 8 * message.len() as u64;
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&bits.to_be_bytes());

    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for at in 16..80 {
            let mixed = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
            words[at] = mixed.rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (round, word) in words.iter().enumerate() {
            let (mixed, constant) = match round {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e);
            let next = next.wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(word);
        }
    }
    let mut out = [0; 20];
    for (bytes, word) in out.chunks_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    out
}
