//! `readside_json_contains(document, part)`: what PostgreSQL's `jsonb @> jsonb` says.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use serde_json::{Number, Value};

pub(super) fn add(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("readside_json_contains", 2, flags, |context| call(context))
}

fn call(context: &Context<'_>) -> rusqlite::Result<Option<bool>> {
    let argument = |at| -> rusqlite::Result<Option<Value>> {
        let text: Option<String> = context.get(at)?;
        text.map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| rusqlite::Error::UserFunctionError(format!("JSON that cannot be read: {error}").into()))
    };
    Ok(match (argument(0)?, argument(1)?) {
        (Some(document), Some(part)) => Some(contains(&document, &part)),
        _ => None,
    })
}

/// At the top an array also contains a plain value that is one of its elements.
fn contains(document: &Value, part: &Value) -> bool {
    match (document, part) {
        (Value::Array(items), part) if !part.is_array() && !part.is_object() => {
            items.iter().any(|item| within(item, part))
        }
        _ => within(document, part),
    }
}

fn within(document: &Value, part: &Value) -> bool {
    match (document, part) {
        (Value::Object(document), Value::Object(part)) => {
            part.iter().all(|(key, part)| document.get(key).is_some_and(|found| within(found, part)))
        }
        (Value::Array(items), Value::Array(parts)) => {
            parts.iter().all(|part| items.iter().any(|item| within(item, part)))
        }
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (document, part) => document == part,
    }
}

/// 1 and 1.0 are the same number.
fn same_number(a: &Number, b: &Number) -> bool {
    a == b
        || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a.to_bits() == b.to_bits())
            && (a.is_f64() || b.is_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::contains;

    // SPEC B3
    #[test]
    fn contains_is_what_postgresql_says() {
        for (document, part, wanted) in [
            (json!({"a": 1, "b": {"c": [1, 2]}}), json!({"b": {"c": [2]}}), true),
            (json!({"a": 1}), json!({"a": 1.0}), true),
            (json!({"a": 1}), json!({"a": 2}), false),
            (json!([1, 2, 3]), json!(2), true),
            (json!([1, [2]]), json!([[2], 1, 1]), true),
            (json!([[1, 2]]), json!([1]), false),
            (json!({"a": [1]}), json!({"a": 1}), false),
            (json!("a"), json!("a"), true),
            (json!("a"), json!(["a"]), false),
            (json!({}), json!({}), true),
            (json!([]), json!({}), false),
            (json!(null), json!(null), true),
        ] {
            assert_eq!(contains(&document, &part), wanted, "{document} @> {part}");
        }
    }
}
