//! Reads from PostgreSQL's catalogue what belongs to tables and views, as the statements that move it to new ones.
//!
//! The queries are in `objects/queries.rs`.

mod queries;

use crate::db::declared::{Declared, FoundIndex, Piece, Structure, Worn};
use crate::db::objects::{Catalogue, Dependent, Own, Reference, Relation, Step, TablePair};
use crate::db::{Conn, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::value::Value;
use queries::{
    ADDED, CHECKS, COLUMNS, COMMENTS, COMPRESSION, DEPENDENTS, FOLLOWING, FOREIGN_KEYS, GIVEN, GRANTS, HAS_CHECKS,
    HAS_GENERATED, HAS_INDEXES, HAS_REFERENCES, IDENTITY, INDEXES, LABELS, LOCK_TABLES, LOCK_VIEWS, MAKE_INDEXES,
    MAKE_POLICIES, MAKE_STATISTICS, NAME_INDEXES, NAME_STATISTICS, OPTIONS, OWNER, PARENTS, POLICIES, PUBLICATIONS,
    PUBLICATIONS_IN_PART, REFERRING, RENAMED, RESTORED, ROW_SECURITY, RULES, SEQUENCES, STATISTICS, STAYS, STORAGE,
    TRIGGERS, UNFIT, VIEWS,
};

pub(super) struct Objects;

fn names(relations: &[Relation]) -> Value {
    Value::TextArray(relations.iter().map(|relation| relation.quoted.clone()).collect())
}

fn json(lists: &[Vec<String>]) -> Value {
    Value::Text(serde_json::Value::from(lists.to_vec()).to_string())
}

/// The values of [`GIVEN`].
fn given(pair: &TablePair) -> Vec<Value> {
    let TablePair { old, new, own: Own { indexes, uniques }, tables, within, .. } = pair;
    vec![
        old.quoted.as_str().into(),
        new.quoted.as_str().into(),
        json(indexes),
        json(uniques),
        (*within).into(),
        names(tables),
    ]
}

fn version(conn: &mut dyn Conn) -> Result<i64, StoreError> {
    let rows = conn.query("SELECT current_setting('server_version_num')::int8", &[])?;
    rows.first().map_or(Ok(0), |found| row::int(found, 0))
}

fn steps(conn: &mut dyn Conn, sql: &str, params: &[Value], alone: bool) -> Result<Vec<Step>, StoreError> {
    let step = |found: &crate::db::Row| {
        let then = if found.len() > 3 { row::text(found, 3)?.to_owned() } else { String::new() };
        let (what, guards, sql) =
            (row::text(found, 0)?.to_owned(), row::truth(found, 1)?, row::text(found, 2)?.to_owned());
        Ok(Step { what, guards, sql, then, alone })
    };
    conn.query(sql, params)?.iter().map(step).collect()
}

fn texts(conn: &mut dyn Conn, sql: &str, params: &[Value]) -> Result<Vec<String>, StoreError> {
    conn.query(sql, params)?.iter().map(|found| row::text(found, 0).map(str::to_owned)).collect()
}

/// A row of [`REFERRING`].
fn reference(found: &crate::db::Row) -> Result<Reference, StoreError> {
    let columns = serde_json::from_str(row::text(found, 5)?)
        .map_err(|error| StoreError::new("reading a foreign key", StoreErrorKind::Data, error))?;
    Ok(Reference {
        what: row::text(found, 0)?.to_owned(),
        to: usize::try_from(row::int(found, 1)?).unwrap_or(usize::MAX),
        from: row::text(found, 2)?.to_owned(),
        columns,
        refuses: row::truth(found, 3)?,
        readable: row::truth(found, 4)?,
    })
}

/// Reads a JSON array of names.
fn list(names: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(names).map_err(|error| StoreError::new("reading columns", StoreErrorKind::Data, error))
}

/// The values of [`GIVEN`] and [`VIEWS`].
fn with_views(pair: &TablePair) -> Vec<Value> {
    let mut params = given(pair);
    params.push(names(&pair.views));
    params
}

impl Catalogue for Objects {
    fn carried(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<Step>, StoreError> {
        let (params, version) = (given(pair), version(conn)?);
        let mut queries = vec![GRANTS.to_owned(), OPTIONS.to_owned(), STORAGE.to_owned(), COLUMNS.to_owned()];
        if version >= 140_000 {
            queries.push(COMPRESSION.to_owned());
        }
        queries.extend([COMMENTS.to_owned(), LABELS.to_owned(), format!("{INDEXES}{MAKE_INDEXES}"), CHECKS.to_owned()]);
        queries.extend([format!("{STATISTICS}{MAKE_STATISTICS}"), format!("{POLICIES}{MAKE_POLICIES}")]);
        queries.extend([ROW_SECURITY.to_owned(), OWNER.to_owned()]);
        let mut carried = Vec::new();
        for query in queries {
            carried.extend(steps(conn, &format!("{GIVEN}{query}"), &params, true)?);
        }
        Ok(carried)
    }

    fn moved(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<Step>, StoreError> {
        let params = given(pair);
        let mut moved = Vec::new();
        // This query runs without `carried`, because `carried` makes the index that may be the identity.
        moved.extend(steps(conn, &format!("{GIVEN}{INDEXES}{IDENTITY}"), &params, false)?);
        for query in [TRIGGERS, RULES] {
            moved.extend(steps(conn, &format!("{GIVEN}{query}"), &params, true)?);
        }
        let publications = if version(conn)? >= 150_000 { PUBLICATIONS_IN_PART } else { PUBLICATIONS };
        for query in [FOREIGN_KEYS, SEQUENCES, PARENTS, publications] {
            moved.extend(steps(conn, &format!("{GIVEN}{query}"), &params, false)?);
        }
        for query in [format!("{INDEXES}{NAME_INDEXES}"), format!("{STATISTICS}{NAME_STATISTICS}")] {
            moved.extend(steps(conn, &format!("{GIVEN}{query}"), &params, false)?);
        }
        Ok(moved)
    }

    fn following(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<Step>, StoreError> {
        steps(conn, &format!("{GIVEN}{VIEWS}{FOLLOWING}"), &with_views(pair), false)
    }

    fn staying(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<(String, bool)>, StoreError> {
        let found = conn.query(&format!("{GIVEN}{STAYS}"), &given(pair))?;
        let stay = |found: &crate::db::Row| Ok((row::text(found, 0)?.to_owned(), row::truth(found, 1)?));
        let mut stays: Vec<(String, bool)> = found.iter().map(stay).collect::<Result<_, StoreError>>()?;
        let relations = std::slice::from_ref(&pair.old);
        let own: Vec<Relation> = pair.tables.iter().chain(&pair.views).cloned().collect();
        let others = self.dependents(conn, relations, &own)?;
        // A switch to another version leaves the old table its name. Objects that read the old table stay on it.
        let stands = |one: Dependent| (format!("{} on {}", one.what, pair.old.quoted), pair.within);
        let is_left = |one: &Dependent| !one.moves || (!pair.within && one.what.starts_with("view "));
        stays.extend(others.into_iter().filter(is_left).map(stands));
        Ok(stays)
    }

    fn added(
        &self,
        conn: &mut dyn Conn,
        table: &Relation,
        own: &Own,
        tables: &[Relation],
    ) -> Result<Vec<String>, StoreError> {
        let pair = TablePair {
            old: table.clone(),
            new: table.clone(),
            own: own.clone(),
            tables: tables.to_vec(),
            views: Vec::new(),
            within: true,
        };
        texts(conn, &format!("{GIVEN}{INDEXES}{ADDED}"), &given(&pair))
    }

    fn locks(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<String>, StoreError> {
        let mut locks = texts(conn, &format!("{GIVEN}{VIEWS}{LOCK_VIEWS}"), &with_views(pair))?;
        locks.extend(texts(conn, &format!("{GIVEN}{LOCK_TABLES}"), &given(pair))?);
        Ok(locks)
    }

    fn dependents(
        &self,
        conn: &mut dyn Conn,
        relations: &[Relation],
        views: &[Relation],
    ) -> Result<Vec<Dependent>, StoreError> {
        let found = conn.query(DEPENDENTS, &[names(relations), names(views)])?;
        let one = |found: &crate::db::Row| {
            Ok(Dependent { what: row::text(found, 0)?.to_owned(), moves: row::truth(found, 1)? })
        };
        found.iter().map(one).collect()
    }

    /// Errors name constraints, and the service's own SQL may name them too.
    fn renamed(&self, conn: &mut dyn Conn, table: &Relation, was: &str, now: &str) -> Result<Vec<Step>, StoreError> {
        steps(conn, RENAMED, &[table.quoted.as_str().into(), was.into(), now.into()], false)
    }

    fn pieces(&self, declared: &Declared, worn: Worn<'_>) -> Vec<Piece> {
        super::dress::pieces(declared, worn)
    }

    fn structure(&self, conn: &mut dyn Conn, table: &Relation, checks: &[String]) -> Result<Structure, StoreError> {
        let of = Value::from(table.quoted.as_str());
        let index = |found: &crate::db::Row| {
            let columns = if row::truth(found, 2)? { Some(list(row::text(found, 3)?)?) } else { None };
            Ok(FoundIndex { name: row::text(found, 0)?.to_owned(), unique: row::truth(found, 1)?, columns })
        };
        let indexes = conn.query(HAS_INDEXES, std::slice::from_ref(&of))?;
        let keys = texts(conn, HAS_REFERENCES, std::slice::from_ref(&of))?;
        Ok(Structure {
            indexes: indexes.iter().map(index).collect::<Result<_, StoreError>>()?,
            constraints: texts(conn, HAS_CHECKS, &[of.clone(), Value::TextArray(checks.to_vec())])?,
            generated: texts(conn, HAS_GENERATED, &[of])?,
            references: keys.iter().map(|columns| list(columns)).collect::<Result<_, _>>()?,
        })
    }

    /// Before version 15, the server reads what is beneath a view with the rights of the view's owner.
    fn not_isolating(&self, conn: &mut dyn Conn) -> Result<Option<String>, StoreError> {
        let found = version(conn)? / 10_000;
        Ok((found < 15).then(|| {
            format!("PostgreSQL {found} reads what is beneath a view as the owner of the view; it takes PostgreSQL 15")
        }))
    }

    fn referring(&self, conn: &mut dyn Conn, tables: &[Relation]) -> Result<Vec<Reference>, StoreError> {
        conn.query(REFERRING, &[names(tables)])?.iter().map(reference).collect()
    }

    fn restored(&self, conn: &mut dyn Conn, view: &Relation, columns: &[String]) -> Result<Vec<Step>, StoreError> {
        steps(conn, RESTORED, &[view.quoted.as_str().into(), Value::TextArray(columns.to_vec())], false)
    }

    fn unfit(&self, conn: &mut dyn Conn, view: &Relation, columns: &[String]) -> Result<Vec<String>, StoreError> {
        texts(conn, UNFIT, &[view.quoted.as_str().into(), Value::TextArray(columns.to_vec())])
    }

    fn broken(&self, _: &mut dyn Conn) -> Result<Option<Vec<(String, String)>>, StoreError> {
        Ok(None)
    }
}
