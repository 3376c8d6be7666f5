//! The views that readers use: moves them onto the tables of a build, and keeps owner, grants and comments.

use super::losses::{self, Losses};
use super::stored::Stored;
use super::texts;
use crate::db::objects::Relation;
use crate::db::setup::catalog::{self, CatalogColumn};
use crate::db::{Conn, row};
use crate::error::{SetupError, StoreError, SwitchError};
use crate::sql::{self, Dialect};
use crate::value::Value;

/// Points the views to this build. Removes the views of tables that it does not have.
pub(super) fn point(
    conn: &mut dyn Conn,
    old: Option<&Stored>,
    new: &Stored,
    losses: &mut Losses,
) -> Result<(), SwitchError> {
    for view in vanishing(conn, old, new)? {
        view.check_dependents(conn)?;
        losses.vanish(conn.catalogue().restored(conn, &view.relation, &[])?);
        conn.batch(&format!("DROP VIEW {}", view.relation.quoted))?;
    }
    for table in &new.tables {
        move_one(conn, new, table, losses)?;
    }
    Ok(())
}

/// Checks that nothing hinders `point`, as far as this is known before it runs.
pub(super) fn check(conn: &mut dyn Conn, old: &Stored, new: &Stored, losses: &mut Losses) -> Result<(), SwitchError> {
    for view in vanishing(conn, Some(old), new)? {
        view.check_dependents(conn)?;
        losses.vanish(conn.catalogue().restored(conn, &view.relation, &[])?);
    }
    for table in &new.tables {
        let view = View::of(conn, new, table);
        if !view.is_there(conn, new)? {
            continue;
        }
        let raw = new.raw(conn.dialect(), table);
        let columns = catalog::columns(conn, view.schema, &raw)?;
        if let Columns::Others(names) = view.columns(conn, &columns)? {
            view.check_dependents(conn)?;
            losses.unfit(conn.catalogue().unfit(conn, &view.relation, &names)?);
        }
    }
    Ok(())
}

/// The views of tables that the new build does not have.
fn vanishing<'v>(conn: &mut dyn Conn, old: Option<&Stored>, new: &'v Stored) -> Result<Vec<View<'v>>, SwitchError> {
    let mut vanishing = Vec::new();
    for table in old.into_iter().flat_map(|old| &old.tables).filter(|table| !new.tables.contains(table)) {
        let view = View::of(conn, new, table);
        if view.is_there(conn, new)? {
            vanishing.push(view);
        }
    }
    Ok(vanishing)
}

fn names<'f>(columns: impl IntoIterator<Item = &'f CatalogColumn>) -> Vec<String> {
    columns.into_iter().map(|column| column.name.clone()).collect()
}

/// The columns that a view is to have, in order.
enum Columns {
    /// The columns that it already has come first, so objects that depend on the view can stay.
    Kept(Vec<String>),
    /// It loses some columns, or some get another type.
    Others(Vec<String>),
}

/// The statement that locks a view and nothing beneath it: it sets the owner that the view already has. `None` if there
/// is no such view.
pub(super) fn lock(conn: &mut dyn Conn, schema: Option<&str>, table: &str) -> Result<Option<String>, StoreError> {
    let quoted = sql::in_schema(conn.dialect(), schema, &sql::view_of(conn.dialect(), schema, table));
    let rows = conn.query(
        "SELECT format('ALTER VIEW %s OWNER TO %I', $1::text, pg_get_userbyid(relowner)) FROM pg_class \
         WHERE oid = to_regclass($1::text) AND relkind = 'v'",
        &[quoted.into()],
    )?;
    rows.first().map(|found| row::text(found, 0).map(str::to_owned)).transpose()
}

/// Statements that grant on `$2` what is granted on `$1`: on all of it, and on columns with these names.
const GRANTS: &str = "SELECT format('GRANT %s%s ON %s TO %s%s', g.privilege_type, g.columns, $2::text, \
     CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END, \
     CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM \
     (SELECT a.privilege_type, '' AS columns, a.grantee, a.is_grantable FROM pg_class c, aclexplode(c.relacl) a \
      WHERE c.oid = $1::text::regclass AND a.grantee <> c.relowner \
      UNION ALL SELECT a.privilege_type, '(' || quote_ident(t.attname) || ')', a.grantee, a.is_grantable \
      FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = $1::text::regclass \
      AND t.attname = ANY($3::text[])) g";

/// The statement that gives `$1` the options that it has.
const OPTIONS: &str = "SELECT format('ALTER VIEW %s SET (%s)', $1::text, array_to_string(reloptions, ', ')) \
     FROM pg_class WHERE oid = $1::text::regclass AND reloptions IS NOT NULL";

struct View<'v> {
    schema: Option<&'v str>,
    relation: Relation,
}

impl<'v> View<'v> {
    fn of(conn: &dyn Conn, stored: &'v Stored, table: &str) -> Self {
        Self { schema: stored.schema.as_deref(), relation: stored.view(conn.dialect(), table) }
    }

    /// The columns of its table, in the order that readers know.
    fn columns(&self, conn: &mut dyn Conn, columns: &[CatalogColumn]) -> Result<Columns, StoreError> {
        let before = catalog::columns(conn, self.schema, &self.relation.raw)?;
        let is_in = |all: &[CatalogColumn], one: &CatalogColumn| {
            all.iter().any(|of| (&of.name, &of.kind) == (&one.name, &one.kind))
        };
        if !before.iter().all(|column| is_in(columns, column)) {
            return Ok(Columns::Others(names(columns)));
        }
        Ok(Columns::Kept(names(before.iter().chain(columns.iter().filter(|column| !is_in(&before, column))))))
    }

    /// True if the projection's own view exists; false if the name is free.
    fn is_there(&self, conn: &mut dyn Conn, stored: &Stored) -> Result<bool, SwitchError> {
        let Some(kind) = catalog::relation(conn, self.schema, &self.relation.raw)? else { return Ok(false) };
        let sql = format!("SELECT projection FROM {} WHERE table_name = $1", conn.dialect().table("projection_tables"));
        let owners = texts(&conn.query(&sql, &[stored.owned(&self.relation.raw).into()])?)?;
        let name = stored.build.key.projection();
        if kind == "view" && owners.first().is_some_and(|owner| owner == name) {
            return Ok(true);
        }
        let by = match owners.first() {
            Some(owner) => format!("a {kind} of projection {owner:?}"),
            None => format!("a {kind} that is not readside's"),
        };
        Err(SetupError::NameTaken { projection: name.to_owned(), name: self.relation.raw.clone(), by }.into())
    }

    /// The name as PostgreSQL reads it in a value.
    fn regclass(&self) -> Value {
        self.relation.quoted.as_str().into()
    }

    /// Fails if objects of the service would be removed with the view. SQLite looks its views up by name at each use.
    fn check_dependents(&self, conn: &mut dyn Conn) -> Result<(), SwitchError> {
        if conn.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let found = conn.catalogue().dependents(conn, std::slice::from_ref(&self.relation), &[])?;
        if found.is_empty() {
            return Ok(());
        }
        let dependents: Vec<String> = found.into_iter().map(|one| one.what).collect();
        Err(SwitchError::Dependents { view: self.relation.raw.clone(), dependents: dependents.join(", ") })
    }
}

/// Replaces a view in place if its columns stay or only grow in number. If they change, it makes the view again, with
/// everything that people set on it.
fn move_one(conn: &mut dyn Conn, new: &Stored, table: &str, losses: &mut Losses) -> Result<(), SwitchError> {
    let dialect = conn.dialect();
    let view = View::of(conn, new, table);
    let is_there = view.is_there(conn, new)?;
    let columns = catalog::columns(conn, view.schema, &new.raw(dialect, table))?;
    let create = |names: &[String]| sql::create_view(dialect, view.schema, table, &new.build.key, names);
    if !is_there {
        conn.batch(&create(&names(&columns)))?;
        let sql = format!(
            "INSERT INTO {} (table_name, projection) VALUES ($1, $2) ON CONFLICT (table_name) DO NOTHING",
            dialect.table("projection_tables")
        );
        let owned = new.owned(&view.relation.raw);
        conn.execute(&sql, &[owned.into(), new.build.key.projection().into()])?;
        return Ok(());
    }
    let (names, stays) = match view.columns(conn, &columns)? {
        Columns::Kept(names) => (names, true),
        Columns::Others(names) => (names, false),
    };
    let create = create(&names);
    let mut settings = Vec::new();
    if dialect == Dialect::Postgres {
        if stays {
            return Ok(replace(conn, &view.relation, &create)?);
        }
        view.check_dependents(conn)?;
        losses.unfit(conn.catalogue().unfit(conn, &view.relation, &names)?);
        settings = self::settings(conn, &view, &names)?;
    }
    let restored = conn.catalogue().restored(conn, &view.relation, &names)?;
    conn.batch(&format!("DROP VIEW {}", view.relation.quoted))?;
    conn.batch(&create)?;
    // This has to run before another role owns the view again.
    losses::take(conn, restored, losses)?;
    for setting in settings {
        conn.batch(&setting)?;
    }
    Ok(())
}

/// Replaces the query of a view on PostgreSQL, with the same columns. Owner, grants and comments stay; options do not.
pub(in crate::db) fn replace(conn: &mut dyn Conn, view: &Relation, create: &str) -> Result<(), StoreError> {
    let options = conn.query(OPTIONS, &[view.quoted.as_str().into()])?;
    conn.batch(&create.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))?;
    for found in &options {
        conn.batch(row::text(found, 0)?)?;
    }
    Ok(())
}

/// The statements that give a new view what the old one has: owner, options, grants on it and on the columns that stay,
/// comments.
fn settings(conn: &mut dyn Conn, view: &View<'_>, columns: &[String]) -> Result<Vec<String>, StoreError> {
    let columns = Value::TextArray(columns.to_vec());
    let others = [
        "SELECT format('ALTER VIEW %s OWNER TO %I', $1::text, pg_get_userbyid(relowner)) FROM pg_class \
         WHERE oid = $1::text::regclass AND pg_get_userbyid(relowner) <> current_user AND cardinality($2::text[]) >= 0",
        "SELECT format('COMMENT ON VIEW %s IS %L', $1::text, obj_description($1::text::regclass, 'pg_class')) \
         WHERE obj_description($1::text::regclass, 'pg_class') IS NOT NULL AND cardinality($2::text[]) >= 0",
        "SELECT format('COMMENT ON COLUMN %s.%I IS %L', $1::text, attname, col_description(attrelid, attnum)) \
         FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND attname = ANY($2::text[]) \
         AND col_description(attrelid, attnum) IS NOT NULL",
    ];
    // The maker of the view can grant on it only before another role owns it.
    let mut statements = texts(&conn.query(OPTIONS, &[view.regclass()])?)?;
    let [owner, comment, comments] = others;
    for sql in [comment, comments] {
        for found in conn.query(sql, &[view.regclass(), columns.clone()])? {
            statements.push(row::text(&found, 0)?.to_owned());
        }
    }
    for found in conn.query(GRANTS, &[view.regclass(), view.regclass(), columns.clone()])? {
        statements.push(row::text(&found, 0)?.to_owned());
    }
    for found in conn.query(owner, &[view.regclass(), columns])? {
        statements.push(row::text(&found, 0)?.to_owned());
    }
    Ok(statements)
}
