//! Any names and values in any statement: the text is one statement of the expected kind about the projection's own
//! tables, and no value is in it.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use readside::prelude::*;
use readside::EventStore;
use readside::clock::Clock;
use readside::inspect::Inspect;
use readside::store::{BuildStore, CommandStore, EventSource, LeaseStore, NotificationListener, Notifier, ProjectionStore, StandstillStore};
use sqlparser::ast::{self, Expr, visit_expressions, visit_relations};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// Begins every value; no name holds it.
const MARK: &str = "§value§";

#[derive(Debug, Arbitrary)]
struct Input {
    projection: String,
    schema: Option<String>,
    table: String,
    columns: Vec<(String, Kind)>,
    default: Option<String>,
    statement: Shape,
    values: Vec<(u8, Of)>,
    conditions: Vec<(u8, Is)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum Kind {
    Text,
    Integer,
    Json,
    Array,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Shape {
    Create,
    Upsert,
    Update,
    Delete,
    Copy,
}

#[derive(Debug, Clone, Arbitrary)]
enum Of {
    Set(String),
    OnInsert(String),
    Null,
    Increment(i64),
    Append(String),
    Remove(String),
    Intersect(Vec<String>),
    From(u8),
    If(String, Is),
}

#[derive(Debug, Clone, Arbitrary)]
enum Is {
    Eq(String),
    Less(i64),
    Null,
    In(Vec<String>),
    Contains(String),
    Json(String),
    Not(Box<Is>),
}

fn marked(text: &str) -> String {
    format!("{MARK}{text}")
}

impl Input {
    fn column(&self, at: u8) -> (&str, Kind) {
        let (name, kind) = &self.columns[usize::from(at) % self.columns.len()];
        (name, *kind)
    }

    /// A column of this kind, if there is one.
    fn column_of(&self, at: u8, wanted: Kind) -> &str {
        let found = self.columns.iter().find(|(_, kind)| *kind == wanted);
        found.map_or(self.column(at).0, |(name, _)| name)
    }

    /// A value that fits the column.
    fn value(kind: Kind, text: &str) -> Value {
        match kind {
            Kind::Text => marked(text).into(),
            Kind::Integer => i64::try_from(text.len()).unwrap_or(0).into(),
            Kind::Json => Value::json(&marked(text)).expect("a text is JSON"),
            Kind::Array => Value::TextArray(vec![marked(text), String::new()]),
        }
    }

    fn definition(&self) -> Table {
        let mut table = Table::new(&self.table).column(text("key"));
        for (at, (name, kind)) in self.columns.iter().enumerate() {
            let column = match kind {
                Kind::Text => text(name),
                Kind::Integer => integer(name),
                Kind::Json => json(name),
                Kind::Array => text_array(name),
            };
            let column = column.nullable();
            table = table.column(match &self.default {
                Some(default) if at == 0 => column.default(Self::value(*kind, default)),
                _ => column,
            });
        }
        table.primary_key(["key"])
    }

    fn assignment(&self, at: u8, of: &Of) -> Assignment {
        let (column, kind) = self.column(at);
        match of {
            Of::Set(text) => set(column, Self::value(kind, text)),
            Of::OnInsert(text) => set_on_insert(column, Self::value(kind, text)),
            Of::Null => set(column, Value::Null),
            Of::Increment(by) => increment(self.column_of(at, Kind::Integer), *by),
            Of::Append(text) => array_append(self.column_of(at, Kind::Array), marked(text)),
            Of::Remove(text) => array_remove(self.column_of(at, Kind::Array), marked(text)),
            Of::Intersect(texts) => {
                array_intersect(self.column_of(at, Kind::Array), texts.iter().map(|text| marked(text)))
            }
            Of::From(other) => copy_column(column, self.column(*other).0),
            Of::If(text, is) => set_if(column, Self::value(kind, text), self.condition(at, is)),
        }
    }

    fn condition(&self, at: u8, is: &Is) -> Condition {
        let (column, kind) = self.column(at);
        match is {
            Is::Eq(text) => eq(column, Self::value(kind, text)),
            Is::Less(number) => lt(self.column_of(at, Kind::Integer), *number),
            Is::Null => is_null(column),
            Is::In(texts) => is_in(column, texts.iter().map(|text| Self::value(kind, text))),
            Is::Contains(text) => contains(self.column_of(at, Kind::Array), marked(text)),
            Is::Json(text) => json_contains(self.column_of(at, Kind::Json), &marked(text)),
            Is::Not(is) => not(self.condition(at, is)),
        }
    }

    fn reduced(&self) -> Reduced {
        let values: Vec<Assignment> = self.values.iter().map(|(at, of)| self.assignment(*at, of)).collect();
        let conditions: Vec<Condition> = self.conditions.iter().map(|(at, is)| self.condition(*at, is)).collect();
        let keyed = || std::iter::once(set("key", marked("k"))).chain(values.clone());
        match self.statement {
            Shape::Create => create(keyed()),
            Shape::Upsert => upsert(["key"], keyed()),
            Shape::Update => update(values, conditions),
            Shape::Delete => delete(conditions),
            Shape::Copy => {
                let sources = self.values.iter().map(|(at, of)| match of {
                    Of::From(other) => source_column(self.column(*other).0),
                    Of::Set(text) => source_value(Self::value(self.column(*at).1, text)),
                    _ => source_column(self.column(*at).0).added(),
                });
                let to = self.values.iter().map(|(at, _)| self.column(*at).0);
                let (to, from) =
                    (std::iter::once("key").chain(to), std::iter::once(source_value(marked("k"))).chain(sources));
                copy(["key"], to, from, conditions)
            }
        }
    }

    /// The projection with its one statement, unless something in it is refused.
    fn build(&self) -> Option<(Projection, Statement)> {
        let names =
            self.columns.iter().map(|(name, _)| name).chain([&self.projection, &self.table]).chain(&self.schema);
        if self.columns.is_empty() || names.into_iter().any(|name| name.contains('§')) {
            return None;
        }
        let statement = self.reduced().ok()?;
        let reducer = statement.clone();
        let mut projection = Projection::new(&self.projection, 7).table(self.definition());
        if let Some(schema) = &self.schema {
            projection = projection.schema(schema);
        }
        let projection = projection.on_raw("a", "e", move |_| Ok(reducer.clone()));
        projection.check().ok()?;
        let reduced = projection.reduce(&Event::new("i", "a", "1", "e")).ok()?;
        assert_eq!(reduced, statement);
        Some((projection, statement))
    }
}

fn one(sql: &str) -> ast::Statement {
    let mut parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    assert_eq!(parsed.len(), 1, "{sql}");
    parsed.remove(0)
}

fn check(sql: &str, count: usize, shape: Shape, table: &str) {
    assert!(!sql.contains('§'), "a value is in {sql}");
    let parsed = one(sql);
    let fits = match shape {
        Shape::Create | Shape::Upsert | Shape::Copy => matches!(parsed, ast::Statement::Insert(_)),
        Shape::Update => matches!(parsed, ast::Statement::Update { .. }),
        Shape::Delete => matches!(parsed, ast::Statement::Delete(_)),
    };
    assert!(fits, "{shape:?} is {sql}");
    let relations = visit_relations(&parsed, |relation| {
        let name = relation.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.as_str());
        let own =
            name.is_some_and(|name| name.ends_with(&format!("{table}_7")) || name == "json_each" || name == "unnest");
        if own { ControlFlow::Continue(()) } else { ControlFlow::Break(relation.to_string()) }
    });
    assert_eq!(relations, ControlFlow::Continue(()), "{sql}");
    let placeholders = visit_expressions(&parsed, |expression| match expression {
        Expr::Value(ast::ValueWithSpan { value: ast::Value::Placeholder(name), .. }) => {
            let number: usize = name.trim_start_matches('$').parse().expect("a number");
            if (1..=count).contains(&number) { ControlFlow::Continue(()) } else { ControlFlow::Break(number) }
        }
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(placeholders, ControlFlow::Continue(()), "{sql}");
}

fuzz_target!(|input: Input| {
    let Some((projection, statement)) = input.build() else { return };
    for postgres in [true, false] {
        let (tables, statements) = render_for_fuzzing(postgres, &projection, &statement).expect("it fits the table");
        for sql in tables.iter().filter(|_| postgres) {
            one(sql);
        }
        assert_eq!(statements.len(), 1);
        for (sql, count) in &statements {
            check(sql, *count, input.statement, &input.table);
        }
    }
});
