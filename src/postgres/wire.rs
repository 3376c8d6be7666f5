//! The binary form of PostgreSQL's numbers and times for which the driver has no types.

use crate::value::{Date, Decimal, Time, Value};

/// PostgreSQL counts days from 2000-01-01, and this library from 1970-01-01.
pub(super) const DAYS_TO_2000: i32 = 10_957;

/// A `numeric` is a row of digits in base 10,000. Before the digits come their count, the power of the first digit,
/// the sign, and the number of decimal digits behind the point.
const BASE: u64 = 10_000;

const NEGATIVE: u16 = 0x4000;

pub(super) fn numeric(number: Decimal) -> Vec<u8> {
    let scale = number.scale();
    // Groups of four decimal digits begin at the point.
    let filled = scale.next_multiple_of(4);
    let mut rest = u128::from(number.units().unsigned_abs()) * 10_u128.pow(u32::from(filled - scale));
    let mut groups: Vec<u16> = Vec::new();
    while rest > 0 {
        groups.push(u16::try_from(rest % u128::from(BASE)).unwrap_or_default());
        rest /= u128::from(BASE);
    }
    let count = |length: usize| i16::try_from(length).unwrap_or_default();
    let weight = count(groups.len()) - i16::from(filled / 4) - 1;
    groups.reverse();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let weight = if groups.is_empty() { 0 } else { weight };
    let sign = if number.units() < 0 { NEGATIVE } else { 0 };
    let mut bytes = Vec::with_capacity(8 + 2 * groups.len());
    bytes.extend_from_slice(&count(groups.len()).to_be_bytes());
    bytes.extend_from_slice(&weight.to_be_bytes());
    bytes.extend_from_slice(&sign.to_be_bytes());
    bytes.extend_from_slice(&u16::from(scale).to_be_bytes());
    for group in groups {
        bytes.extend_from_slice(&group.to_be_bytes());
    }
    bytes
}

/// Reads a `numeric`. A number that does not fit a decimal becomes its text.
pub(super) fn number_of(raw: &[u8]) -> Option<Value> {
    let mut words = raw.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let sign = match sign {
        0 => "",
        NEGATIVE => "-",
        0xD000 => return Some(Value::Text("Infinity".to_owned())),
        0xF000 => return Some(Value::Text("-Infinity".to_owned())),
        _ => return Some(Value::Text("NaN".to_owned())),
    };
    let groups: Vec<u16> = words.collect();
    if groups.len() != usize::from(count) {
        return None;
    }
    let weight = i32::from(i16::from_be_bytes(weight.to_be_bytes()));
    let group = |power: i32| {
        let at = usize::try_from(weight - power).ok();
        at.and_then(|at| groups.get(at)).copied().unwrap_or_default()
    };
    let digits = |powers: &mut dyn Iterator<Item = i32>| {
        powers.map(|power| format!("{:04}", group(power))).collect::<Vec<_>>().concat()
    };
    let whole = digits(&mut (0..=weight.max(0)).rev());
    let whole = whole.trim_start_matches('0');
    let scale = usize::from(scale);
    let behind = i32::try_from(scale.div_ceil(4)).ok()?;
    let fraction = digits(&mut (1..=behind).map(|power| -power));
    let fraction = fraction.get(..scale)?;
    let (whole, point) = (if whole.is_empty() { "0" } else { whole }, if scale > 0 { "." } else { "" });
    let text = format!("{sign}{whole}{point}{fraction}");
    Some(text.parse().map_or(Value::Text(text), Value::Decimal))
}

pub(super) fn day_of(raw: &[u8]) -> Option<Value> {
    let days = i32::from_be_bytes(raw.try_into().ok()?);
    let beyond = || match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        _ => format!("{} days after 1970", i64::from(days) + i64::from(DAYS_TO_2000)),
    };
    let day = days.checked_add(DAYS_TO_2000).and_then(|days| Date::from_days(days).ok());
    Some(day.map_or_else(|| Value::Text(beyond()), Value::Date))
}

/// Reads a `time`. PostgreSQL also allows 24:00, the end of a day, which becomes a text.
pub(super) fn time_of(raw: &[u8]) -> Option<Value> {
    let micros = i64::from_be_bytes(raw.try_into().ok()?);
    Some(Time::from_micros(micros).map_or_else(|_| Value::Text("24:00:00.000000".to_owned()), Value::Time))
}

/// Writes an interval of microseconds only, without days and months.
pub(super) fn interval(micros: i64) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(micros.to_be_bytes()) {
        *to = from;
    }
    bytes
}

/// Reads an interval. As in the server's comparisons, a day has 24 hours and a month has 30 days.
pub(super) fn duration_of(raw: &[u8]) -> Option<Value> {
    let micros = i64::from_be_bytes(raw.get(..8)?.try_into().ok()?);
    let days = i32::from_be_bytes(raw.get(8..12)?.try_into().ok()?);
    let months = i32::from_be_bytes(raw.get(12..16)?.try_into().ok()?);
    let days = i64::from(months) * 30 + i64::from(days);
    let all = i128::from(micros) + i128::from(days) * 86_400_000_000;
    let beyond = || format!("{all} microseconds");
    Some(i64::try_from(all).map_or_else(|_| Value::Text(beyond()), Value::Duration))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_value_can_hold_is_shown_in_words() {
        let number = |words: &[u16]| number_of(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
        assert_eq!(number(&[0, 0, 0xC000, 0]), Some(Value::Text("NaN".to_owned())));
        assert_eq!(number(&[1, 5, 0, 0, 1]), Some(Value::Text(format!("1{}", "0".repeat(20)))));
        assert_eq!(number(&[1, 0xFFFE, 0, 8, 1]), Some(Value::decimal("0.00000001")), "two groups behind the point");
        assert_eq!(number(&[2, 0, 0, 0, 1]), None);
        assert_eq!(day_of(&i32::MAX.to_be_bytes()), Some(Value::Text("infinity".to_owned())));
        assert_eq!(day_of(&(-800_000_i32).to_be_bytes()), Some(Value::Text("-789043 days after 1970".to_owned())));
        assert_eq!(time_of(&86_400_000_000_i64.to_be_bytes()), Some(Value::Text("24:00:00.000000".to_owned())));
        let mut month = interval(1);
        month[15] = 1;
        assert_eq!(duration_of(&month), Some(Value::Duration(2_592_000_000_001)));
        assert_eq!(duration_of(&[0; 15]), None);
    }

    proptest! {
        #[test]
        fn a_number_is_read_as_it_is_written(units in -999_999_999_999_999_999..=999_999_999_999_999_999_i64, short in -10_000..10_000_i64, scale in 0..=18_u8) {
            for units in [units, short] {
                let number = Decimal::new(units, scale).unwrap();
                prop_assert_eq!(number_of(&numeric(number)), Some(Value::Decimal(number)));
            }
        }

        #[test]
        fn a_length_of_time_is_read_as_it_is_written(micros in any::<i64>()) {
            prop_assert_eq!(duration_of(&interval(micros)), Some(Value::Duration(micros)));
        }
    }
}
