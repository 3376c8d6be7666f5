//! Checks whether a text is a JSON document that both databases accept.

use crate::error::TextFault;

/// The deepest nesting of arrays and objects in a JSON text. `serde_json` decodes no deeper one.
pub(crate) const MAX_JSON_DEPTH: usize = 127;

/// Checks that both databases and `serde_json` accept a text as JSON: it is valid, has no NUL and no lone surrogates,
/// and is nested no deeper than [`MAX_JSON_DEPTH`].
pub(crate) fn check_json(text: &str) -> Result<(), TextFault> {
    scan_json(text.as_bytes())?;
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(|_| ())
        .map_err(|error| TextFault::NotJson { why: error.to_string() })
}

/// The most digits of a PostgreSQL number before and after the decimal point.
const MOST_DIGITS: (i64, i64) = (131_072, 16_383);

/// Refuses numbers that `jsonb` refuses, in a text that is valid JSON.
pub(super) fn check_numbers(json: &str) -> Result<(), TextFault> {
    // Only a long text, or one with an exponent, can hold such a number.
    let most = usize::try_from(MOST_DIGITS.1).unwrap_or(usize::MAX);
    if json.len() <= most && !json.bytes().any(|byte| matches!(byte, b'e' | b'E')) {
        return Ok(());
    }
    let bytes = json.as_bytes();
    let (mut at, mut in_string) = (0, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let rest = json.get(at..).unwrap_or_default();
                let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                let end = rest.find(|c| !is_of_number(c)).unwrap_or(rest.len());
                if !is_numeric(rest.get(..end).unwrap_or_default()) {
                    return Err(TextFault::NumberOutOfRange { at });
                }
                at += end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// True for a number that PostgreSQL's `numeric` holds exactly.
fn is_numeric(number: &str) -> bool {
    let number = number.trim_start_matches('-');
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    // An exponent with more digits is always out of range.
    let Some(exponent) = exponent.parse::<i32>().ok().map(i64::from) else { return false };
    let zeros = |text: &str| length(text) - length(text.trim_start_matches('0'));
    let before = match zeros(whole) {
        all if all == length(whole) => -zeros(fraction),
        some => length(whole) - some,
    };
    let is_zero = mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let is_narrow = is_zero && exponent.abs() <= MOST_DIGITS.0 || !is_zero && before + exponent <= MOST_DIGITS.0;
    is_narrow && length(fraction) - exponent <= MOST_DIGITS.1
}

/// Goes over the bytes of a JSON text once and looks at nesting and at `\u` escapes. Bytes of UTF-8 sequences are never
/// equal to ASCII bytes, so looking at bytes is enough.
fn scan_json(bytes: &[u8]) -> Result<(), TextFault> {
    let (mut depth, mut in_string, mut at) = (0usize, false, 0usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            0 => return Err(TextFault::Nul { at }),
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += escape_length(bytes, at)? - 1,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_JSON_DEPTH {
                    return Err(TextFault::TooDeep { at, limit: MAX_JSON_DEPTH });
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The bytes of the escape that starts at `at`. A surrogate pair counts as one escape.
fn escape_length(bytes: &[u8], at: usize) -> Result<usize, TextFault> {
    match unit(bytes, at) {
        None => Ok(2),
        Some(0) => Err(TextFault::Nul { at }),
        Some(0xD800..=0xDBFF) => match unit(bytes, at + 6) {
            Some(0xDC00..=0xDFFF) => Ok(12),
            _ => Err(TextFault::LoneSurrogate { at }),
        },
        Some(0xDC00..=0xDFFF) => Err(TextFault::LoneSurrogate { at }),
        Some(_) => Ok(6),
    }
}

/// The number of a `\uXXXX` escape at `at`, if there is one.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let hex = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}
