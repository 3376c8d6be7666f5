//! Days, and times of day.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::error::TextFault;

const DAY: i64 = 86_400_000_000;

/// A day of the calendar, from 0001-01-01 to 9999-12-31. Its text, also in JSON, is `2026-01-31`.
///
/// # Examples
/// ```
/// use readside::Date;
/// let day: Date = "2026-01-31".parse()?;
/// assert_eq!(day, Date::new(2026, 1, 31)?);
/// assert!(Date::new(2026, 2, 30).is_err());
/// # Ok::<(), readside::error::TextFault>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(civil::Date);

impl Date {
    /// The day with this year, month and day of the month. Months and days count from 1.
    ///
    /// # Errors
    /// [`TextFault::NotDate`] for a day that does not exist, or outside of the years 1 to 9999.
    pub fn new(year: i16, month: u8, day: u8) -> Result<Self, TextFault> {
        let part = |number: u8| i8::try_from(number).map_err(|_| TextFault::NotDate);
        civil::Date::new(year, part(month)?, part(day)?).ok().and_then(Self::of).ok_or(TextFault::NotDate)
    }

    pub(crate) fn of(date: civil::Date) -> Option<Self> {
        (1..=9999).contains(&date.year()).then_some(Self(date))
    }

    /// Days since 1970-01-01, negative before.
    #[must_use]
    pub fn days(self) -> i32 {
        let hours = self.0.duration_since(civil::Date::constant(1970, 1, 1)).as_hours();
        i32::try_from(hours / 24).unwrap_or_default()
    }

    /// The day this many days after 1970-01-01.
    ///
    /// # Errors
    /// [`TextFault::NotDate`] outside of the years 1 to 9999.
    pub fn from_days(days: i32) -> Result<Self, TextFault> {
        let after = SignedDuration::from_hours(24 * i64::from(days));
        let date = civil::Date::constant(1970, 1, 1).checked_add(after).ok();
        date.and_then(Self::of).ok_or(TextFault::NotDate)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Date({self})")
    }
}

impl FromStr for Date {
    type Err = TextFault;

    fn from_str(text: &str) -> Result<Self, TextFault> {
        let date = text.parse::<civil::Date>().ok().and_then(Self::of);
        // The parser accepts more than plain dates.
        date.filter(|date| date.to_string() == text).ok_or(TextFault::NotDate)
    }
}

/// A time of day in microseconds, from 00:00:00 to 23:59:59.999999. Its text, also in JSON, is `12:00:00.000000`. A
/// text with fewer fractional digits can be read, too.
///
/// # Examples
/// ```
/// use readside::Time;
/// let noon: Time = "12:00:00".parse()?;
/// assert_eq!(noon, Time::new(12, 0, 0, 0)?);
/// assert_eq!(noon.to_string(), "12:00:00.000000");
/// assert!("24:00:00".parse::<Time>().is_err());
/// # Ok::<(), readside::error::TextFault>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(civil::Time);

impl Time {
    /// The time with this hour, minute, second and microsecond.
    ///
    /// # Errors
    /// [`TextFault::NotTime`] when there is no such time.
    pub fn new(hour: u8, minute: u8, second: u8, micros: u32) -> Result<Self, TextFault> {
        if hour > 23 || minute > 59 || second > 59 || micros > 999_999 {
            return Err(TextFault::NotTime);
        }
        let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
        Self::from_micros(seconds * 1_000_000 + i64::from(micros))
    }

    /// Truncates the time to microseconds.
    pub(crate) fn of(time: civil::Time) -> Option<Self> {
        let since = time.duration_since(civil::Time::midnight());
        Self::from_micros(i64::try_from(since.as_micros()).ok()?).ok()
    }

    /// Microseconds since midnight.
    #[must_use]
    pub fn micros(self) -> i64 {
        i64::try_from(self.0.duration_since(civil::Time::midnight()).as_micros()).unwrap_or_default()
    }

    /// The time this many microseconds after midnight.
    ///
    /// # Errors
    /// [`TextFault::NotTime`] for a negative number, and for a whole day or more.
    pub fn from_micros(micros: i64) -> Result<Self, TextFault> {
        let time = civil::Time::midnight().checked_add(SignedDuration::from_micros(micros)).ok();
        time.filter(|_| (0..DAY).contains(&micros)).map(Self).ok_or(TextFault::NotTime)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Time({self})")
    }
}

impl FromStr for Time {
    type Err = TextFault;

    fn from_str(text: &str) -> Result<Self, TextFault> {
        // The parser accepts more than plain times, and also a 60th second.
        let is_of_time = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
        let is_whole = text.len() >= "00:00:00".len() && text.get(6..8).is_some_and(|second| second < "60");
        let time = if is_of_time && is_whole { text.parse::<civil::Time>().ok() } else { None };
        time.and_then(Self::of).ok_or(TextFault::NotTime)
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        })*
    };
}

as_text!(Date, Time);

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: A8
    #[test]
    fn days_have_one_range_and_one_text() {
        for (days, text) in [(-719_162, "0001-01-01"), (-1, "1969-12-31"), (0, "1970-01-01"), (2_932_896, "9999-12-31")]
        {
            let date = Date::from_days(days).unwrap();
            assert_eq!((date.to_string().as_str(), date.days(), text.parse()), (text, days, Ok(date)));
            assert_eq!(serde_json::from_str::<Date>(&serde_json::to_string(&date).unwrap()).unwrap(), date);
        }
        for days in [-719_163, 2_932_897, i32::MIN, i32::MAX] {
            assert_eq!(Date::from_days(days), Err(TextFault::NotDate), "{days}");
        }
        for text in
            ["0000-12-31", "2026-02-29", "2026-1-1", "20260101", "2026-01-01T00:00:00", "-000001-01-01", "", "soon"]
        {
            assert_eq!(text.parse::<Date>(), Err(TextFault::NotDate), "{text}");
        }
        assert!(Date::new(2026, 13, 1).is_err() && Date::new(2026, 200, 1).is_err());
    }

    // Contract: A8
    #[test]
    fn times_of_day_have_one_range_and_one_text() {
        for (micros, text) in [(0, "00:00:00.000000"), (1, "00:00:00.000001"), (DAY - 1, "23:59:59.999999")] {
            let time = Time::from_micros(micros).unwrap();
            assert_eq!((time.to_string().as_str(), time.micros(), text.parse()), (text, micros, Ok(time)));
        }
        assert_eq!("12:30:00.5".parse(), Time::new(12, 30, 0, 500_000));
        assert_eq!("12:30:00.0000019".parse(), Time::new(12, 30, 0, 1), "finer parts are cut off");
        for text in ["24:00:00", "23:59:60", "12:30", "2026-01-01T12:30:00", "12:30:00Z", "", "noon", "-1:00:00"] {
            assert_eq!(text.parse::<Time>(), Err(TextFault::NotTime), "{text}");
        }
        assert!(Time::from_micros(-1).is_err() && Time::from_micros(DAY).is_err() && Time::new(0, 60, 0, 0).is_err());
    }
}
