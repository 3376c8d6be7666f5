//! Finds inconsistent definitions before any thread or SQL runs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Projection, Reducer};
use crate::error::{NameError, ProjectionError};
use crate::query::EventFilter;
use crate::state::SHADOW;
use crate::statement::Dialect;
use crate::table::{ForeignKey, Table, TableFault, check_name};
use crate::value::check_text;

impl Projection {
    /// Checks that name, version, reducers, upcasts and tables are consistent.
    ///
    /// # Errors
    /// The first fault that is found.
    pub fn check(&self) -> Result<(), ProjectionError> {
        if self.name().is_empty() {
            return Err(ProjectionError::NoProjection);
        }
        if self.version() == 0 {
            return Err(ProjectionError::NoVersion { projection: self.name().to_owned() });
        }
        self.check_own_name().map_err(|source| self.name_fault(source))?;
        self.check_reducers()?;
        self.check_upcasts()?;
        self.check_tables()?;
        self.check_sql()
    }

    /// Checks that all custom SQL has a text for this database.
    pub(crate) fn check_texts(&self, dialect: Dialect) -> Result<(), ProjectionError> {
        let database = dialect.name();
        for table in self.tables() {
            if let Some(column) = table.columns.iter().find(|column| column.lacks_text(dialect)) {
                let what = format!(
                    "has the generated column {:?} without a text for {database}, which keeps the read models; give it one by \
                     Dialects::each",
                    column.name
                );
                return Err(self.table_fault(table, what));
            }
        }
        match self.inner.own_sql.iter().find(|(_, own)| own.of(dialect).is_none()) {
            Some((sql, _)) => {
                let what =
                    format!("has no text for {database}, which keeps the read models; give it one by Dialects::each");
                Err(self.sql_fault(sql, what))
            }
            None => Ok(()),
        }
    }

    /// Checks each projection, and that no two of them share a name or a table.
    ///
    /// # Errors
    /// The first fault that is found.
    pub fn check_all(projections: &[&Projection]) -> Result<(), ProjectionError> {
        let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for projection in projections {
            projection.check()?;
            if !names.insert(projection.name()) {
                return Err(ProjectionError::DuplicateProjection { name: projection.name().to_owned() });
            }
            projection.take_names(&mut taken)?;
        }
        Ok(())
    }

    /// The name is stored, not used as an identifier, so no name is reserved.
    fn check_own_name(&self) -> Result<(), NameError> {
        if self.name().contains(SHADOW) {
            let why = "what follows a # marks a second build of a version";
            return Err(NameError::Reserved { what: "projection", name: self.name().to_owned(), why });
        }
        match check_name("projection", self.name(), 0) {
            Err(NameError::Reserved { .. }) => Ok(()),
            other => other,
        }
    }

    fn check_reducers(&self) -> Result<(), ProjectionError> {
        if self.inner.reducers.is_empty() {
            return Err(ProjectionError::NoReducer { projection: self.name().to_owned() });
        }
        if let Some(what) = self.inner.unnamed {
            return Err(self.name_fault(NameError::Empty { what }));
        }
        if let Some((aggregate_type, event_type)) = self.inner.duplicates.first() {
            return Err(ProjectionError::DuplicateReducer {
                projection: self.name().to_owned(),
                aggregate_type: aggregate_type.clone(),
                event_type: event_type.clone(),
            });
        }
        for (aggregate_type, reducers) in &self.inner.reducers {
            check_type("aggregate type", aggregate_type).map_err(|source| self.name_fault(source))?;
            for event_type in reducers.keys() {
                check_type("event type", event_type).map_err(|source| self.name_fault(source))?;
            }
        }
        Ok(())
    }

    fn check_upcasts(&self) -> Result<(), ProjectionError> {
        if let Some((event_type, revision)) = self.inner.duplicate_upcasts.first() {
            return Err(self.upcast_fault(event_type, *revision, "is given twice"));
        }
        for (event_type, upcasts) in &self.inner.upcasts {
            for &revision in upcasts.keys() {
                if revision == 0 {
                    return Err(self.upcast_fault(event_type, revision, "never runs: revisions count from 1"));
                }
                let handles = |reducers: &BTreeMap<String, Reducer>| {
                    reducers.contains_key(event_type) || reducers.contains_key(EventFilter::EVERY)
                };
                if !self.inner.reducers.values().any(handles) {
                    return Err(self.upcast_fault(
                        event_type,
                        revision,
                        "never runs: no reducer is for this event type",
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_sql(&self) -> Result<(), ProjectionError> {
        if let Some(sql) = self.inner.duplicate_sql.first() {
            return Err(self.sql_fault(sql, "is declared twice"));
        }
        self.inner.own_sql.iter().try_for_each(|(sql, own)| {
            let fault =
                |(dialect, what): (Dialect, String)| self.sql_fault(sql, format!("({}) {what}", dialect.name()));
            own.check(self.tables(), self.schema_name()).map_err(fault)
        })
    }

    fn check_tables(&self) -> Result<(), ProjectionError> {
        if let Some(schema) = self.schema_name() {
            check_schema(schema).map_err(|source| self.name_fault(source))?;
        }
        for (at, table) in self.tables().iter().enumerate() {
            self.check_table_name(table).map_err(|source| self.name_fault(source))?;
            if table.is_suffix {
                return Err(
                    self.table_fault(table, "is a suffix and comes first; a suffix needs a table to be appended to")
                );
            }
            table.check().map_err(|fault| match fault {
                TableFault::Name(source) => self.name_fault(source),
                TableFault::What(what) => self.table_fault(table, what),
            })?;
            for key in &table.foreign_keys {
                self.check_foreign_key(at, table, key).map_err(|what| self.table_fault(table, what))?;
            }
        }
        self.check_ambiguity()?;
        self.take_names(&mut BTreeSet::new())
    }

    /// Checks the name with everything that is added to it on either database: the version, and SQLite's prefix for the
    /// schema.
    fn check_table_name(&self, table: &Table) -> Result<(), NameError> {
        let version = self.physical("").len();
        check_name("table", &table.name, version)?;
        match self.schema_name() {
            Some(_) => check_name("table", &self.qualified(&table.name), version),
            None => Ok(()),
        }
    }

    /// A foreign key needs a table that comes before its own table, and columns that match that table's primary key.
    fn check_foreign_key(&self, at: usize, table: &Table, key: &ForeignKey) -> Result<(), String> {
        let found = match &key.table {
            None => self.tables().first(),
            Some(name) => self.tables().iter().take(at + 1).find(|candidate| candidate.name == *name),
        };
        let Some(target) = found else {
            let name = key.table.as_deref().unwrap_or_default();
            return Err(format!("refers to table {name:?}, which does not come before it"));
        };
        if key.restricts && std::ptr::eq(target, table) {
            return Err(
                "refers to itself by a foreign key that restricts, so that the rows of a tenant could not be removed \
                        step by step; leave ForeignKey::restrict out"
                    .to_owned(),
            );
        }
        let kinds = |table: &Table, columns: &[String]| -> Vec<_> {
            columns.iter().filter_map(|column| table.find(column)).map(|column| column.kind).collect()
        };
        if kinds(table, &key.columns) == kinds(target, &target.primary_key) {
            return Ok(());
        }
        let (own, theirs) = (key.columns.join(", "), target.primary_key.join(", "));
        Err(format!(
            "refers by ({own}) to table {:?}, whose primary key ({theirs}) has other columns or types",
            target.name
        ))
    }

    /// A statement may name a table by its suffix. So a suffix must not be the name of another table.
    fn check_ambiguity(&self) -> Result<(), ProjectionError> {
        let Some(primary) = self.tables().first() else {
            return Ok(());
        };
        for table in self.tables().iter().skip(1) {
            let suffix = table.name.strip_prefix(&primary.name).and_then(|rest| rest.strip_prefix('_'));
            let other = self.tables().iter().find(|other| Some(other.name.as_str()) == suffix);
            if let Some(other) = other {
                let what = format!("could be meant by {:?}, which is a table as well; rename one of them", other.name);
                return Err(self.table_fault(table, what));
            }
        }
        Ok(())
    }

    /// Takes the names of the views and of the tables behind them. SQLite keeps all of them in one namespace and does
    /// not distinguish upper from lower case.
    fn take_names(&self, taken: &mut BTreeSet<String>) -> Result<(), ProjectionError> {
        for table in self.tables() {
            for name in [table.name.clone(), self.physical(&table.name)] {
                let name = self.qualified(&name);
                if !taken.insert(name.to_ascii_lowercase()) {
                    return Err(self.name_fault(NameError::Duplicate { what: "table", name }));
                }
            }
        }
        Ok(())
    }

    fn physical(&self, name: &str) -> String {
        format!("{name}_{}", self.version())
    }

    fn qualified(&self, name: &str) -> String {
        match self.schema_name() {
            Some(schema) => format!("{schema}_{name}"),
            None => name.to_owned(),
        }
    }

    fn name_fault(&self, source: NameError) -> ProjectionError {
        ProjectionError::Name { projection: self.name().to_owned(), source }
    }

    fn table_fault(&self, table: &Table, what: impl Into<String>) -> ProjectionError {
        ProjectionError::Table { projection: self.name().to_owned(), table: table.name.clone(), what: what.into() }
    }

    fn sql_fault(&self, sql: &str, what: impl Into<String>) -> ProjectionError {
        ProjectionError::Sql { projection: self.name().to_owned(), sql: sql.to_owned(), what: what.into() }
    }

    fn upcast_fault(&self, event_type: &str, revision: u32, what: &'static str) -> ProjectionError {
        let (projection, event_type) = (self.name().to_owned(), event_type.to_owned());
        ProjectionError::Upcast { projection, event_type, revision, what }
    }
}

/// Checks a type of aggregates or events. Types are values: a projection accepts every type that push accepts, and the
/// text that means every type.
fn check_type(what: &'static str, name: &str) -> Result<(), NameError> {
    check_text(name).map_err(|_| NameError::Control { what, name: name.to_owned() })
}

fn check_schema(schema: &str) -> Result<(), NameError> {
    check_name("schema", schema, 0)?;
    for (reserved, why) in [
        ("readside", "the engine keeps its own tables there"),
        ("information_schema", "PostgreSQL keeps its catalogue there"),
    ] {
        if schema.eq_ignore_ascii_case(reserved) {
            return Err(NameError::Reserved { what: "schema", name: schema.to_owned(), why });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
