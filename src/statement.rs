//! What a reducer wants done to its tables, as data.
//!
//! The builders return [`Reduced`], so that `?` and the builders fit together; what cannot be a statement is refused
//! while it is built, before any SQL. Rendering is the work of `sql`.

use serde::Serialize;

use crate::error::{NameError, ReduceError, StatementError};
use crate::table::{Column, INSTANCE_COLUMN, Table, check_name};
use crate::value::{ColumnType, Value};

/// What a reducer returns.
pub type Reduced = Result<Statement, ReduceError>;

/// A change to the tables of a projection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Statement {
    /// Nothing.
    Noop,
    /// Inserts a row.
    Create {
        /// The table; none means the primary one.
        table: Option<String>,
        /// Values of the row.
        values: Vec<Assignment>,
    },
    /// Inserts a row, or changes the one that has the same conflict columns.
    Upsert {
        /// The table; none means the primary one.
        table: Option<String>,
        /// Columns that tell which rows are the same.
        conflict: Vec<String>,
        /// Values of the row, with those of the conflict columns.
        values: Vec<Assignment>,
    },
    /// Changes rows.
    Update {
        /// The table; none means the primary one.
        table: Option<String>,
        /// The changes.
        values: Vec<Assignment>,
        /// Which rows.
        conditions: Vec<Condition>,
    },
    /// Deletes rows.
    Delete {
        /// The table; none means the primary one.
        table: Option<String>,
        /// Which rows.
        conditions: Vec<Condition>,
    },
    /// Copies rows within a table under other keys.
    Copy {
        /// The table; none means the primary one.
        table: Option<String>,
        /// Columns that tell which rows are the same.
        conflict: Vec<String>,
        /// Columns to write.
        to: Vec<String>,
        /// What to write into them.
        from: Vec<Source>,
        /// Which rows to copy.
        conditions: Vec<Condition>,
    },
    /// Several statements, all or nothing.
    Multi(Vec<Statement>),
    /// SQL of one's own.
    Exec {
        /// The SQL per database.
        sql: Dialects,
        /// Values of `$2` and on; `$1` is the instance.
        values: Vec<Value>,
    },
}

/// The same statement in the words of each database. `$1` is the instance, `$2` and on are the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects {
    /// For PostgreSQL.
    pub postgres: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
}

/// A change to one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    pub(crate) column: String,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Set(Value),
    Increment(i64),
    ArrayAppend(String),
    ArrayRemove(String),
    ArrayIntersect(Vec<String>),
    CopyColumn(String),
    SetOnInsert(Value),
    SetIf(Value, Condition),
    /// A value that could not be serialized; surfaces from the builder.
    Broken(String),
}

/// Which rows a statement means; several are joined by AND.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(pub(crate) Test);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Compare(String, &'static str, Value),
    IsNull(String),
    IsIn(String, Vec<Value>),
    Contains(String, String),
    JsonContains(String, Value),
    Not(Box<Test>),
    Broken(String, String),
}

/// What `copy` writes into a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub(crate) from: Origin,
    pub(crate) added: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    Column(String),
    Value(Value),
}

impl Source {
    /// Where the row is there already, adds to what it holds instead of replacing it.
    #[must_use]
    pub fn added(mut self) -> Self {
        self.added = true;
        self
    }
}

/// The value of a column of the copied row.
pub fn source_column(name: impl Into<String>) -> Source {
    Source { from: Origin::Column(name.into()), added: false }
}

/// A value of its own.
pub fn source_value(value: impl Into<Value>) -> Source {
    Source { from: Origin::Value(value.into()), added: false }
}

fn assignment(column: impl Into<String>, change: Change) -> Assignment {
    Assignment { column: column.into(), change }
}

/// Sets a column.
pub fn set(column: impl Into<String>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::Set(value.into()))
}

/// Sets a column to a JSON document.
pub fn set_json<T: Serialize + ?Sized>(column: impl Into<String>, value: &T) -> Assignment {
    assignment(column, Value::json(value).map_or_else(|error| Change::Broken(error.to_string()), Change::Set))
}

/// Adds to a column; in `upsert` a new row gets the number itself.
pub fn increment(column: impl Into<String>, by: i64) -> Assignment {
    assignment(column, Change::Increment(by))
}

/// Subtracts from a column; the number that has no negative stays what it is and overflows in the database.
pub fn decrement(column: impl Into<String>, by: i64) -> Assignment {
    assignment(column, Change::Increment(by.checked_neg().unwrap_or(i64::MIN)))
}

/// Appends to an array; NULL counts as empty.
pub fn array_append(column: impl Into<String>, text: impl Into<String>) -> Assignment {
    assignment(column, Change::ArrayAppend(text.into()))
}

/// Removes every occurrence of a text from an array.
pub fn array_remove(column: impl Into<String>, text: impl Into<String>) -> Assignment {
    assignment(column, Change::ArrayRemove(text.into()))
}

/// Keeps only these texts in an array, in its order.
pub fn array_intersect<T: Into<String>>(column: impl Into<String>, texts: impl IntoIterator<Item = T>) -> Assignment {
    assignment(column, Change::ArrayIntersect(texts.into_iter().map(Into::into).collect()))
}

/// Sets a column to what another column holds.
pub fn copy_column(column: impl Into<String>, from: impl Into<String>) -> Assignment {
    assignment(column, Change::CopyColumn(from.into()))
}

/// Sets a column of a new row only.
pub fn set_on_insert(column: impl Into<String>, value: impl Into<Value>) -> Assignment {
    assignment(column, Change::SetOnInsert(value.into()))
}

/// Sets a column of a new row, or of a row that meets the condition.
pub fn set_if(column: impl Into<String>, value: impl Into<Value>, condition: Condition) -> Assignment {
    assignment(column, Change::SetIf(value.into(), condition))
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $operator:literal),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(column: impl Into<String>, value: impl Into<Value>) -> Condition {
            Condition(Test::Compare(column.into(), $operator, value.into()))
        })*
    };
}

comparisons! {
    /// The column equals the value; NULL means 'is NULL'.
    eq "=",
    /// The column differs from the value and is not NULL; NULL means 'is not NULL'.
    ne "<>",
    /// The column is less than the value.
    lt "<",
    /// The column is at most the value.
    le "<=",
    /// The column is greater than the value.
    gt ">",
    /// The column is at least the value.
    ge ">=",
}

/// The column is NULL.
pub fn is_null(column: impl Into<String>) -> Condition {
    Condition(Test::IsNull(column.into()))
}

/// The column is one of the values; of none, never.
pub fn is_in<V: Into<Value>>(column: impl Into<String>, values: impl IntoIterator<Item = V>) -> Condition {
    Condition(Test::IsIn(column.into(), values.into_iter().map(Into::into).collect()))
}

/// The array holds the text.
pub fn contains(column: impl Into<String>, text: impl Into<String>) -> Condition {
    Condition(Test::Contains(column.into(), text.into()))
}

/// The JSON document contains this one, as PostgreSQL's `@>` means it.
pub fn json_contains<T: Serialize + ?Sized>(column: impl Into<String>, value: &T) -> Condition {
    let column = column.into();
    Condition(match Value::json(value) {
        Ok(json) => Test::JsonContains(column, json),
        Err(error) => Test::Broken(column, error.to_string()),
    })
}

/// The condition does not hold.
#[must_use]
pub fn not(condition: Condition) -> Condition {
    Condition(Test::Not(Box::new(condition.0)))
}

/// Does nothing.
///
/// # Errors
/// None.
pub fn noop() -> Reduced {
    Ok(Statement::Noop)
}

/// Inserts a row.
///
/// # Errors
/// [`StatementError`]: `NoValues`, `DuplicateColumn`, a name or value that cannot be stored, or a change that needs a row.
pub fn create(values: impl IntoIterator<Item = Assignment>) -> Reduced {
    let values: Vec<Assignment> = values.into_iter().collect();
    check_assignments("create", &values)?;
    for value in &values {
        match value.change {
            Change::Set(_) | Change::SetOnInsert(_) => {}
            _ => return Err(not_here(value, "create").into()),
        }
    }
    Ok(Statement::Create { table: None, values })
}

/// Inserts a row, or changes the one that has the same conflict columns.
///
/// # Errors
/// [`StatementError`]: `NoConflictColumns`, `ConflictColumnWithoutValue`, `NoValues` when nothing is left to set, and those of
/// [`create`].
pub fn upsert<C: Into<String>>(
    conflict: impl IntoIterator<Item = C>,
    values: impl IntoIterator<Item = Assignment>,
) -> Reduced {
    let conflict: Vec<String> = conflict.into_iter().map(Into::into).collect();
    let values: Vec<Assignment> = values.into_iter().collect();
    check_conflict("upsert", &conflict)?;
    check_assignments("upsert", &values)?;
    for column in &conflict {
        let plain = |value: &Assignment| value.column == *column && matches!(value.change, Change::Set(_));
        if !values.iter().any(plain) {
            return Err(StatementError::ConflictColumnWithoutValue { column: column.clone() }.into());
        }
    }
    if values.iter().all(|value| conflict.contains(&value.column)) {
        return Err(StatementError::NoValues { statement: "upsert" }.into());
    }
    for value in &values {
        if matches!(value.change, Change::ArrayRemove(_) | Change::ArrayIntersect(_) | Change::CopyColumn(_)) {
            return Err(not_here(value, "upsert").into());
        }
    }
    Ok(Statement::Upsert { table: None, conflict, values })
}

/// Changes the rows that meet all conditions.
///
/// # Errors
/// [`StatementError`]: `NoCondition`, `NoValues`, and those of [`create`].
pub fn update(
    values: impl IntoIterator<Item = Assignment>,
    conditions: impl IntoIterator<Item = Condition>,
) -> Reduced {
    let values: Vec<Assignment> = values.into_iter().collect();
    let conditions = check_conditions("update", conditions)?;
    check_assignments("update", &values)?;
    if let Some(value) = values.iter().find(|value| matches!(value.change, Change::SetOnInsert(_))) {
        return Err(not_here(value, "update").into());
    }
    Ok(Statement::Update { table: None, values, conditions })
}

/// Deletes the rows that meet all conditions.
///
/// # Errors
/// [`StatementError`]: `NoCondition`, or a name or value that cannot be used.
pub fn delete(conditions: impl IntoIterator<Item = Condition>) -> Reduced {
    Ok(Statement::Delete { table: None, conditions: check_conditions("delete", conditions)? })
}

/// Copies the rows that meet all conditions; where a row with the same conflict columns is there, it is changed.
///
/// # Errors
/// [`StatementError`]: `NoCondition`, `NoValues`, `UnequalColumns`, `NoConflictColumns`, and those of [`create`].
pub fn copy<C: Into<String>, T: Into<String>>(
    conflict: impl IntoIterator<Item = C>,
    to: impl IntoIterator<Item = T>,
    from: impl IntoIterator<Item = Source>,
    conditions: impl IntoIterator<Item = Condition>,
) -> Reduced {
    let conflict: Vec<String> = conflict.into_iter().map(Into::into).collect();
    let to: Vec<String> = to.into_iter().map(Into::into).collect();
    let from: Vec<Source> = from.into_iter().collect();
    let conditions = check_conditions("copy", conditions)?;
    if to.is_empty() || from.is_empty() {
        return Err(StatementError::NoValues { statement: "copy" }.into());
    }
    if to.len() != from.len() {
        return Err(StatementError::UnequalColumns { to: to.len(), from: from.len() }.into());
    }
    check_conflict("copy", &conflict)?;
    check_columns(to.iter())?;
    for (column, source) in to.iter().zip(&from) {
        match &source.from {
            Origin::Column(name) => check_column(name)?,
            Origin::Value(value) => check_value(column, value)?,
        }
    }
    Ok(Statement::Copy { table: None, conflict, to, from, conditions })
}

/// Several statements as one: all or nothing.
///
/// # Errors
/// The first of theirs.
pub fn multi(statements: impl IntoIterator<Item = Reduced>) -> Reduced {
    let statements = statements.into_iter().collect::<Result<Vec<Statement>, ReduceError>>()?;
    Ok(if statements.is_empty() { Statement::Noop } else { Statement::Multi(statements) })
}

/// SQL of one's own, for what the builders cannot say. `$1` is always the instance.
///
/// # Errors
/// A value that cannot be stored.
pub fn exec<V: Into<Value>>(sql: Dialects, values: impl IntoIterator<Item = V>) -> Reduced {
    let values: Vec<Value> = values.into_iter().map(Into::into).collect();
    values.iter().try_for_each(|value| check_value("exec", value))?;
    Ok(Statement::Exec { sql, values })
}

/// Directs a statement to another table of the projection, by its name or by its suffix.
///
/// # Errors
/// The statement's own.
pub fn in_table(name: impl Into<String>, statement: Reduced) -> Reduced {
    let mut statement = statement?;
    statement.direct(&name.into());
    Ok(statement)
}

fn not_here(value: &Assignment, statement: &'static str) -> StatementError {
    let how = match value.change {
        Change::Set(_) | Change::Broken(_) => "set",
        Change::Increment(_) => "incremented",
        Change::ArrayAppend(_) => "appended to",
        Change::ArrayRemove(_) => "removed from",
        Change::ArrayIntersect(_) => "intersected",
        Change::CopyColumn(_) => "copied",
        Change::SetOnInsert(_) => "set on insert",
        Change::SetIf(..) => "set under a condition",
    };
    StatementError::NotHere { column: value.column.clone(), how, statement }
}

fn check_column(name: &str) -> Result<(), StatementError> {
    check_name("column", name, 0)?;
    if name.eq_ignore_ascii_case(INSTANCE_COLUMN) {
        let why = "the engine sets it itself";
        return Err(NameError::Reserved { what: "column", name: name.to_owned(), why }.into());
    }
    Ok(())
}

fn check_columns<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), StatementError> {
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        check_column(name)?;
        let lower = name.to_ascii_lowercase();
        if seen.contains(&lower) {
            return Err(StatementError::DuplicateColumn { column: name.clone() });
        }
        seen.push(lower);
    }
    Ok(())
}

fn check_conflict(statement: &'static str, conflict: &[String]) -> Result<(), StatementError> {
    if conflict.is_empty() {
        return Err(StatementError::NoConflictColumns { statement });
    }
    check_columns(conflict.iter())
}

fn check_value(column: &str, value: &Value) -> Result<(), StatementError> {
    value.check().map_err(|source| StatementError::BadValue { column: column.to_owned(), source })
}

fn check_assignments(statement: &'static str, values: &[Assignment]) -> Result<(), StatementError> {
    if values.is_empty() {
        return Err(StatementError::NoValues { statement });
    }
    check_columns(values.iter().map(|value| &value.column))?;
    for value in values {
        let column = &value.column;
        match &value.change {
            Change::Set(v) | Change::SetOnInsert(v) => check_value(column, v)?,
            Change::SetIf(v, condition) => {
                check_value(column, v)?;
                condition.0.check()?;
            }
            Change::ArrayAppend(text) | Change::ArrayRemove(text) => check_value(column, &Value::Text(text.clone()))?,
            Change::ArrayIntersect(texts) => check_value(column, &Value::TextArray(texts.clone()))?,
            Change::CopyColumn(from) => check_column(from)?,
            Change::Increment(_) => {}
            Change::Broken(why) => {
                return Err(StatementError::NotSerializable { column: column.clone(), why: why.clone() });
            }
        }
    }
    Ok(())
}

fn check_conditions(
    statement: &'static str,
    conditions: impl IntoIterator<Item = Condition>,
) -> Result<Vec<Condition>, StatementError> {
    let conditions: Vec<Condition> = conditions.into_iter().collect();
    if conditions.is_empty() {
        return Err(StatementError::NoCondition { statement });
    }
    conditions.iter().try_for_each(|condition| condition.0.check())?;
    Ok(conditions)
}

impl Test {
    fn column(&self) -> &str {
        match self {
            Self::Compare(column, ..)
            | Self::IsNull(column)
            | Self::IsIn(column, _)
            | Self::Contains(column, _)
            | Self::JsonContains(column, _)
            | Self::Broken(column, _) => column,
            Self::Not(test) => test.column(),
        }
    }

    fn check(&self) -> Result<(), StatementError> {
        check_column(self.column())?;
        match self {
            Self::Compare(column, operator, value) => {
                if value.is_null() && !matches!(*operator, "=" | "<>") {
                    return Err(StatementError::NullComparison { column: column.clone(), operator });
                }
                check_value(column, value)
            }
            Self::IsIn(column, values) => values.iter().try_for_each(|value| check_value(column, value)),
            Self::Contains(column, text) => check_value(column, &Value::Text(text.clone())),
            Self::JsonContains(column, json) => check_value(column, json),
            Self::Not(test) => test.check(),
            Self::IsNull(_) => Ok(()),
            Self::Broken(column, why) => {
                Err(StatementError::NotSerializable { column: column.clone(), why: why.clone() })
            }
        }
    }

    fn fits(&self, table: &Table) -> Result<(), StatementError> {
        let column = find_column(table, self.column())?;
        match self {
            Self::Compare(_, _, value) => fits(table, column, value),
            Self::IsIn(_, values) => values.iter().try_for_each(|value| fits(table, column, value)),
            Self::Contains(..) => is_of(table, column, &[ColumnType::TextArray], "an array"),
            Self::JsonContains(..) => is_of(table, column, &[ColumnType::Json], "a JSON document"),
            Self::Not(test) => test.fits(table),
            Self::IsNull(_) | Self::Broken(..) => Ok(()),
        }
    }
}

/// The table of this name: none means the first one, a suffix means the first one's name with it.
pub(crate) fn find_table<'t>(tables: &'t [Table], name: Option<&str>) -> Result<&'t Table, StatementError> {
    let primary = tables.first().ok_or_else(|| StatementError::UnknownTable { table: "(the first one)".to_owned() })?;
    let Some(name) = name else { return Ok(primary) };
    let suffixed = format!("{}_{name}", primary.name);
    tables
        .iter()
        .find(|table| table.name == name)
        .or_else(|| tables.iter().find(|table| table.name == suffixed))
        .ok_or_else(|| StatementError::UnknownTable { table: name.to_owned() })
}

fn find_column<'t>(table: &'t Table, name: &str) -> Result<&'t Column, StatementError> {
    let unknown = || StatementError::UnknownColumn { table: table.name.clone(), column: name.to_owned() };
    table.find(name).ok_or_else(unknown)
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
    if value.fits(column.kind) {
        return Ok(());
    }
    let given = value.column_type().map_or_else(|| "NULL".to_owned(), |kind| format!("{kind:?}"));
    Err(wrong(table, column, given))
}

fn is_of(table: &Table, column: &Column, kinds: &[ColumnType], given: &str) -> Result<(), StatementError> {
    if kinds.contains(&column.kind) { Ok(()) } else { Err(wrong(table, column, given)) }
}

fn assignment_fits(table: &Table, value: &Assignment) -> Result<(), StatementError> {
    let column = find_column(table, &value.column)?;
    match &value.change {
        Change::Set(v) | Change::SetOnInsert(v) => fits(table, column, v),
        Change::SetIf(v, condition) => {
            fits(table, column, v)?;
            condition.0.fits(table)
        }
        Change::Increment(_) => is_of(table, column, &[ColumnType::Integer, ColumnType::Float], "a number"),
        Change::ArrayAppend(_) | Change::ArrayRemove(_) | Change::ArrayIntersect(_) => {
            is_of(table, column, &[ColumnType::TextArray], "an array")
        }
        Change::CopyColumn(from) => {
            let from = find_column(table, from)?;
            is_of(table, column, &[from.kind], &format!("{:?}", from.kind))
        }
        Change::Broken(_) => Ok(()),
    }
}

fn conflict_fits(table: &Table, conflict: &[String]) -> Result<(), StatementError> {
    conflict.iter().try_for_each(|column| find_column(table, column).map(|_| ()))?;
    if table.is_unique(conflict) {
        return Ok(());
    }
    Err(StatementError::UnknownConflict { table: table.name.clone(), columns: conflict.to_vec() })
}

fn source_fits(table: &Table, to: &str, source: &Source) -> Result<(), StatementError> {
    let column = find_column(table, to)?;
    if source.added {
        is_of(table, column, &[ColumnType::Integer, ColumnType::Float], "a number to add")?;
    }
    match &source.from {
        Origin::Value(value) => fits(table, column, value),
        Origin::Column(from) => {
            let from = find_column(table, from)?;
            is_of(table, column, &[from.kind], &format!("{:?}", from.kind))
        }
    }
}

impl Statement {
    /// Checks the statement against the tables of its projection.
    pub(crate) fn check(&self, tables: &[Table]) -> Result<(), StatementError> {
        match self {
            Self::Noop | Self::Exec { .. } => Ok(()),
            Self::Multi(parts) => parts.iter().try_for_each(|part| part.check(tables)),
            Self::Create { table, values } => {
                let table = find_table(tables, table.as_deref())?;
                values.iter().try_for_each(|value| assignment_fits(table, value))
            }
            Self::Upsert { table, conflict, values } => {
                let table = find_table(tables, table.as_deref())?;
                conflict_fits(table, conflict)?;
                values.iter().try_for_each(|value| assignment_fits(table, value))
            }
            Self::Update { table, values, conditions } => {
                let table = find_table(tables, table.as_deref())?;
                values.iter().try_for_each(|value| assignment_fits(table, value))?;
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

    /// Sets the table where none is set.
    fn direct(&mut self, name: &str) {
        match self {
            Self::Noop | Self::Exec { .. } => {}
            Self::Multi(parts) => parts.iter_mut().for_each(|part| part.direct(name)),
            Self::Create { table, .. }
            | Self::Upsert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. }
            | Self::Copy { table, .. } => {
                table.get_or_insert_with(|| name.to_owned());
            }
        }
    }
}
