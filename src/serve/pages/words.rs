//! Numbers and times as people read them.

use std::time::{Duration, SystemTime};

use crate::clock::spoken;
pub(crate) use crate::plain::count;
use crate::value;

/// `12,345`, of a number that is not negative.
pub(crate) fn positions(number: i64) -> String {
    count(u64::try_from(number).unwrap_or(0))
}

/// `1 event`, `2 events`.
pub(crate) fn several(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Seconds in words.
pub(crate) fn seconds(number: f64) -> String {
    spoken(Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX))
}

/// `2026-11-28 14:03:07`, in UTC.
pub(crate) fn moment(at: SystemTime) -> String {
    let text = machine(at);
    let text = text.split('.').next().unwrap_or_default().trim_end_matches('Z');
    text.replace('T', " ")
}

/// `14:03:07`, in UTC.
pub(crate) fn time_of_day(at: SystemTime) -> String {
    moment(at).split(' ').next_back().unwrap_or_default().to_owned()
}

/// The time in the form of RFC 3339.
pub(crate) fn machine(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| value::time_text(at), |at| at.to_string())
}

/// How long ago. Clocks may differ, so a time in the future counts as now.
pub(crate) fn ago(at: SystemTime, now: SystemTime) -> String {
    format!("{} ago", spoken(now.duration_since(at).unwrap_or_default()))
}

/// Per second, with the significant digits only.
pub(crate) fn speed(per_second: f64) -> String {
    if per_second >= 10.0 || per_second == 0.0 { format!("{per_second:.0}/s") } else { format!("{per_second:.1}/s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: S3
    #[test]
    fn numbers_are_exact_and_nothing_is_negative() {
        assert_eq!(positions(i64::MAX), "9,223,372,036,854,775,807");
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(positions(-1), "0");
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_338_587_250);
        assert_eq!((moment(at), time_of_day(at)), ("2025-11-28 14:03:07".to_owned(), "14:03:07".to_owned()));
        assert_eq!(ago(at + Duration::from_hours(1), at), "0 s ago");
        assert_eq!(ago(at, at + Duration::from_mins(1)), "1 min ago");
        assert_eq!(seconds(f64::INFINITY), spoken(Duration::MAX));
    }
}
