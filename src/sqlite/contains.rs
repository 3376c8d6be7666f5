//! SQL functions that SQLite lacks: JSON compared by meaning, as with `jsonb`, and a way to raise an error.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};

use crate::value::Json;

pub(super) fn add(conn: &Connection) -> rusqlite::Result<()> {
    let pure = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("readside_json_contains", 2, pure, |context| contains(context))?;
    conn.create_scalar_function("readside_json", 1, pure, |context| spelled(context))?;
    conn.create_scalar_function("readside_plus", 2, pure, |context| plus(context))?;
    // Not deterministic, so that SQLite calls it only for the row that needs it.
    conn.create_scalar_function("readside_twice", 0, FunctionFlags::SQLITE_UTF8, |_| -> rusqlite::Result<bool> {
        Err(rusqlite::Error::UserFunctionError(TWICE.into()))
    })
}

/// The words in which PostgreSQL says it.
pub(super) const TWICE: &str = "ON CONFLICT DO UPDATE command cannot affect row a second time";

/// `readside_json_contains(document, part)`: what `document @> part` says.
fn contains(context: &Context<'_>) -> rusqlite::Result<Option<bool>> {
    let argument = |at| -> rusqlite::Result<Option<Json>> {
        let text: Option<String> = context.get(at)?;
        let wrong = || rusqlite::Error::UserFunctionError("JSON that cannot be read".into());
        text.map(|text| Json::parse(&text).ok_or_else(wrong)).transpose()
    };
    Ok(match (argument(0)?, argument(1)?) {
        (Some(document), Some(part)) => Some(document.contains(&part)),
        _ => None,
    })
}

/// `readside_plus(a, b)`: the sum of two floats. It refuses an overflow, as PostgreSQL does.
fn plus(context: &Context<'_>) -> rusqlite::Result<Option<f64>> {
    let (Some(a), Some(b)) = (context.get::<Option<f64>>(0)?, context.get::<Option<f64>>(1)?) else { return Ok(None) };
    let sum = a + b;
    if sum.is_infinite() && a.is_finite() && b.is_finite() {
        return Err(rusqlite::Error::UserFunctionError("value out of range: overflow".into()));
    }
    Ok(Some(sum))
}

/// `readside_json(document)`: one spelling for each document, so that equal documents are equal texts. A text that is
/// no JSON stays as it is.
fn spelled(context: &Context<'_>) -> rusqlite::Result<Option<String>> {
    let text: Option<String> = context.get(0)?;
    Ok(text.map(|text| Json::parse(&text).map_or(text, |json| json.to_string())))
}
