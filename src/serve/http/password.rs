//! Basic authentication, by one name and password.

use std::fmt;

/// What a client has to send. It is never shown.
#[derive(Clone)]
pub(crate) struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    pub(crate) fn new(name: &str, password: &str) -> Self {
        Self(base64(format!("{name}:{password}").as_bytes()))
    }

    /// Whether the header contains it. The time that this takes reveals nothing about the password.
    pub(crate) fn accepts(&self, header: Option<&str>) -> bool {
        let sent =
            header.and_then(|header| header.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("basic"));
        let Some((_, sent)) = sent else { return false };
        let (sent, known) = (sent.trim().as_bytes(), self.0.as_bytes());
        let pairs = known.iter().zip(sent.iter().chain(std::iter::repeat(&0)));
        pairs.fold(u8::from(sent.len() != known.len()), |wrong, (a, b)| wrong | (a ^ b)) == 0
    }
}

/// Encodes bytes in base64, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| LETTERS.get((bits & 63) as usize).map_or('=', |letter| char::from(*letter));
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        text.push(letter(bits >> 18));
        text.push(letter(bits >> 12));
        text.push(if chunk.len() > 1 { letter(bits >> 6) } else { '=' });
        text.push(if chunk.len() > 2 { letter(bits) } else { '=' });
    }
    text
}
