//! Values in PostgreSQL's binary protocol.

use std::error::Error;
use std::time::SystemTime;

use postgres::Row as Found;
use postgres::types::private::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use serde::Serialize;
use uuid::Uuid;

use super::{error, wire};
use crate::db::Row;
use crate::error::{StoreError, StoreErrorKind};
use crate::value::{Date, Decimal, Time, Value, unsigned_zero, within};

type Cause = Box<dyn Error + Sync + Send>;

/// A value to bind. NULL takes its type from its place in the statement.
#[derive(Debug)]
pub(super) struct Param<'v>(pub(super) &'v Value);

impl Param<'_> {
    pub(super) fn kind(&self) -> Type {
        match self.0 {
            Value::Null | Value::Unfit(_) => Type::UNKNOWN,
            Value::Boolean(_) => Type::BOOL,
            Value::Integer(_) => Type::INT8,
            Value::Float(_) => Type::FLOAT8,
            Value::Text(_) => Type::TEXT,
            Value::Json(_) => Type::JSONB,
            Value::Bytes(_) => Type::BYTEA,
            Value::Timestamp(_) => Type::TIMESTAMPTZ,
            Value::TextArray(_) => Type::TEXT_ARRAY,
            Value::Uuid(_) => Type::UUID,
            Value::Decimal(_) => Type::NUMERIC,
            Value::Date(_) => Type::DATE,
            Value::Time(_) => Type::TIME,
            Value::Duration(_) => Type::INTERVAL,
            Value::IntegerArray(_) => Type::INT8_ARRAY,
            Value::UuidArray(_) => Type::UUID_ARRAY,
        }
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Cause> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Boolean(value) => value.to_sql(kind, out),
            Value::Integer(value) => value.to_sql(kind, out),
            Value::Float(value) => unsigned_zero(*value).to_sql(kind, out),
            Value::Text(value) => value.to_sql(kind, out),
            Value::Json(text) => {
                // The binary form of jsonb is a version number, then the text.
                out.extend_from_slice(&[1]);
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            Value::Bytes(value) => value.to_sql(kind, out),
            // The driver would wrap a value beyond the range.
            Value::Timestamp(value) => within(*value).to_sql(kind, out),
            // Array values of many rows travel as text.
            Value::TextArray(value) if *kind == Type::TEXT => literal(value).to_sql(kind, out),
            Value::IntegerArray(value) if *kind == Type::TEXT => plain(value).to_sql(kind, out),
            Value::UuidArray(value) if *kind == Type::TEXT => plain(value).to_sql(kind, out),
            Value::IntegerArray(value) => value.to_sql(kind, out),
            Value::UuidArray(value) => value.to_sql(kind, out),
            Value::Decimal(number) => written(wire::numeric(*number), out),
            Value::Date(day) => written((day.days() - wire::DAYS_TO_2000).to_be_bytes(), out),
            Value::Time(time) => written(time.micros().to_be_bytes(), out),
            Value::Duration(micros) => written(wire::interval(*micros), out),
            // An earlier check refuses statements with such a value.
            Value::Unfit(fault) => Err(Box::new(fault.clone())),
            Value::TextArray(value) => value.to_sql(kind, out),
            Value::Uuid(value) => value.to_sql(kind, out),
        }
    }

    /// The type is always the one that [`kind`](Param::kind) named.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Lets a service bind these values in its own statements, and read them from its own rows.
macro_rules! for_the_driver {
    ($($of:ident from $kind:ident by $read:path,)*) => {
        $(
            impl ToSql for $of {
                fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Cause> {
                    Param(&Value::$of(*self)).to_sql(kind, out)
                }

                fn accepts(kind: &Type) -> bool {
                    *kind == Type::$kind
                }

                to_sql_checked!();
            }

            impl<'a> FromSql<'a> for $of {
                fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
                    match $read(raw) {
                        Some(Value::$of(found)) => Ok(found),
                        Some(_) => Err(concat!("the value is beyond the range of a ", stringify!($of)).into()),
                        None => Err(cut_off(kind)),
                    }
                }

                fn accepts(kind: &Type) -> bool {
                    *kind == Type::$kind
                }
            }
        )*
    };
}

for_the_driver! {
    Decimal from NUMERIC by wire::number_of,
    Date from DATE by wire::day_of,
    Time from TIME by wire::time_of,
}

fn cut_off(kind: &Type) -> Cause {
    format!("the bytes of a value of type {kind} are cut off").into()
}

/// An array as PostgreSQL writes it, with every text in quotes.
fn literal(texts: &[String]) -> String {
    let quoted = texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

/// An array of items that need no quotes.
fn plain<T: ToString>(items: &[T]) -> String {
    format!("{{{}}}", items.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// Writes bytes as the protocol needs them.
#[expect(clippy::unnecessary_wraps, reason = "as all values are written")]
fn written(bytes: impl AsRef<[u8]>, out: &mut BytesMut) -> Result<IsNull, Cause> {
    out.extend_from_slice(bytes.as_ref());
    Ok(IsNull::No)
}

/// A value read from its bytes.
struct Wire(Value);

impl<'a> FromSql<'a> for Wire {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        let value = match *kind {
            Type::NUMERIC => wire::number_of(raw),
            Type::DATE => wire::day_of(raw),
            Type::TIME => wire::time_of(raw),
            _ => wire::duration_of(raw),
        };
        value.map(Self).ok_or_else(|| cut_off(kind))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::NUMERIC | Type::DATE | Type::TIME | Type::INTERVAL)
    }
}

impl From<Wire> for Value {
    fn from(wire: Wire) -> Self {
        wire.0
    }
}

/// The text of a JSON value.
struct Json(String);

impl<'a> FromSql<'a> for Json {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        let text = if *kind == Type::JSONB { raw.get(1..).unwrap_or_default() } else { raw };
        Ok(Self(std::str::from_utf8(text)?.to_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::JSON || *kind == Type::JSONB
    }
}

/// All columns of a row.
pub(super) fn row(found: &Found) -> Result<Row, StoreError> {
    (0..found.len()).map(|at| column(found, at)).collect()
}

pub(super) fn column(found: &Found, at: usize) -> Result<Value, StoreError> {
    let Some(column) = found.columns().get(at) else { return Ok(Value::Null) };
    let kind = column.type_();
    match *kind {
        Type::BOOL => get::<bool>(found, at),
        Type::INT2 => get::<i16>(found, at),
        Type::INT4 => get::<i32>(found, at),
        Type::INT8 => get::<i64>(found, at),
        Type::FLOAT4 => get::<f32>(found, at),
        Type::FLOAT8 => get::<f64>(found, at),
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::BPCHAR | Type::UNKNOWN => get::<String>(found, at),
        Type::BYTEA => get::<Vec<u8>>(found, at),
        Type::TIMESTAMPTZ => get::<SystemTime>(found, at),
        Type::TEXT_ARRAY => array(found, at, Value::TextArray),
        Type::INT8_ARRAY => array(found, at, Value::IntegerArray),
        Type::UUID_ARRAY => array(found, at, Value::UuidArray),
        Type::NUMERIC | Type::DATE | Type::TIME | Type::INTERVAL => get::<Wire>(found, at),
        Type::UUID => get::<Uuid>(found, at),
        Type::JSON | Type::JSONB => {
            let json: Option<Json> = found.try_get(at).map_err(|error| error::store("reading a value", &error))?;
            Ok(json.map_or(Value::Null, |json| Value::Json(json.0)))
        }
        Type::VOID => Ok(Value::Null),
        _ => Err(StoreError::new("reading a value", StoreErrorKind::Usage, format!("the type {kind} is not known"))),
    }
}

/// An array with NULL in it is shown as JSON text, as on SQLite. Only foreign SQL can write one.
fn array<T>(found: &Found, at: usize, whole: impl Fn(Vec<T>) -> Value) -> Result<Value, StoreError>
where
    T: for<'r> FromSql<'r> + Serialize,
{
    let doing =
        || format!("reading the array in column {:?}", found.columns().get(at).map_or("", |column| column.name()));
    let items: Option<Vec<Option<T>>> = found.try_get(at).map_err(|error| error::store(&doing(), &error))?;
    let Some(items) = items else { return Ok(Value::Null) };
    if items.iter().all(Option::is_some) {
        return Ok(whole(items.into_iter().flatten().collect()));
    }
    let text = serde_json::to_string(&items);
    text.map(Value::Text).map_err(|error| StoreError::new(doing(), StoreErrorKind::Data, error))
}

fn get<'r, T: FromSql<'r> + Into<Value>>(found: &'r Found, at: usize) -> Result<Value, StoreError> {
    let value: Option<T> = found.try_get(at).map_err(|error| error::store("reading a value", &error))?;
    Ok(value.into())
}
