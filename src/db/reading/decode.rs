//! Decodes rows into a service's own types, in the same way on both databases.
//!
//! If both databases know the type of a value, that type counts. SQLite does not know the type of an expression. Then
//! the requested type decides: 0 and 1 are truth values, a text is a time, a number or JSON, and 16 bytes are a UUID.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::error::RowFault;
use crate::value::{DECIMAL, Json, Value, micros, parse_time, time_text};

/// Why a row does not fit, and in which column.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) column: Option<String>,
    pub(super) why: RowFault,
}

impl Fault {
    fn new(why: impl Into<String>) -> Self {
        Self { column: None, why: RowFault(why.into()) }
    }

    fn at(self, column: &str) -> Self {
        Self { column: self.column.or_else(|| Some(column.to_owned())), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl std::error::Error for Fault {}

/// The kind of value that was found, never the value.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a truth value",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a floating point number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a text",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "NULL",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a JSON object",
        _ => "something else",
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self::new(why.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("{} was found, {expected} was expected", kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("{} that does not fit was found, {expected} was expected", kind(found)))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("the text is none of {}", expected.join(", ")))
    }
}

/// Decodes a row into a value of a type.
pub(super) fn decode<'de, T: Deserialize<'de>>(names: &[String], row: Vec<Value>) -> Result<T, Fault> {
    T::deserialize(RowOf { names, row })
}

/// A row: a struct or a map by its columns, or a tuple in their order. A single column may be the value itself.
struct RowOf<'n> {
    names: &'n [String],
    row: Vec<Value>,
}

impl RowOf<'_> {
    /// The only column.
    fn single(self, expected: &dyn de::Expected) -> Result<Field, Fault> {
        let count = self.row.len();
        let mut values = self.row.into_iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(Field(value)),
            _ => Err(Fault::new(format!("a row of {count} columns was found, {expected} was expected"))),
        }
    }

    /// Decodes the first column, which is the only one.
    fn alone<T>(self, decode: impl FnOnce(Field) -> Result<T, Fault>) -> Result<T, Fault> {
        let name = self.names.first().cloned().unwrap_or_default();
        decode(Field(self.row.into_iter().next().unwrap_or(Value::Null))).map_err(|fault| fault.at(&name))
    }
}

/// What both databases tell to be many values.
fn is_list(value: &Value) -> bool {
    use Value::{Bytes, IntegerArray, Json, TextArray, UuidArray};
    matches!(value, Bytes(_) | Json(_) | TextArray(_) | IntegerArray(_) | UuidArray(_))
}

struct Columns<'n> {
    names: std::slice::Iter<'n, String>,
    values: std::vec::IntoIter<Value>,
    at: Option<&'n String>,
}

impl<'n> Columns<'n> {
    fn of(row: RowOf<'n>) -> Self {
        Self { names: row.names.iter(), values: row.row.into_iter(), at: None }
    }

    fn value<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let value = self.values.next().ok_or_else(|| Fault::new("a column is missing"))?;
        let name = self.at.map_or("", String::as_str);
        seed.deserialize(Field(value)).map_err(|fault| fault.at(name))
    }
}

impl<'de> MapAccess<'de> for Columns<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.at = self.names.next();
        self.at.map(|name| seed.deserialize(name.as_str().into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        self.value(seed)
    }
}

impl<'de> SeqAccess<'de> for Columns<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.at = self.names.next();
        if self.at.is_some() { self.value(seed).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len())
    }
}

macro_rules! of_single {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let name = self.names.first().cloned().unwrap_or_default();
            self.single(&visitor)?.$method(visitor).map_err(|fault| fault.at(&name))
        })*
    };
}

impl<'de> Deserializer<'de> for RowOf<'_> {
    type Error = Fault;

    of_single! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
    }

    /// A type that takes whatever comes, such as a decimal of another crate, gets the value of a single column.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.row.len() == 1 {
            return self.alone(|field| field.deserialize_any(visitor));
        }
        visitor.visit_map(Columns::of(self))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Columns::of(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == TIME {
            return self.single(&visitor)?.deserialize_struct(name, fields, visitor);
        }
        visitor.visit_map(Columns::of(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if matches!(self.row.as_slice(), [value] if is_list(value)) {
            return self.alone(|field| field.deserialize_seq(visitor));
        }
        visitor.visit_seq(Columns::of(self))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        if length != self.row.len() {
            return Err(Fault::new(format!("a row of {} columns was found, {length} were expected", self.row.len())));
        }
        visitor.visit_seq(Columns::of(self))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name == DECIMAL {
            return self.single(&visitor)?.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.single(&visitor)?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { unit_struct identifier ignored_any }
}

/// The name by which the standard library asks for a time.
const TIME: &str = "SystemTime";

/// The value of a column.
struct Field(Value);

impl Field {
    /// The JSON in a text; the field itself if it holds no JSON.
    fn json(self) -> Result<String, Self> {
        match self.0 {
            Value::Json(text) | Value::Text(text) => Ok(text),
            other => Err(Self(other)),
        }
    }

    /// A number in a text, such as a sum that PostgreSQL returns in digits.
    fn number<T: std::str::FromStr>(&self) -> Option<T> {
        match &self.0 {
            Value::Text(text) => text.parse().ok(),
            Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::Bytes(_) => None,
            other => other.to_json().as_str()?.parse().ok(),
        }
    }

    /// The value as a text, if it has one.
    fn text(self) -> Result<String, Value> {
        Ok(match self.0 {
            Value::Text(text) => text,
            Value::Json(text) => one_text(text),
            Value::Timestamp(at) => time_text(at),
            Value::Uuid(id) => id.to_string(),
            Value::Bytes(bytes) => match uuid::Uuid::from_slice(&bytes) {
                Ok(id) => id.to_string(),
                Err(_) => return Err(Value::Bytes(bytes)),
            },
            other => match other.to_json() {
                serde_json::Value::String(text) => text,
                _ => return Err(other),
            },
        })
    }
}

/// One text for all spellings of the same document, whichever database wrote it. Numbers get their usual form if that
/// is exact.
fn one_text(json: String) -> String {
    let Some(own) = Json::parse(&json).map(|json| json.to_string()) else { return json };
    let usual = Value::Json(json).to_json().to_string();
    let is_exact = Json::parse(&usual).is_some_and(|usual| usual.to_string() == own);
    if is_exact { usual } else { own }
}

/// Decodes JSON with the same visitor.
macro_rules! by_json {
    ($text:expr, $method:ident ( $($arg:expr),* )) => {{
        let mut json = serde_json::Deserializer::from_reader($text.as_bytes());
        let decoded = (&mut json).$method($($arg),*);
        decoded.and_then(|decoded| json.end().map(|()| decoded)).map_err(|error| of_json(&error))
    }};
}

/// The kind of fault and its place, without the words of the error, which may quote the value.
fn of_json(error: &serde_json::Error) -> Fault {
    let what = match error.classify() {
        serde_json::error::Category::Data => "JSON of another form was found",
        _ => "a text was found that is not JSON",
    };
    Fault::new(format!("{what} (line {}, column {} of it)", error.line(), error.column()))
}

macro_rules! numbers {
    ($($method:ident $number:ty,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.number::<$number>() {
                Some(number) => number.into_deserializer().$method(visitor),
                None => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Field {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Boolean(truth) => visitor.visit_bool(truth),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Value::Text(text) => visitor.visit_string(text),
            Value::Json(text) => by_json!(text, deserialize_any(visitor)),
            Value::TextArray(texts) => visitor.visit_seq(SeqDeserializer::new(texts.into_iter())),
            other => other.to_json().deserialize_any(visitor).map_err(|error| of_json(&error)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Integer(number @ 0..=1) => visitor.visit_bool(number == 1),
            _ => self.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_i8 i8, deserialize_i16 i16, deserialize_i32 i32, deserialize_i64 i64, deserialize_i128 i128,
        deserialize_u8 u8, deserialize_u16 u16, deserialize_u32 u32, deserialize_u64 u64, deserialize_u128 u128,
        deserialize_f32 f32, deserialize_f64 f64,
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            Ok(text) => visitor.visit_string(text),
            Err(other) => Field(other).deserialize_any(visitor),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_string(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.json() {
            Err(Self(Value::Bytes(bytes))) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            Ok(text) => by_json!(text, deserialize_seq(visitor)),
            Err(other) => other.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        match self.json() {
            Ok(text) => by_json!(text, deserialize_tuple(length, visitor)),
            Err(other) => other.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.json() {
            Ok(text) => by_json!(text, deserialize_tuple_struct(name, length, visitor)),
            Err(other) => other.deserialize_seq(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.json() {
            Ok(text) => by_json!(text, deserialize_map(visitor)),
            Err(other) => other.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == TIME {
            return self.time(visitor);
        }
        match self.json() {
            Ok(text) => by_json!(text, deserialize_struct(name, fields, visitor)),
            Err(other) => other.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Json(text) => by_json!(text, deserialize_enum(name, variants, visitor)),
            Value::Text(text) => visitor.visit_enum(Variant(text)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! { unit unit_struct identifier ignored_any }
}

impl Field {
    /// A time, in the two parts that the standard library expects.
    fn time<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let at = match &self.0 {
            Value::Timestamp(at) => Some(*at),
            Value::Text(text) => parse_time(text),
            _ => return self.deserialize_any(visitor),
        };
        let micros = at.and_then(micros).ok_or_else(|| Fault::new("a text was found that is not a time"))?;
        let micros = u64::try_from(micros).map_err(|_| {
            Fault::new("a time before 1970 was found, which a SystemTime cannot be decoded of; take it as a text")
        })?;
        let parts = [("secs_since_epoch", micros / 1_000_000), ("nanos_since_epoch", micros % 1_000_000 * 1000)];
        visitor.visit_map(MapDeserializer::new(parts.into_iter()))
    }
}

/// A variant without contents, by its name.
struct Variant(String);

impl<'de> EnumAccess<'de> for Variant {
    type Error = Fault;
    type Variant = NoContents;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, NoContents), Fault> {
        Ok((seed.deserialize(self.0.into_deserializer())?, NoContents))
    }
}

struct NoContents;

impl<'de> de::VariantAccess<'de> for NoContents {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Fault> {
        Err(Fault::new("a text was found, a variant with contents was expected"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::new("a text was found, a variant with contents was expected"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Fault> {
        Err(Fault::new("a text was found, a variant with contents was expected"))
    }
}
