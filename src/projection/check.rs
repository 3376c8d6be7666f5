//! Finds definitions that do not hold together, before any thread or SQL.

use std::collections::BTreeSet;

use super::Projection;
use crate::error::{NameError, ProjectionError};
use crate::table::{ForeignKey, Table, TableFault, check_name};
use crate::value::check_text;

impl Projection {
    /// Checks that name, version, reducers, upcasts and tables hold together.
    ///
    /// # Errors
    /// The first thing that does not.
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
        self.check_tables()
    }

    /// Checks each projection, and that no two of them share a name or a table.
    ///
    /// # Errors
    /// The first thing that does not hold together.
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
        match check_name("projection", self.name(), 0) {
            Err(NameError::Reserved { .. }) => Ok(()),
            other => other,
        }
    }

    fn check_reducers(&self) -> Result<(), ProjectionError> {
        if self.inner.reducers.is_empty() {
            return Err(ProjectionError::NoReducer { projection: self.name().to_owned() });
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
                if !self.inner.reducers.values().any(|reducers| reducers.contains_key(event_type)) {
                    return Err(self.upcast_fault(event_type, revision, "never runs: no reducer is for this event type"));
                }
            }
        }
        Ok(())
    }

    fn check_tables(&self) -> Result<(), ProjectionError> {
        if let Some(schema) = self.schema_name() {
            check_schema(schema).map_err(|source| self.name_fault(source))?;
        }
        for (at, table) in self.tables().iter().enumerate() {
            self.check_table_name(table).map_err(|source| self.name_fault(source))?;
            if table.is_suffix {
                return Err(self.table_fault(table, "is a suffix and comes first; a suffix needs a table to be appended to"));
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

    /// The name with all that is added to it on either database: version, and SQLite's prefix for the schema.
    fn check_table_name(&self, table: &Table) -> Result<(), NameError> {
        let version = self.physical("").len();
        check_name("table", &table.name, version)?;
        match self.schema_name() {
            Some(_) => check_name("table", &self.qualified(&table.name), version),
            None => Ok(()),
        }
    }

    /// A foreign key needs a table that exists when its own is made, and columns like that table's primary key.
    fn check_foreign_key(&self, at: usize, table: &Table, key: &ForeignKey) -> Result<(), String> {
        let found = match &key.table {
            None => self.tables().first(),
            Some(name) => self.tables().iter().take(at + 1).find(|candidate| candidate.name == *name),
        };
        let Some(target) = found else {
            let name = key.table.as_deref().unwrap_or_default();
            return Err(format!("refers to table {name:?}, which does not come before it"));
        };
        let kinds = |table: &Table, columns: &[String]| -> Vec<_> {
            columns.iter().filter_map(|column| table.find(column)).map(|column| column.kind).collect()
        };
        if kinds(table, &key.columns) == kinds(target, &target.primary_key) {
            return Ok(());
        }
        let (own, theirs) = (key.columns.join(", "), target.primary_key.join(", "));
        Err(format!("refers by ({own}) to table {:?}, whose primary key ({theirs}) has other columns or types", target.name))
    }

    /// A statement may name a table by its suffix, which must not be another table's name.
    fn check_ambiguity(&self) -> Result<(), ProjectionError> {
        let Some(primary) = self.tables().first() else { return Ok(()) };
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

    /// Takes the names of the views and of the tables behind them; SQLite keeps all in one room and does not tell
    /// upper from lower case.
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

    fn upcast_fault(&self, event_type: &str, revision: u32, what: &'static str) -> ProjectionError {
        let (projection, event_type) = (self.name().to_owned(), event_type.to_owned());
        ProjectionError::Upcast { projection, event_type, revision, what }
    }
}

/// Types of aggregates and events are values: all that push accepts.
fn check_type(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
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
mod tests {
    use super::*;
    use crate::statement::noop;
    use crate::table::{integer, text};

    fn empty() -> Projection {
        Projection::new("users", 3).on_raw("user", "user.added", |_| noop())
    }

    fn table(name: &str) -> Table {
        with_id(Table::new(name))
    }

    fn with_id(table: Table) -> Table {
        table.column(text("id")).primary_key(["id"])
    }

    fn fault(projection: &Projection) -> String {
        crate::error::full(&projection.check().unwrap_err())
    }

    // SPEC B1
    #[test]
    fn a_definition_that_holds_together_is_accepted() {
        assert_eq!(empty().check(), Ok(()), "tables are not required");
        let projection = empty()
            .schema("crm")
            .table(table("users"))
            .table(with_id(Table::suffix("phones")).references_primary(["id"]))
            .table(with_id(Table::suffix("calls")).references(["id"], "phones"))
            .table(with_id(Table::new("tree")).column(text("parent").nullable()).references(["parent"], "tree"));
        assert_eq!(projection.check(), Ok(()));
        let names: Vec<_> = projection.tables().iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["users", "users_phones", "users_calls", "tree"]);
        assert_eq!(projection.tables()[2].foreign_keys[0].table.as_deref(), Some("users_phones"));
        assert_eq!(Projection::new("pg_x", 1).on_raw("a", "b", |_| noop()).check(), Ok(()));
    }

    // SPEC B2, J5
    #[test]
    fn name_version_and_reducers_are_required() {
        let named = |name, version| Projection::new(name, version).on_raw("a", "b", |_| noop());
        assert_eq!(named("", 1).check(), Err(ProjectionError::NoProjection));
        assert_eq!(named("p", 0).check(), Err(ProjectionError::NoVersion { projection: "p".into() }));
        assert_eq!(Projection::new("p", 1).check(), Err(ProjectionError::NoReducer { projection: "p".into() }));
        let twice = named("p", 1).on_raw("a", "b", |_| noop());
        assert!(matches!(twice.check(), Err(ProjectionError::DuplicateReducer { .. })));
        assert!(fault(&named("p\n", 1)).contains("control character"));
        assert!(fault(&empty().on_raw("", "b", |_| noop())).contains("aggregate type has an empty name"));
        assert!(fault(&empty().on_raw("a", "", |_| noop())).contains("event type has an empty name"));
    }

    // SPEC A9, J5
    #[test]
    fn upcasts_that_could_not_run_are_refused() {
        let same = |text: String| text;
        assert!(fault(&empty().upcast("user.added", 1, same).upcast("user.added", 1, same)).contains("is given twice"));
        assert!(fault(&empty().upcast("user.added", 0, same)).contains("count from 1"));
        assert!(fault(&empty().upcast("user.add", 1, same)).contains("no reducer is for this event type"));
        assert_eq!(empty().upcast("user.added", 1, same).upcast("user.added", 2, same).check(), Ok(()));
    }

    // SPEC B1, B4
    #[test]
    fn names_leave_room_for_what_the_engine_adds() {
        let name = "x".repeat(61);
        assert_eq!(empty().table(table(&name)).check(), Ok(()));
        assert!(fault(&empty().table(table(&format!("{name}x")))).contains("64 bytes"));
        assert!(fault(&empty().schema("s").table(table(&name))).contains("65 bytes"));
        assert!(fault(&empty().schema("sqlite").table(table("users"))).contains("SQLite keeps"));
        assert!(fault(&empty().schema("ReadSide").table(table("users"))).contains("the engine keeps"));
        assert!(fault(&empty().table(table("users")).table(with_id(Table::suffix("")))).contains("empty name"));
        assert!(fault(&empty().table(table("users").column(text("ID")))).contains("used twice"));
    }

    // SPEC B1, B5
    #[test]
    fn tables_are_told_apart_by_every_name_they_have() {
        assert!(fault(&empty().table(table("users")).table(table("Users"))).contains("used twice"));
        assert!(fault(&empty().table(table("users")).table(table("users_3"))).contains("used twice"));
        assert!(fault(&empty().table(with_id(Table::suffix("x")))).contains("comes first"));
        let both = empty().table(table("users")).table(table("phones")).table(with_id(Table::suffix("phones")));
        assert!(fault(&both).contains("could be meant by \"phones\""));
        assert!(fault(&empty().table(Table::new("users").column(text("id")))).contains("no primary key"));
    }

    // SPEC B1
    #[test]
    fn foreign_keys_fit_a_table_that_comes_before() {
        let refers = |key: Table| fault(&empty().table(table("users")).table(key).table(table("later")));
        assert!(refers(table("x").references(["id"], "nothing")).contains("does not come before"));
        assert!(refers(table("x").references(["id"], "later")).contains("does not come before"));
        assert!(refers(table("x").column(integer("n")).references_primary(["n"])).contains("other columns or types"));
        assert!(refers(table("x").column(text("n")).references_primary(["id", "n"])).contains("other columns"));
    }

    // SPEC B1
    #[test]
    fn projections_share_neither_name_nor_table() {
        let other = |name: &str| Projection::new(name, 1).on_raw("a", "b", |_| noop());
        let users = empty().table(table("users"));
        assert_eq!(Projection::check_all(&[&users, &other("o").table(table("others"))]), Ok(()));
        assert_eq!(
            Projection::check_all(&[&users, &other("users")]),
            Err(ProjectionError::DuplicateProjection { name: "users".into() })
        );
        for name in ["USERS", "users_3"] {
            let clash = other("o").table(table(name));
            assert!(matches!(Projection::check_all(&[&users, &clash]), Err(ProjectionError::Name { .. })), "{name}");
        }
    }
}
