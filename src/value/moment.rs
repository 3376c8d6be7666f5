//! Moments: microseconds since 1970, their range, and their text.

use std::time::{Duration, SystemTime};

use crate::error::TextFault;

/// The first moment that columns hold: 0001-01-01T00:00:00Z. Year 0 has no spelling that both databases accept.
pub(super) const FIRST: i64 = -62_135_596_800_000_000;

/// The last one: 9999-12-31T23:59:59.999999Z. Texts of fixed width sort like the times that they name.
pub(super) const LAST: i64 = 253_402_300_799_999_999;

pub(super) fn check_time(at: SystemTime) -> Result<(), TextFault> {
    match micros(at) {
        Some(FIRST..=LAST) => Ok(()),
        _ => Err(TextFault::TimeOutOfRange),
    }
}

/// The time itself or, if it is outside of the range, the nearer end of the range. Nothing is stored outside, so a
/// comparison with stored times keeps its meaning.
pub(crate) fn within(at: SystemTime) -> SystemTime {
    match micros(at) {
        Some(micros) => from_micros(micros.clamp(FIRST, LAST)),
        None if at < SystemTime::UNIX_EPOCH => from_micros(FIRST),
        None => from_micros(LAST),
    }
}

/// As [`within`], but a part of a microsecond counts as a whole one.
pub(crate) fn within_above(at: SystemTime) -> SystemTime {
    let below = within(at);
    if below < at { within(below + Duration::from_micros(1)) } else { below }
}

/// `2026-01-31T12:00:00.000000Z`. For a time that columns cannot hold but a person may have stored, a phrase.
pub(crate) fn time_text(at: SystemTime) -> String {
    // A server counts from the year 2000, and uses the ends of the 64-bit range as its infinities.
    const INFINITELY_EARLY: i64 = i64::MIN + 946_684_800_000_000;
    match micros(at) {
        Some(micros @ FIRST..=LAST) => {
            let civil = civil_epoch().checked_add(jiff::SignedDuration::from_micros(micros));
            civil.map_or_else(|_| format!("{micros} microseconds after 1970"), |at| format!("{at:.6}Z"))
        }
        Some(i64::MIN..=INFINITELY_EARLY) => "-infinity".to_owned(),
        Some(micros) => format!("{micros} microseconds after 1970"),
        None if at < SystemTime::UNIX_EPOCH => "-infinity".to_owned(),
        None => "infinity".to_owned(),
    }
}

/// Reads what [`time_text`] has written, or any other time in RFC 3339.
pub(crate) fn parse_time(text: &str) -> Option<SystemTime> {
    parse_written(text).or_else(|| parse_any_time(text))
}

/// Reads what [`time_text`] has written. Each event has such a text, and its parts are at fixed places.
pub(super) fn parse_written(text: &str) -> Option<SystemTime> {
    let bytes: &[u8; 27] = text.as_bytes().try_into().ok()?;
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _, b'.', _, _, _, _, _, _, b'Z'] = bytes
    else {
        return None;
    };
    let number = |from: usize, to: usize| {
        let digit = |byte: &u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
        bytes.get(from..to)?.iter().try_fold(0, |number, byte| Some(number * 10 + digit(byte)?))
    };
    let short = |from: usize| i8::try_from(number(from, from + 2)?).ok();
    let (year, nanos) = (i16::try_from(number(0, 4)?).ok()?, number(20, 26)? * 1000);
    let at = jiff::civil::DateTime::new(year, short(5)?, short(8)?, short(11)?, short(14)?, short(17)?, nanos).ok()?;
    i64::try_from(at.duration_since(civil_epoch()).as_micros()).ok().map(from_micros)
}

fn parse_any_time(text: &str) -> Option<SystemTime> {
    // The range of the calendar type is larger than that of the moment type, which leaves room for offsets.
    let civil = text.strip_suffix('Z').and_then(|text| text.parse::<jiff::civil::DateTime>().ok());
    match civil {
        Some(at) => i64::try_from(at.duration_since(civil_epoch()).as_micros()).ok().map(from_micros),
        None => text.parse::<jiff::Timestamp>().ok().map(Into::into),
    }
}

fn civil_epoch() -> jiff::civil::DateTime {
    jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0)
}

/// Microseconds since 1970, rounded down. `None` outside of 64 bits.
pub(crate) fn micros(at: SystemTime) -> Option<i64> {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).ok(),
        Err(before) => {
            let nanos = before.duration().as_nanos();
            i64::try_from(nanos.div_ceil(1000)).ok().map(|n| -n)
        }
    }
}

/// The time this many microseconds after 1970.
pub(crate) fn from_micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

/// Truncates a time to microseconds, which is what both databases keep.
pub(crate) fn to_micros(at: SystemTime) -> SystemTime {
    micros(at).map_or(at, from_micros)
}
