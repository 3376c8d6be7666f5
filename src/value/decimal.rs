//! Exact decimal numbers.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::error::TextFault;

/// The most digits of a decimal: the most that a 64-bit integer can hold in full.
pub(crate) const MOST_DIGITS: u8 = 18;

/// An exact decimal number of at most 18 digits, such as an amount of money.
///
/// It is a whole number of units, and a scale: the number of digits after the decimal point. The scale is not part of
/// the meaning: 1.50 equals 1.5, and is written as 1.5. In JSON a decimal is a text. A whole number is accepted, too,
/// but a number with a decimal point is not, because it would have gone through a float.
///
/// # Examples
/// ```
/// use readside::Decimal;
/// let price: Decimal = "19.90".parse()?;
/// assert_eq!(price, Decimal::new(1990, 2)?);
/// assert_eq!(price.to_string(), "19.9");
/// assert_eq!(price.checked_add("0.10".parse()?), Some("20".parse()?));
/// assert!("NaN".parse::<Decimal>().is_err());
/// assert!("0.1234567890123456789".parse::<Decimal>().is_err(), "too many digits");
/// # Ok::<(), readside::error::TextFault>(())
/// ```
#[derive(Clone, Copy)]
pub struct Decimal {
    /// Less than ten to the power of [`MOST_DIGITS`], with either sign.
    units: i64,
    /// At most [`MOST_DIGITS`].
    scale: u8,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { units: 0, scale: 0 };

    /// The number with this many units, the last `scale` digits of which are decimal places.
    ///
    /// # Errors
    /// [`TextFault::TooManyDigits`]: more than 18 digits, in all or after the decimal point.
    pub fn new(units: i64, scale: u8) -> Result<Self, TextFault> {
        Self::of(i128::from(units), u32::from(scale)).ok_or(TextFault::TooManyDigits { limit: MOST_DIGITS })
    }

    /// As [`new`](Self::new), but drops zeros at the end if the number would not fit otherwise.
    pub(crate) fn of(mut units: i128, mut scale: u32) -> Option<Self> {
        if units == 0 {
            scale = scale.min(u32::from(MOST_DIGITS));
        }
        let fits =
            |units: i128, scale: u32| units.unsigned_abs() < power(MOST_DIGITS) && scale <= u32::from(MOST_DIGITS);
        while !fits(units, scale) && scale > 0 && units % 10 == 0 {
            units /= 10;
            scale -= 1;
        }
        if !fits(units, scale) {
            return None;
        }
        Some(Self { units: i64::try_from(units).ok()?, scale: u8::try_from(scale).ok()? })
    }

    /// The units, with the sign. See [`scale`](Self::scale).
    #[must_use]
    pub fn units(self) -> i64 {
        self.units
    }

    /// How many digits of the units are decimal places: 0 to 18.
    #[must_use]
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// The same number with this scale. It is never rounded.
    ///
    /// # Examples
    /// ```
    /// use readside::Decimal;
    /// let price: Decimal = "19.9".parse()?;
    /// assert_eq!(price.at_scale(2)?.units(), 1990);
    /// assert!(price.at_scale(0).is_err());
    /// # Ok::<(), readside::error::TextFault>(())
    /// ```
    ///
    /// # Errors
    /// [`TextFault::TooManyDigits`] when it has more decimal places, or would have more than 18 digits in all.
    pub fn at_scale(self, scale: u8) -> Result<Self, TextFault> {
        self.scaled(scale).ok_or(TextFault::TooManyDigits { limit: MOST_DIGITS })
    }

    pub(crate) fn scaled(self, scale: u8) -> Option<Self> {
        if scale > MOST_DIGITS {
            return None;
        }
        let (units, factor) = (i128::from(self.units), i128::try_from(power(scale.abs_diff(self.scale))).ok()?);
        let units =
            if scale >= self.scale { units * factor } else { (units % factor == 0).then_some(units / factor)? };
        let units = i64::try_from(units).ok().filter(|units| u128::from(units.unsigned_abs()) < power(MOST_DIGITS))?;
        Some(Self { units, scale })
    }

    /// True when a column with this many digits, and this many of them decimal places, can hold it.
    pub(crate) fn fits(self, precision: u8, scale: u8) -> bool {
        self.scaled(scale).is_some_and(|same| u128::from(same.units.unsigned_abs()) < power(precision))
    }

    /// The sum. `None` when it has more than 18 digits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let units = |of: Self| Some(i128::from(of.units) * i128::try_from(power(scale - of.scale)).ok()?);
        Self::of(units(self)? + units(other)?, u32::from(scale))
    }

    /// The difference. `None` when it has more than 18 digits.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(-other)
    }

    /// How many digits it takes to write it: in all, and after the decimal point.
    pub(crate) fn digits(self) -> (usize, u8) {
        let Self { units, scale } = self.plain();
        (units.unsigned_abs().to_string().len().max(usize::from(scale)), scale)
    }

    /// The number without zeros at the end.
    fn plain(self) -> Self {
        let Self { mut units, mut scale } = self;
        while scale > 0 && units % 10 == 0 {
            units /= 10;
            scale -= 1;
        }
        Self { units, scale }
    }
}

/// Ten to this power.
fn power(exponent: u8) -> u128 {
    10_u128.saturating_pow(u32::from(exponent))
}

/// Zero.
impl Default for Decimal {
    fn default() -> Self {
        Self::ZERO
    }
}

impl std::ops::Neg for Decimal {
    type Output = Self;

    fn neg(self) -> Self {
        Self { units: -self.units, scale: self.scale }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { units, scale } = self.plain();
        (units, scale).hash(state);
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |one: &Self, to: u8| i128::from(one.units).saturating_mul(10_i128.saturating_pow(u32::from(to)));
        let scale = self.scale.max(other.scale);
        size(self, scale - self.scale).cmp(&size(other, scale - other.scale))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { units, scale } = self.plain();
        let (sign, digits) = (if units < 0 { "-" } else { "" }, units.unsigned_abs().to_string());
        let scale = usize::from(scale);
        let digits = format!("{digits:0>width$}", width = scale + 1);
        match digits.split_at_checked(digits.len() - scale) {
            Some((whole, fraction)) if scale > 0 => write!(f, "{sign}{whole}.{fraction}"),
            _ => write!(f, "{sign}{digits}"),
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({self})")
    }
}

/// Digits with or without a decimal point, and with or without a minus sign.
impl FromStr for Decimal {
    type Err = TextFault;

    fn from_str(text: &str) -> Result<Self, TextFault> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(TextFault::NotDecimal);
        }
        let too_many = TextFault::TooManyDigits { limit: MOST_DIGITS };
        // Zeros after the decimal point are kept if there is room, because they are the scale.
        let kept = fraction.get(..fraction.len().min(usize::from(MOST_DIGITS))).unwrap_or(fraction);
        let needed = fraction.trim_end_matches('0');
        let fraction = match digits.contains('.') {
            true if needed.len() > kept.len() => needed,
            true => kept,
            false => "",
        };
        let all = format!("{}{fraction}", whole.trim_start_matches('0'));
        if all.len() > 2 * usize::from(MOST_DIGITS) {
            return Err(too_many);
        }
        let units = if all.is_empty() { 0 } else { all.parse::<i128>().map_err(|_| too_many.clone())? };
        let units = if text.starts_with('-') { -units } else { units };
        let scale = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
        Self::of(units, scale).ok_or(too_many)
    }
}

macro_rules! from_integers {
    ($($type:ty),*) => {
        $(impl From<$type> for Decimal {
            fn from(number: $type) -> Self {
                Self { units: number.into(), scale: 0 }
            }
        })*
    };
}

from_integers!(i8, i16, i32, u8, u16, u32);

impl TryFrom<i64> for Decimal {
    type Error = TextFault;

    fn try_from(number: i64) -> Result<Self, TextFault> {
        Self::new(number, 0)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NAME, Texts)
    }
}

/// The name by which a decimal asks to be decoded, so that a row with a single column is recognized as one.
pub(crate) const NAME: &str = "readside::Decimal";

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Decimal;

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decimal, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number as a text such as \"19.99\", or a whole number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Decimal, E> {
        number.try_into().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
        let too_many = TextFault::TooManyDigits { limit: MOST_DIGITS };
        i64::try_from(number).map_err(|_| too_many).and_then(Decimal::try_from).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    // Contract: A8
    #[test]
    fn one_number_has_one_form() {
        for (text, shown) in [
            ("1.50", "1.5"),
            ("-0", "0"),
            ("-0.00", "0"),
            ("007", "7"),
            ("100", "100"),
            ("-0.05", "-0.05"),
            ("999999999999999999", "999999999999999999"),
            ("-0.999999999999999999", "-0.999999999999999999"),
            ("1.00000000000000000000000000000000000000000000", "1"),
            ("0.00000000000000000000000000000000000000000000", "0"),
        ] {
            let found = decimal(text);
            assert_eq!((found.to_string().as_str(), format!("{found:?}")), (shown, format!("Decimal({shown})")));
            assert_eq!(found, decimal(shown));
        }
        assert_eq!((decimal("19.90").units(), decimal("19.90").scale()), (1990, 2), "the scale is that of the text");
    }

    // Contract: A8
    #[test]
    fn what_is_no_decimal_or_has_too_many_digits_is_refused() {
        for text in
            ["", "-", ".", "1.", ".5", "+1", "1e2", "NaN", "nan", "inf", "Infinity", "1,5", " 1", "--1", "1.-5", "١"]
        {
            assert_eq!(text.parse::<Decimal>(), Err(TextFault::NotDecimal), "{text}");
        }
        let long = "1".repeat(5000);
        for text in ["1000000000000000000", "0.1234567890123456789", "10000000000.123456789", long.as_str()] {
            assert_eq!(text.parse::<Decimal>(), Err(TextFault::TooManyDigits { limit: 18 }), "{text:.30}");
        }
        assert!(Decimal::new(i64::MIN, 0).is_err() && Decimal::new(1, 19).is_err());
        assert_eq!(Decimal::new(10, 19), Decimal::new(1, 18), "a zero at the end is no digit that counts");
    }

    #[test]
    fn json_has_it_as_a_text_and_no_float_is_read() {
        assert_eq!(serde_json::to_string(&decimal("1.50")).unwrap(), "\"1.5\"");
        assert_eq!(serde_json::from_str::<Decimal>("\"1.50\"").unwrap(), decimal("1.5"));
        assert_eq!(serde_json::from_str::<Decimal>("-7").unwrap(), decimal("-7"));
        for text in ["1.5", "1e2", "null", "\"NaN\"", "18446744073709551615"] {
            assert!(serde_json::from_str::<Decimal>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arithmetic_and_order_are_those_of_whole_numbers(a in -10_000..10_000_i64, b in -10_000..10_000_i64, s in 0..4_u8, t in 0..4_u8) {
            let (one, other) = (Decimal::new(a, s).unwrap(), Decimal::new(b, t).unwrap());
            let (x, y) = (a * 10_i64.pow(u32::from(4 - s)), b * 10_i64.pow(u32::from(4 - t)));
            prop_assert_eq!(one.cmp(&other), x.cmp(&y));
            prop_assert_eq!(one.checked_add(other), Decimal::new(x + y, 4).ok());
            prop_assert_eq!(one.checked_sub(other), Decimal::new(x - y, 4).ok());
            prop_assert_eq!(one.to_string().parse::<Decimal>().unwrap(), one);
            prop_assert_eq!(one.scaled(4).map(Decimal::units), Some(x));
        }
    }
}
