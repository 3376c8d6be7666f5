//! Definitions, statements, values and names.

use super::{Line, lines, many, odd, store};
use crate::error::{ConfigError, NameError, ProjectionError, SetupError, StatementError, TextFault};
use crate::value::ColumnType;

pub(super) fn lines() -> Vec<Line> {
    let mut all = projections();
    all.extend(setups());
    all.extend(statements());
    all.extend(names());
    all.extend(texts());
    all.push(Line {
        name: "ConfigError".to_owned(),
        error: Box::new(ConfigError { faults: many("fault") }),
        says: vec!["configuration: fault0", "more"],
        cause: None,
    });
    all
}

fn projections() -> Vec<Line> {
    let projection = || odd("users");
    lines!(ProjectionError:
        NoProjection => ["a projection has no name"],
        DuplicateProjection { name: odd("users") } => ["two projections are named \"users"],
        NoVersion { projection: projection() } => ["users", "versions count from 1"],
        NoReducer { projection: projection() } => ["users", "no reducer"],
        DuplicateReducer {
            projection: projection(),
            aggregate_type: odd("user"),
            event_type: odd("user.added"),
        } => ["users", "two reducers for \"user.added", "\"user\\n"],
        Upcast { projection: projection(), event_type: odd("user.added"), revision: 1, what: "never runs" }
            => ["\"user.added", "revision 1", "users", "never runs"],
        Name { projection: projection(), source: NameError::Empty { what: "table" } } => ["users"]; of_ours,
        Sql { projection: projection(), sql: odd("total"), what: odd("names the plain table") }
            => ["\"total", "users", "names the plain table"],
        Table { projection: projection(), table: odd("balances"), what: odd("has no column") }
            => ["\"balances", "users", "has no column"],
    )
}

fn setups() -> Vec<Line> {
    let projection = || odd("users");
    lines!(SetupError:
        NameTaken { projection: projection(), name: odd("balances"), by: odd("a view") }
            => ["users", "\"balances", "a view", "rename one of them"],
        DefinitionChanged { projection: projection(), version: 3 } => ["users", "version 3", "raise the version"],
        TableDiffers { projection: projection(), table: odd("balances"), difference: odd("column x") }
            => ["users", "\"balances", "column x", "raise the version"],
        TableGone { projection: projection(), table: odd("balances") } => ["users", "\"balances", "rename it back"],
        ViewElsewhere { projection: projection(), view: odd("seen"), table: odd("balances") }
            => ["users", "\"seen", "\"balances", "DROP VIEW"],
        Dependents { projection: projection(), build: odd("build 2"), dependents: odd("view own") }
            => ["users", "build 2", "view own", "drop that"],
        WouldLose { projection: projection(), lost: many("policy") } => ["users", "policy0", "accept_loss", "more"],
        Expression {
            projection: projection(),
            table: odd("balances"),
            what: odd("the check"),
            source: Box::new(store()),
        } => ["users", "\"balances", "the check", "correct it"]; caused,
        Missing { what: odd("table x") } => ["table x", "run setup()"],
        SchemaOutOfReach {
            projection: projection(),
            recorded: odd("sales"),
            why: "which is gone",
            here: Some(odd("public")),
        } => ["users", "\"sales", "which is gone", "\"public", "GRANT USAGE"],
        SchemasDisagree { projection: projection(), schemas: many("schema") }
            => ["users", "schema0", "more", "Drop or rename"],
        TableMoved {
            projection: projection(),
            table: odd("balances"),
            recorded: odd("sales"),
            found: odd("public"),
        } => ["users", "\"balances", "\"sales", "\"public", "move it back"],
        NoSchema { projection: projection() } => ["users", "search_path", "Projection::schema"],
        NewerSchema { found: 12, known: 9 } => ["schema 12", "up to 9", "update readside"],
        Projection(ProjectionError::NoProjection) => ["a projection has no name"],
        Store(store()) => ["reading the log"]; caused,
    )
}

fn statements() -> Vec<Line> {
    let (table, column) = (|| odd("balances"), || odd("amount"));
    lines!(StatementError:
        NoValues { statement: "update" } => ["update", "no values"],
        NoCondition { statement: "delete" } => ["delete", "every row"],
        NoConflictColumns { statement: "upsert" } => ["upsert", "conflict columns"],
        ConflictColumnWithoutValue { column: column() } => ["upsert", "\"amount"],
        UnequalColumns { to: 2, from: 1 } => ["2 columns", "1 values"],
        DuplicateColumn { column: column() } => ["\"amount", "twice"],
        NotHere { column: column(), how: "added to", statement: "create" } => ["\"amount", "added to", "create"],
        NullComparison { column: column(), operator: "<" } => ["\"amount", "by <", "NULL"],
        BadValue { column: column(), source: TextFault::NotFinite } => ["\"amount"]; of_ours,
        NotSerializable { column: column(), why: odd("no map") } => ["\"amount", "no map"],
        WrongType { table: table(), column: column(), wanted: ColumnType::Integer, given: odd("a text") }
            => ["\"balances", "\"amount", "Integer", "a text"],
        NotListed { table: table(), column: column(), values: many("word") }
            => ["\"balances", "\"amount", "word0", "more"],
        UnknownScale { sql: odd("total"), scale: 9 } => ["\"total", "9 digits", "at_scale"],
        TooLong { table: table(), column: column(), size: 9000, limit: 900 }
            => ["\"balances", "\"amount", "9000 bytes", "900 are allowed"],
        Generated { table: table(), column: column() } => ["\"balances", "\"amount", "leave it out"],
        UnknownColumn { table: table(), column: column() } => ["\"balances", "\"amount"],
        UnknownTable { table: table() } => ["\"balances"],
        UnknownSql { sql: odd("total") } => ["\"total", "Projection::sql"],
        UnequalValues { sql: odd("total"), wanted: 2, given: 1 } => ["\"total", "takes 2 values", "1 value is given"],
        NoText { sql: odd("total"), database: "SQLite" } => ["\"total", "SQLite", "Dialects::each"],
        UnknownConflict { table: table(), columns: many("column") } => ["\"balances", "column0", "more"],
        NoKey { table: table() } => ["\"balances", "primary key"],
        NoExpectation { statement: "create" } => ["create", "update, delete and copy"],
        Name(NameError::Empty { what: "table" }) => ["a table has an empty name"],
    )
}

fn names() -> Vec<Line> {
    let (what, name) = ("table", || odd("balances"));
    lines!(NameError:
        Empty { what } => ["a table has an empty name"],
        TooLong { what, name: name(), length: 70, limit: 63 }
            => ["table name \"balances", "70 bytes", "63 are allowed"],
        Control { what, name: name() } => ["table name \"balances", "control character"],
        Reserved { what, name: name(), why: "the engine uses it" } => ["table name \"balances", "the engine uses it"],
        Duplicate { what, name: name() } => ["table name \"balances", "twice"],
    )
}

fn texts() -> Vec<Line> {
    lines!(TextFault:
        Nul { at: 7 } => ["NUL", "byte 7"],
        LoneSurrogate { at: 7 } => ["surrogate", "byte 7"],
        TooDeep { at: 7, limit: 100 } => ["100 levels", "byte 7"],
        NotJson { why: odd("expected a comma") } => ["JSON", "expected a comma"],
        NotFinite => ["NaN or infinite"],
        TimeOutOfRange => ["outside of 0001"],
        NotDecimal => ["write digits"],
        TooManyDigits { limit: 18 } => ["18 digits"],
        IntegerOutOfRange => ["lies outside of"],
        NotDate => ["write one from"],
        NotTime => ["write one from"],
        DurationOutOfRange => ["longer than"],
        NumberOutOfRange { at: 7 } => ["byte 7", "131072"],
    )
}
