//! The rights that a role needs to run engines on tables of another owner, as statements that grant them.
//!
//! To run means: to push, project, record and retry failures, pause, and carry out commands that change no tables.
//! Set-up, rebuilds and switches need the owner of the tables. So do redacting, removing and archiving, which change
//! the log itself.

use super::home::USUAL;
use super::server::Postgres;
use crate::db::{Backend, Conn, row};
use crate::error::{SetupError, StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::value::Value;

/// What running engines do with the engine's own tables. The trigger that notes set-backs updates `projections`.
const ENGINE: [(&str, &[&str]); 18] = [
    ("schema_migrations", &["SELECT"]),
    ("store", &["SELECT"]),
    ("instances", &["SELECT", "INSERT", "UPDATE"]),
    ("heads", &["SELECT", "INSERT", "UPDATE"]),
    ("events", &["SELECT", "INSERT"]),
    ("events_archive", &["SELECT"]),
    ("all_events", &["SELECT"]),
    ("unique_constraints", &["SELECT", "INSERT", "DELETE"]),
    ("projections", &["SELECT", "UPDATE"]),
    ("projection_tables", &["SELECT"]),
    ("projection_states", &["SELECT", "INSERT", "UPDATE"]),
    ("members", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("pauses", &["SELECT", "INSERT", "DELETE"]),
    ("held_events", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("interventions", &["SELECT", "INSERT"]),
    ("commands", &["SELECT", "INSERT", "UPDATE"]),
    ("standstills", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("operations", &["SELECT"]),
];

/// What they do with a table of a read model.
const TABLE: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];

/// What they do with the view that readers use.
const VIEW: &[&str] = &["SELECT"];

const USAGE: &[&str] = &["USAGE"];

/// Rights on one schema or relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    privileges: Vec<&'static str>,
    schema: String,
    /// `None` for the schema itself.
    relation: Option<String>,
}

impl Grant {
    fn on_schema(schema: &str) -> Self {
        Self { privileges: USAGE.to_vec(), schema: schema.to_owned(), relation: None }
    }

    fn on_relation(schema: &str, relation: &str, privileges: &[&'static str]) -> Self {
        Self { privileges: privileges.to_vec(), schema: schema.to_owned(), relation: Some(relation.to_owned()) }
    }

    /// The statement that gives a role these rights.
    pub(super) fn sql(&self, role: &str) -> String {
        let (privileges, schema, role) = (self.privileges.join(", "), sql::quote(&self.schema), sql::quote(role));
        match &self.relation {
            None => format!("GRANT {privileges} ON SCHEMA {schema} TO {role};"),
            Some(relation) => format!("GRANT {privileges} ON TABLE {schema}.{} TO {role};", sql::quote(relation)),
        }
    }
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (privileges, schema) = (self.privileges.join(", "), sql::quote(&self.schema));
        match &self.relation {
            None => write!(f, "{privileges} on schema {schema}"),
            Some(relation) => write!(f, "{privileges} on {schema}.{}", sql::quote(relation)),
        }
    }
}

/// The statements that let a role run these projections. An empty list means all that are registered in the database.
pub(super) fn grants(postgres: &Postgres, role: &str, projections: &[&Projection]) -> Result<String, SetupError> {
    let doing = format!("writing what role {role:?} needs");
    if role.is_empty() || role.contains('\0') {
        return Err(StoreError::new(doing, StoreErrorKind::Usage, "this is not the name of a role").into());
    }
    let grants = postgres.read(&doing, |conn| {
        let mut grants = of_engine(postgres.home.name());
        grants.extend(if projections.is_empty() { of_registered(conn)? } else { of_defined(conn, projections)? });
        Ok::<_, StoreError>(grants)
    })?;
    let mut lines = vec!["BEGIN;".to_owned()];
    lines.extend(grants.iter().map(|grant| grant.sql(role)));
    lines.push("COMMIT;\n".to_owned());
    Ok(lines.join("\n"))
}

/// Rights on the engine's own tables.
fn of_engine(home: &str) -> Vec<Grant> {
    let tables = ENGINE.iter().map(|(name, privileges)| Grant::on_relation(home, name, privileges));
    std::iter::once(Grant::on_schema(home)).chain(tables).collect()
}

/// Rights on the tables of these projections, by their definitions.
fn of_defined(conn: &mut dyn Conn, projections: &[&Projection]) -> Result<Vec<Grant>, StoreError> {
    let mut grants = Grants::default();
    for projection in projections {
        for table in projection.tables() {
            let physical = sql::physical_raw(Dialect::Postgres, projection, table);
            let view = sql::view_raw(Dialect::Postgres, projection, table);
            for (name, privileges) in [(physical, TABLE), (view, VIEW)] {
                let there = found(conn, projection.schema_name(), &name)?;
                let schema = match (there, projection.schema_name()) {
                    (Some((schema, _)), _) => schema,
                    (None, Some(schema)) => schema.to_owned(),
                    (None, None) => current_schema(conn)?,
                };
                grants.add(&schema, &name, privileges);
            }
        }
    }
    Ok(grants.all)
}

/// Rights on all tables of projections that the database knows, of every version and build.
fn of_registered(conn: &mut dyn Conn) -> Result<Vec<Grant>, StoreError> {
    let mut grants = Grants::default();
    for owned in conn.query("SELECT table_name FROM readside.projection_tables ORDER BY table_name", &[])? {
        let owned = row::text(&owned, 0)?;
        let (schema, name) = owned.split_once('.').map_or((None, owned), |(schema, name)| (Some(schema), name));
        if let Some((schema, privileges)) = found(conn, schema, name)? {
            grants.add(&schema, name, privileges);
        }
    }
    Ok(grants.all)
}

/// Grants in order: each schema once, before its relations.
#[derive(Default)]
struct Grants {
    all: Vec<Grant>,
}

impl Grants {
    fn add(&mut self, schema: &str, relation: &str, privileges: &[&'static str]) {
        let usage = Grant::on_schema(schema);
        if !self.all.contains(&usage) {
            self.all.push(usage);
        }
        self.all.push(Grant::on_relation(schema, relation, privileges));
    }
}

/// The schema of a table or view, and what running engines do with it. If no schema is given, the one in which this
/// role finds the relation comes first. But a role finds nothing in a schema that it may not use.
fn found(
    conn: &mut dyn Conn,
    schema: Option<&str>,
    name: &str,
) -> Result<Option<(String, &'static [&'static str])>, StoreError> {
    let sql = "SELECT n.nspname::text, c.relkind = 'v' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relname = $2::text AND c.relkind IN ('r', 'v') AND (n.nspname = $1::text \
          OR $1::text IS NULL AND n.nspname NOT IN ($3::text, 'information_schema') AND n.nspname NOT LIKE 'pg\\_%') \
        ORDER BY array_position(current_schemas(false), n.nspname), n.nspname LIMIT 1";
    let home = conn.home().unwrap_or(USUAL).to_owned();
    let rows = conn.query(sql, &[schema.into(), name.into(), home.into()])?;
    let Some(found) = rows.first() else { return Ok(None) };
    Ok(Some((row::text(found, 0)?.to_owned(), if row::truth(found, 1)? { VIEW } else { TABLE })))
}

/// The schema in which set-up creates tables whose names have no schema.
fn current_schema(conn: &mut dyn Conn) -> Result<String, StoreError> {
    let rows = conn.query("SELECT coalesce(current_schema()::text, 'public')", &[])?;
    rows.first().map_or(Ok("public".to_owned()), |found| row::text(found, 0).map(str::to_owned))
}

/// The rights that this role lacks for running engines.
#[derive(Debug)]
pub(super) struct Lacking {
    pub(super) role: String,
    pub(super) grants: Vec<Grant>,
    /// True if the tables of projections could not be checked, because the role may not read which tables there are.
    pub(super) partly: bool,
    /// True if this role owns everything, so that it may set up and rebuild.
    pub(super) is_owner: bool,
}

impl Lacking {
    /// What is missing, and what to do about it.
    pub(super) fn words(&self) -> (String, String) {
        let missing: Vec<String> = self.grants.iter().map(ToString::to_string).collect();
        let mut statements: Vec<String> = self.grants.iter().map(|grant| grant.sql(&self.role)).collect();
        if self.partly {
            statements.push("-- then look again: which tables projections have cannot be read yet".to_owned());
        }
        let found = format!("role {:?} may not: {}", self.role, missing.join("; "));
        (found, format!("have the owner of the tables run\n{}", statements.join("\n")))
    }
}

/// Finds the rights that the role of this connection lacks for running engines.
pub(super) fn lacking(conn: &mut dyn Conn) -> Result<Lacking, StoreError> {
    let role = conn.query("SELECT current_user::text", &[])?;
    let role = role.first().map_or(Ok(""), |found| row::text(found, 0))?.to_owned();
    let engine = of_engine(conn.home().unwrap_or(USUAL));
    let mut grants = denied(conn, &engine)?;
    let names_tables =
        |grant: &Grant| grant.relation.is_none() || grant.relation.as_deref() == Some("projection_tables");
    let partly = grants.iter().any(names_tables);
    let read = if partly { Vec::new() } else { of_registered(conn)? };
    grants.extend(denied(conn, &read)?);
    let is_owner = owns(conn, engine.iter().chain(&read))?;
    Ok(Lacking { role, grants, partly, is_owner })
}

/// The tables whose policies apply to this role: the server refuses an engine's work on them. And statements: the first alone,
/// or the others together, exempt the role.
pub(super) fn under_policies(conn: &mut dyn Conn) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let mut all = of_engine(conn.home().unwrap_or(USUAL));
    all.extend(of_registered(conn)?);
    let sql = "SELECT DISTINCT x.name, CASE WHEN pg_has_role(c.relowner, 'USAGE') THEN '' \
          ELSE format('GRANT %I TO %I;', pg_get_userbyid(c.relowner), current_user) END, \
          CASE WHEN c.relforcerowsecurity THEN format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', x.name) ELSE '' END, \
          format('ALTER ROLE %I BYPASSRLS;', current_user) \
        FROM unnest($1::text[], $2::text[]) AS w(schema, relation) JOIN pg_namespace n ON n.nspname = w.schema \
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation, \
        LATERAL (SELECT quote_ident(w.schema) || '.' || quote_ident(w.relation) AS name) x \
        WHERE c.relkind = 'r' AND row_security_active(c.oid) ORDER BY 1";
    let (mut tables, mut statements) = (Vec::new(), Vec::new());
    for found in conn.query(sql, &[schemas(all.iter()), relations(all.iter())])? {
        tables.push(row::text(&found, 0)?.to_owned());
        for at in [3, 1, 2] {
            let statement = row::text(&found, at)?;
            if !statement.is_empty() && !statements.iter().any(|known| known == statement) {
                statements.push(statement.to_owned());
            }
        }
    }
    Ok((tables, statements))
}

/// The part of these rights that this role lacks. A missing object does not count.
fn denied(conn: &mut dyn Conn, wanted: &[Grant]) -> Result<Vec<Grant>, StoreError> {
    let single = |grant: &Grant| -> Vec<Grant> {
        grant.privileges.iter().map(|one| Grant { privileges: vec![*one], ..grant.clone() }).collect()
    };
    let singles: Vec<Grant> = wanted.iter().flat_map(single).collect();
    let sql = "SELECT w.at::int8 FROM unnest($1::text[], $2::text[], $3::text[]) \
        WITH ORDINALITY AS w(schema, relation, privilege, at) JOIN pg_namespace n ON n.nspname = w.schema \
        LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation \
        WHERE NOT CASE WHEN w.relation = '' THEN has_schema_privilege(n.oid, w.privilege) \
          ELSE has_table_privilege(c.oid, w.privilege) END ORDER BY w.at";
    let privileges = singles.iter().flat_map(|grant| &grant.privileges).map(|&one| one.to_owned());
    let params = [schemas(singles.iter()), relations(singles.iter()), Value::TextArray(privileges.collect())];
    let mut denied: Vec<Grant> = Vec::new();
    for found in conn.query(sql, &params)? {
        let at = usize::try_from(row::int(&found, 0)?).unwrap_or(0);
        let Some(one) = at.checked_sub(1).and_then(|at| singles.get(at)) else { continue };
        match denied.last_mut() {
            Some(last) if last.schema == one.schema && last.relation == one.relation => {
                last.privileges.extend(&one.privileges);
            }
            _ => denied.push(one.clone()),
        }
    }
    Ok(denied)
}

/// True when this role is the owner of all these relations, or a member of the owner.
fn owns<'g>(conn: &mut dyn Conn, grants: impl Iterator<Item = &'g Grant> + Clone) -> Result<bool, StoreError> {
    let sql = "SELECT coalesce(bool_and(pg_has_role(c.relowner, 'USAGE')), true) \
        FROM unnest($1::text[], $2::text[]) AS w(schema, relation) JOIN pg_namespace n ON n.nspname = w.schema \
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation";
    let rows = conn.query(sql, &[schemas(grants.clone()), relations(grants)])?;
    rows.first().map_or(Ok(false), |found| row::truth(found, 0))
}

fn schemas<'g>(grants: impl Iterator<Item = &'g Grant>) -> Value {
    Value::TextArray(grants.map(|grant| grant.schema.clone()).collect())
}

fn relations<'g>(grants: impl Iterator<Item = &'g Grant>) -> Value {
    Value::TextArray(grants.map(|grant| grant.relation.clone().unwrap_or_default()).collect())
}
