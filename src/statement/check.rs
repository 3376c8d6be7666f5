//! What the builders refuse, and what does not fit the tables.

use super::assignment::{Assignment, Change, LookUp};
use super::column::{Name, Origin, Source};
use super::condition::{Condition, Test};
use super::data::Statement;
use super::find::find_table;
use super::own::OwnSql;
use crate::error::{NameError, StatementError};
use crate::table::{Column, INSTANCE_COLUMN, Table, check_name};
use crate::value::{ColumnType, Value};

pub(super) fn not_here(value: &Assignment, statement: &'static str) -> StatementError {
    let how = match value.change {
        Change::Set(_) | Change::Broken(_) => "set",
        Change::Increment(_) => "incremented",
        Change::Greatest(_) => "raised",
        Change::Least(_) => "lowered",
        Change::ArrayAppend(_) => "appended to",
        Change::ArrayRemove(_) => "removed from",
        Change::ArrayIntersect(_) => "intersected",
        Change::CopyColumn(_) => "copied",
        Change::SetOnInsert(_) => "set on insert",
        Change::SetIf(..) => "set under a condition",
        Change::LookUp(_) => "looked up",
    };
    StatementError::NotHere { column: value.column.to_string(), how, statement }
}

pub(super) fn check_column(name: &str) -> Result<(), StatementError> {
    check_name("column", name, 0)?;
    if name.eq_ignore_ascii_case(INSTANCE_COLUMN) {
        let why = "the engine sets it itself";
        return Err(NameError::Reserved { what: "column", name: name.to_owned(), why }.into());
    }
    Ok(())
}

pub(super) fn check_columns<'a>(names: &(impl Iterator<Item = &'a Name> + Clone)) -> Result<(), StatementError> {
    for (at, name) in names.clone().enumerate() {
        check_column(name)?;
        if names.clone().take(at).any(|other| other.eq_ignore_ascii_case(name)) {
            return Err(StatementError::DuplicateColumn { column: name.to_string() });
        }
    }
    Ok(())
}

pub(super) fn check_conflict(statement: &'static str, conflict: &[Name]) -> Result<(), StatementError> {
    if conflict.is_empty() {
        return Err(StatementError::NoConflictColumns { statement });
    }
    check_columns(&conflict.iter())
}

pub(super) fn check_value(column: &str, value: &Value) -> Result<(), StatementError> {
    value.check().map_err(|source| StatementError::BadValue { column: column.to_owned(), source })
}

pub(super) fn check_assignments(statement: &'static str, values: &[Assignment]) -> Result<(), StatementError> {
    if values.is_empty() {
        return Err(StatementError::NoValues { statement });
    }
    check_columns(&values.iter().map(|value| &value.column))?;
    for value in values {
        let column = &value.column;
        match &value.change {
            Change::Set(v)
            | Change::SetOnInsert(v)
            | Change::Increment(v)
            | Change::Greatest(v)
            | Change::Least(v)
            | Change::ArrayAppend(v)
            | Change::ArrayRemove(v) => check_value(column, v)?,
            Change::SetIf(v, condition) => {
                check_value(column, v)?;
                condition.0.check()?;
            }
            Change::ArrayIntersect(items) => items.iter().try_for_each(|item| check_value(column, item))?,
            Change::CopyColumn(from) => check_column(from)?,
            Change::LookUp(look_up) => {
                check_column(&look_up.column)?;
                if look_up.conditions.is_empty() {
                    return Err(StatementError::NoCondition { statement: "look_up" });
                }
                look_up.conditions.iter().try_for_each(|condition| condition.0.check())?;
            }
            Change::Broken(why) => {
                return Err(StatementError::NotSerializable { column: column.to_string(), why: why.clone() });
            }
        }
    }
    Ok(())
}

pub(super) fn check_conditions(
    statement: &'static str,
    conditions: impl IntoIterator<Item = Condition>,
) -> Result<Vec<Condition>, StatementError> {
    let conditions: Vec<Condition> = conditions.into_iter().collect();
    if conditions.is_empty() {
        return Err(StatementError::NoCondition { statement });
    }
    conditions.iter().try_for_each(|condition| condition.0.check())?;
    if !conditions.iter().any(|condition| matches!(condition.0, Test::All(_))) {
        return Ok(conditions);
    }
    let mut flat = Vec::with_capacity(conditions.len());
    for condition in conditions {
        condition.0.flatten(&mut flat);
    }
    Ok(flat)
}

impl Test {
    /// The column that the test is about. `None` for a test that consists of others.
    fn column(&self) -> Option<&str> {
        match self {
            Self::Compare(column, ..)
            | Self::IsNull(column)
            | Self::IsIn(column, _)
            | Self::Contains(column, _)
            | Self::JsonContains(column, _)
            | Self::Broken(column, _) => Some(column),
            Self::Not(_) | Self::Any(_) | Self::All(_) | Self::Refused(_) => None,
        }
    }

    /// All conditions of a list must hold, so the conditions inside an `All` can join the list. A check then sees that
    /// they name one row.
    fn flatten(self, into: &mut Vec<Condition>) {
        match self {
            Self::All(tests) => {
                for test in tests {
                    test.flatten(into);
                }
            }
            test => into.push(Condition(test)),
        }
    }

    fn check(&self) -> Result<(), StatementError> {
        if let Some(column) = self.column() {
            check_column(column)?;
        }
        match self {
            Self::Compare(column, operator, value) => {
                if value.is_null() && !matches!(*operator, "=" | "<>") {
                    return Err(StatementError::NullComparison { column: column.to_string(), operator });
                }
                check_value(column, value)
            }
            Self::IsIn(column, values) => values.iter().try_for_each(|value| check_value(column, value)),
            Self::Contains(column, value) | Self::JsonContains(column, value) => check_value(column, value),
            Self::Not(test) => test.check(),
            Self::Any(tests) | Self::All(tests) => tests.iter().try_for_each(Self::check),
            Self::IsNull(_) => Ok(()),
            Self::Refused(error) => Err((**error).clone()),
            Self::Broken(column, why) => {
                Err(StatementError::NotSerializable { column: column.to_string(), why: why.clone() })
            }
        }
    }

    fn fits(&self, table: &Table) -> Result<(), StatementError> {
        let column = match self {
            Self::Not(test) => return test.fits(table),
            Self::Any(tests) | Self::All(tests) => return tests.iter().try_for_each(|test| test.fits(table)),
            other => match other.column() {
                Some(column) => find_column(table, column)?,
                None => return Ok(()),
            },
        };
        match self {
            Self::Compare(_, operator, value) => {
                if !matches!(*operator, "=" | "<>") {
                    is_ordered(table, column)?;
                }
                fits(table, column, value)
            }
            Self::IsIn(_, values) => values.iter().try_for_each(|value| fits(table, column, value)),
            Self::Contains(_, item) => is_item(table, column, item),
            Self::JsonContains(..) => is_of(table, column, &[ColumnType::Json], "a JSON document"),
            _ => Ok(()),
        }
    }
}

impl LookUp {
    /// A look-up may find at most one row, so that both databases find the same one.
    fn fits(&self, tables: &[Table], into: (&Table, &Column)) -> Result<(), StatementError> {
        let table = find_table(tables, Some(&self.table))?;
        let from = find_column(table, &self.column)?;
        is_of(into.0, into.1, &[from.kind], &format!("{:?}", from.kind))?;
        self.conditions.iter().try_for_each(|condition| condition.0.fits(table))?;
        let equal = |condition: &Condition| match &condition.0 {
            Test::Compare(column, "=", value) if !value.is_null() => Some(column.clone()),
            _ => None,
        };
        let key: Option<Vec<Name>> = self.conditions.iter().map(equal).collect();
        match key {
            Some(key) if table.is_unique(&key) => Ok(()),
            _ => Err(StatementError::NoKey { table: table.name.clone() }),
        }
    }
}

fn find_column<'t>(table: &'t Table, name: &str) -> Result<&'t Column, StatementError> {
    let unknown = || StatementError::UnknownColumn { table: table.name.clone(), column: name.to_owned() };
    table.find(name).ok_or_else(unknown)
}

/// A column that a statement writes.
fn find_written<'t>(table: &'t Table, name: &str) -> Result<&'t Column, StatementError> {
    let column = find_column(table, name)?;
    if column.generated.is_none() {
        return Ok(column);
    }
    Err(StatementError::Generated { table: table.name.clone(), column: name.to_owned() })
}

fn wrong(table: &Table, column: &Column, given: impl Into<String>) -> StatementError {
    StatementError::WrongType {
        table: table.name.clone(),
        column: column.name.clone(),
        wanted: column.kind,
        given: given.into(),
    }
}

fn fits(table: &Table, column: &Column, value: &Value) -> Result<(), StatementError> {
    if !value.fits(column.kind) {
        return Err(wrong(table, column, value.described(column.kind)));
    }
    match (&column.values, value) {
        (Some(values), Value::Text(text)) if !values.contains(text) => Err(StatementError::NotListed {
            table: table.name.clone(),
            column: column.name.clone(),
            values: values.clone(),
        }),
        _ => Ok(()),
    }
}

/// Checks a number that is added, or a value that is compared with the content of the column.
fn is_given(table: &Table, column: &Column, value: &Value) -> Result<(), StatementError> {
    if value.is_null() { Err(wrong(table, column, "NULL")) } else { is_written(table, column, value) }
}

fn is_ordered(table: &Table, column: &Column) -> Result<(), StatementError> {
    if column.kind.is_ordered() {
        return Ok(());
    }
    Err(wrong(table, column, "values that both databases put in the same order"))
}

fn is_number(table: &Table, column: &Column, given: &str) -> Result<(), StatementError> {
    if column.kind.is_number() { Ok(()) } else { Err(wrong(table, column, given)) }
}

fn is_item(table: &Table, column: &Column, item: &Value) -> Result<(), StatementError> {
    let Some(kind) = column.kind.item() else { return Err(wrong(table, column, "an array")) };
    if item.column_type() == Some(kind) {
        return Ok(());
    }
    Err(wrong(table, column, format!("{} as an item", item.described(kind))))
}

/// Checks a value for a row: it has the column's type, and is not too long for the table's keys and indexes.
fn is_written(table: &Table, column: &Column, value: &Value) -> Result<(), StatementError> {
    fits(table, column, value)?;
    table.check_room(column, value).map_err(|(size, limit)| {
        let (table, column) = (table.name.clone(), column.name.clone());
        StatementError::TooLong { table, column, size, limit }
    })
}

fn is_of(table: &Table, column: &Column, kinds: &[ColumnType], given: &str) -> Result<(), StatementError> {
    if kinds.contains(&column.kind) { Ok(()) } else { Err(wrong(table, column, given)) }
}

fn assignment_fits(tables: &[Table], table: &Table, value: &Assignment) -> Result<(), StatementError> {
    let column = find_written(table, &value.column)?;
    match &value.change {
        Change::Set(v) | Change::SetOnInsert(v) => is_written(table, column, v),
        Change::SetIf(v, condition) => {
            is_written(table, column, v)?;
            condition.0.fits(table)
        }
        Change::Increment(by) => {
            is_number(table, column, "a number")?;
            is_given(table, column, by)
        }
        Change::Greatest(v) | Change::Least(v) => {
            is_ordered(table, column)?;
            is_given(table, column, v)
        }
        Change::ArrayAppend(item) | Change::ArrayRemove(item) => is_item(table, column, item),
        Change::ArrayIntersect(items) if items.is_empty() && !column.kind.is_array() => {
            Err(wrong(table, column, "an array"))
        }
        Change::ArrayIntersect(items) => items.iter().try_for_each(|item| is_item(table, column, item)),
        Change::CopyColumn(from) => {
            let from = find_column(table, from)?;
            is_of(table, column, &[from.kind], &from.kind.to_string())
        }
        Change::LookUp(look_up) => look_up.fits(tables, (table, column)),
        Change::Broken(_) => Ok(()),
    }
}

fn conflict_fits(table: &Table, conflict: &[Name]) -> Result<(), StatementError> {
    conflict.iter().try_for_each(|column| find_column(table, column).map(|_| ()))?;
    if table.is_unique(conflict) {
        return Ok(());
    }
    Err(StatementError::UnknownConflict {
        table: table.name.clone(),
        columns: conflict.iter().map(ToString::to_string).collect(),
    })
}

fn source_fits(table: &Table, to: &str, source: &Source) -> Result<(), StatementError> {
    let column = find_written(table, to)?;
    if source.added {
        is_number(table, column, "a number to add")?;
    }
    match &source.from {
        Origin::Value(value) => is_written(table, column, value),
        Origin::Column(from) => {
            let from = find_column(table, from)?;
            is_of(table, column, &[from.kind], &from.kind.to_string())
        }
    }
}

/// Checks that the scale of each decimal is the scale of some column. A database that counts units gives custom SQL the
/// units of that scale.
fn scales_fit(tables: &[Table], sql: &Name, values: &[Value]) -> Result<(), StatementError> {
    let is_scale = |wanted: u8| {
        let mut kinds = tables.iter().flat_map(|table| &table.columns).map(|column| column.kind);
        kinds.any(|kind| matches!(kind, ColumnType::Decimal { scale, .. } if scale == wanted))
    };
    let wrong = values.iter().find_map(|value| match value {
        Value::Decimal(number) if !is_scale(number.scale()) => Some(number.scale()),
        _ => None,
    });
    wrong.map_or(Ok(()), |scale| Err(StatementError::UnknownScale { sql: sql.to_string(), scale }))
}

impl Statement {
    /// True when it holds custom SQL.
    pub(crate) fn has_exec(&self) -> bool {
        match self {
            Self::Exec { .. } => true,
            Self::Multi(parts) => parts.iter().any(Self::has_exec),
            Self::Expect { statement, .. } => statement.has_exec(),
            _ => false,
        }
    }

    /// Checks the statement against the tables and the custom SQL of its projection.
    pub(crate) fn check<'o>(
        &self,
        tables: &[Table],
        own: &impl Fn(&str) -> Option<&'o OwnSql>,
    ) -> Result<(), StatementError> {
        match self {
            Self::Noop => Ok(()),
            Self::Exec { sql, values } => {
                let found = own(sql).ok_or_else(|| StatementError::UnknownSql { sql: sql.to_string() })?;
                let (wanted, given) = (found.values(), values.len());
                if wanted == given {
                    return scales_fit(tables, sql, values);
                }
                Err(StatementError::UnequalValues { sql: sql.to_string(), wanted, given })
            }
            Self::Multi(parts) => parts.iter().try_for_each(|part| part.check(tables, own)),
            Self::Expect { statement, .. } => statement.check(tables, own),
            Self::Create { table, values } => {
                let table = find_table(tables, table.as_deref())?;
                values.iter().try_for_each(|value| assignment_fits(tables, table, value))
            }
            Self::Upsert { table, conflict, values } => {
                let table = find_table(tables, table.as_deref())?;
                conflict_fits(table, conflict)?;
                values.iter().try_for_each(|value| assignment_fits(tables, table, value))
            }
            Self::Update { table, values, conditions } => {
                let table = find_table(tables, table.as_deref())?;
                values.iter().try_for_each(|value| assignment_fits(tables, table, value))?;
                conditions.iter().try_for_each(|condition| condition.0.fits(table))
            }
            Self::Delete { table, conditions } => {
                let table = find_table(tables, table.as_deref())?;
                conditions.iter().try_for_each(|condition| condition.0.fits(table))
            }
            Self::Copy { table, conflict, to, from, conditions } => {
                let table = find_table(tables, table.as_deref())?;
                conflict_fits(table, conflict)?;
                to.iter().zip(from).try_for_each(|(to, from)| source_fits(table, to, from))?;
                conditions.iter().try_for_each(|condition| condition.0.fits(table))
            }
        }
    }

    /// Sets the table if none is set.
    pub(super) fn direct(&mut self, name: &Name) {
        match self {
            Self::Noop | Self::Exec { .. } => {}
            Self::Multi(parts) => parts.iter_mut().for_each(|part| part.direct(name)),
            Self::Expect { statement, .. } => statement.direct(name),
            Self::Create { table, .. }
            | Self::Upsert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. }
            | Self::Copy { table, .. } => {
                table.get_or_insert_with(|| name.clone());
            }
        }
    }
}
