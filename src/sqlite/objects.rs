//! Objects on tables and views of SQLite, which keeps the statement that made each object.
//!
//! Views and the bodies of triggers name tables, and SQLite resolves these names at each use. An index or a trigger is
//! made by its own statement again. While that runs, the new table has the name that the statement contains.

use crate::db::declared::{Declared, FoundIndex, Piece, Structure, Worn};
use crate::db::objects::{Catalogue, Dependent, Own, Reference, Relation, Step, TablePair};
use crate::db::{Conn, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::sql::{OWN, mentions, quote};
use crate::value::Value;

pub(super) struct Objects;

/// The name that the old table has meanwhile.
const ASIDE: &str = "readside#aside";

/// What a person may have made on a table or view.
struct Made {
    kind: String,
    name: String,
    words: String,
}

fn made_on(conn: &mut dyn Conn, relation: &str) -> Result<Vec<Made>, StoreError> {
    let sql = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = $1 COLLATE NOCASE AND sql IS NOT NULL \
               AND type IN ('index', 'trigger') ORDER BY type, name";
    let one = |found: &crate::db::Row| {
        let text = |at: usize| row::text(found, at).map(str::to_owned);
        Ok(Made { kind: text(0)?, name: text(1)?, words: text(2)? })
    };
    conn.query(sql, &[relation.into()])?.iter().map(one).collect()
}

/// True for an index that the definition of its table brings.
fn is_own(conn: &mut dyn Conn, table: &Relation, own: &Own, index: &str) -> Result<bool, StoreError> {
    if index.starts_with(OWN) {
        return Ok(true);
    }
    let sql = "SELECT name FROM pragma_index_info($1) WHERE name IS NOT NULL ORDER BY seqno";
    let columns = texts(conn, sql, &[index.into()])?;
    let sql = "SELECT 1 FROM pragma_index_list($1) WHERE name = $2 AND \"unique\" = 0 AND partial = 0";
    let is_plain = !conn.query(sql, &[table.raw.as_str().into(), index.into()])?.is_empty();
    Ok(is_plain && own.indexes.contains(&columns))
}

/// The tables, other than these own ones, that have a foreign key to a table.
fn referring(conn: &mut dyn Conn, table: &Relation, own: &[Relation]) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT m.name FROM sqlite_master m, pragma_foreign_key_list(m.name) k \
               WHERE m.type = 'table' AND k.\"table\" = $1 COLLATE NOCASE ORDER BY m.name";
    let mut referring = texts(conn, sql, &[table.raw.as_str().into()])?;
    referring.retain(|name| !own.iter().any(|own| own.raw.eq_ignore_ascii_case(name)));
    Ok(referring)
}

/// The foreign keys of one table to another. One that names no columns means the primary key.
fn references(conn: &mut dyn Conn, from: &str, table: &Relation, to: usize) -> Result<Vec<Reference>, StoreError> {
    let sql = "SELECT k.id, k.on_delete IN ('NO ACTION', 'RESTRICT'), k.\"from\", coalesce(k.\"to\", \
               (SELECT c.name FROM pragma_table_info($2) c WHERE c.pk = k.seq + 1)) \
               FROM pragma_foreign_key_list($1) k WHERE k.\"table\" = $2 COLLATE NOCASE ORDER BY k.id, k.seq";
    let mut keys: Vec<(i64, Reference)> = Vec::new();
    for found in conn.query(sql, &[from.into(), table.raw.as_str().into()])? {
        let id = row::int(&found, 0)?;
        // A key that names a column which the table does not have refers to nothing.
        let Ok(other) = row::text(&found, 3) else { continue };
        let pair = (quote(row::text(&found, 2)?), quote(other));
        match keys.last_mut() {
            Some((last, key)) if *last == id => key.columns.push(pair),
            _ => {
                let (what, from, refuses) = (foreign_key(from, table), quote(from), row::truth(&found, 1)?);
                keys.push((id, Reference { what, to, from, columns: vec![pair], refuses, readable: true }));
            }
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

fn foreign_key(from: &str, to: &Relation) -> String {
    format!("foreign key of table {from:?} to {:?}", to.raw)
}

fn texts(conn: &mut dyn Conn, sql: &str, params: &[Value]) -> Result<Vec<String>, StoreError> {
    conn.query(sql, params)?.iter().map(|found| row::text(found, 0).map(str::to_owned)).collect()
}

/// A JSON array of names.
fn list(names: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(names).map_err(|error| StoreError::new("reading columns", StoreErrorKind::Data, error))
}

/// A text as an SQL literal.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A foreign key follows its table to a new name. So while the old table has a name that occurs nowhere else, that name
/// is the word to change in the other table's statement. After that, each row of the other table must have its row in
/// the new table.
fn refer(from: &str, pair: &TablePair) -> String {
    let (old, aside, from) = (&pair.old.quoted, quote(ASIDE), literal(from));
    format!(
        "ALTER TABLE {old} RENAME TO {aside}; PRAGMA writable_schema = ON; \
         UPDATE sqlite_master SET sql = replace(sql, {}, {}) WHERE type = 'table' AND name = {from}; \
         PRAGMA writable_schema = RESET; ALTER TABLE {aside} RENAME TO {old}; \
         CREATE TEMP TABLE readside_check (rows INTEGER CONSTRAINT \"rows without a row in the new table\" CHECK (rows = 0)); \
         INSERT INTO readside_check SELECT count(*) FROM pragma_foreign_key_check({from}); DROP TABLE readside_check",
        literal(&aside),
        literal(&pair.new.quoted)
    )
}

/// Views and triggers that name one of these relations, and are on none of them.
fn naming(conn: &mut dyn Conn, relations: &[Relation], views: &[Relation]) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') AND sql IS NOT NULL \
               AND name NOT LIKE 'readside\\_%' ESCAPE '\\' ORDER BY type, name";
    let mut naming = Vec::new();
    for found in conn.query(sql, &[])? {
        let (kind, name, on) = (row::text(&found, 0)?, row::text(&found, 1)?, row::text(&found, 2)?);
        let words = row::text(&found, 3)?;
        let is_own = |own: &&Relation| own.raw.eq_ignore_ascii_case(on);
        let is_on_own = relations.iter().chain(views).any(|own| is_own(&own));
        if !is_on_own && relations.iter().any(|relation| mentions(words, &relation.raw)) {
            naming.push(format!("{kind} {name:?}"));
        }
    }
    Ok(naming)
}

/// Everything that can be compiled, in words, with the statement that compiles it.
fn compilable(conn: &mut dyn Conn) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name";
    let mut all = Vec::new();
    for found in conn.query(sql, &[])? {
        let name = row::text(&found, 0)?;
        all.push((format!("view {name:?}"), format!("EXPLAIN SELECT 1 FROM {}", quote(name))));
    }
    let sql = "SELECT tbl_name, group_concat(name, ', ') FROM sqlite_master WHERE type = 'trigger' \
               AND tbl_name NOT LIKE 'readside\\_%' ESCAPE '\\' GROUP BY tbl_name ORDER BY tbl_name";
    for found in conn.query(sql, &[])? {
        let (on, names) = (row::text(&found, 0)?.to_owned(), row::text(&found, 1)?.to_owned());
        // A view that does not compile is reported on its own, and has no columns.
        let Ok(columns) =
            conn.query("SELECT name FROM pragma_table_info($1) ORDER BY cid", &[Value::from(on.as_str())])
        else {
            continue;
        };
        let set: Vec<String> = columns
            .iter()
            .map(|column| row::text(column, 0).map(|name| format!("{name} = {name}", name = quote(name))))
            .collect::<Result<_, _>>()?;
        let (table, what) = (quote(&on), format!("triggers on {on:?} ({names})"));
        all.push((format!("{what}, as rows are deleted"), format!("EXPLAIN DELETE FROM {table}")));
        all.push((format!("{what}, as rows are inserted"), format!("EXPLAIN INSERT INTO {table} DEFAULT VALUES")));
        if !set.is_empty() {
            let sql = format!("EXPLAIN UPDATE {table} SET {}", set.join(", "));
            all.push((format!("{what}, as rows are changed"), sql));
        }
    }
    Ok(all)
}

impl Catalogue for Objects {
    fn carried(&self, _: &mut dyn Conn, _: &TablePair) -> Result<Vec<Step>, StoreError> {
        Ok(Vec::new())
    }

    /// SQLite cannot rename an index, and the old one still has the name. So the switch makes the new indexes.
    fn moved(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<Step>, StoreError> {
        let (old, new, aside) = (&pair.old.quoted, &pair.new.quoted, quote(ASIDE));
        let mut moved = Vec::new();
        for Made { kind, name, words } in made_on(conn, &pair.old.raw)? {
            if kind == "index" && is_own(conn, &pair.old, &pair.own, &name)? {
                continue;
            }
            let sql = format!(
                "DROP {kind} {}; ALTER TABLE {old} RENAME TO {aside}; ALTER TABLE {new} RENAME TO {old}; {words}; \
                 ALTER TABLE {old} RENAME TO {new}; ALTER TABLE {aside} RENAME TO {old}",
                quote(&name)
            );
            let what = format!("{kind} {name:?} of {:?}", pair.old.raw);
            moved.push(Step { what, guards: false, sql, then: String::new(), alone: true });
        }
        for from in referring(conn, &pair.old, &pair.tables)? {
            let (what, sql) = (foreign_key(&from, &pair.old), refer(&from, pair));
            moved.push(Step { what, guards: true, sql, then: String::new(), alone: false });
        }
        Ok(moved)
    }

    /// Views follow without a statement.
    fn following(&self, _: &mut dyn Conn, _: &TablePair) -> Result<Vec<Step>, StoreError> {
        Ok(Vec::new())
    }

    fn staying(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<(String, bool)>, StoreError> {
        let sql = "SELECT DISTINCT k.\"to\" FROM pragma_foreign_key_list($1) k WHERE k.\"table\" = $2 COLLATE NOCASE \
                   AND k.\"to\" IS NOT NULL AND k.\"to\" NOT IN (SELECT name FROM pragma_table_xinfo($3))";
        let mut stays = Vec::new();
        for from in referring(conn, &pair.old, &pair.tables)? {
            let params = [from.as_str().into(), pair.old.raw.as_str().into(), pair.new.raw.as_str().into()];
            for column in texts(conn, sql, &params)? {
                let what = foreign_key(&from, &pair.old);
                stays.push((format!("{what}: {column:?} is not a column of its successor"), true));
            }
        }
        if !pair.within {
            let naming = naming(conn, std::slice::from_ref(&pair.old), &pair.views)?;
            stays.extend(naming.into_iter().map(|what| (format!("{what} reads {:?}", pair.old.raw), false)));
        }
        Ok(stays)
    }

    fn added(
        &self,
        conn: &mut dyn Conn,
        table: &Relation,
        own: &Own,
        _: &[Relation],
    ) -> Result<Vec<String>, StoreError> {
        let mut added = Vec::new();
        for Made { kind, name, .. } in made_on(conn, &table.raw)? {
            if kind != "index" || !is_own(conn, table, own, &name)? {
                added.push(format!("{kind} {name:?}"));
            }
        }
        Ok(added)
    }

    fn locks(&self, _: &mut dyn Conn, _: &TablePair) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn dependents(
        &self,
        conn: &mut dyn Conn,
        relations: &[Relation],
        views: &[Relation],
    ) -> Result<Vec<Dependent>, StoreError> {
        let own: Vec<Relation> = relations.iter().chain(views).cloned().collect();
        let mut dependents = Vec::new();
        for table in relations {
            let referring = referring(conn, table, &own)?;
            dependents.extend(referring.iter().map(|from| Dependent { what: foreign_key(from, table), moves: true }));
        }
        dependents.extend(naming(conn, relations, views)?.into_iter().map(|what| Dependent { what, moves: true }));
        Ok(dependents)
    }

    /// SQLite has no roles, and keeps no comments.
    fn pieces(&self, _: &Declared, _: Worn<'_>) -> Vec<Piece> {
        Vec::new()
    }

    fn structure(&self, conn: &mut dyn Conn, table: &Relation, checks: &[String]) -> Result<Structure, StoreError> {
        let of = Value::from(table.raw.as_str());
        let sql = "SELECT l.name, l.\"unique\", NOT l.partial AND NOT EXISTS (SELECT 1 FROM pragma_index_xinfo(l.name) e \
                   WHERE e.key AND (e.name IS NULL OR e.\"desc\")), \
                   (SELECT json_group_array(i.name ORDER BY i.seqno) FROM pragma_index_info(l.name) i) \
                   FROM pragma_index_list($1) l";
        let mut found = Structure::default();
        for index in conn.query(sql, std::slice::from_ref(&of))? {
            let columns = if row::truth(&index, 2)? { Some(list(row::text(&index, 3)?)?) } else { None };
            let name = row::text(&index, 0)?.to_owned();
            found.indexes.push(FoundIndex { name, unique: row::truth(&index, 1)?, columns });
        }
        let sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = $1 COLLATE NOCASE";
        let words = texts(conn, sql, std::slice::from_ref(&of))?.concat();
        found.constraints = checks.iter().filter(|check| mentions(&words, check)).cloned().collect();
        let sql = "SELECT name FROM pragma_table_xinfo($1) WHERE hidden > 1";
        found.generated = texts(conn, sql, std::slice::from_ref(&of))?;
        let sql = "SELECT json_group_array(\"from\" ORDER BY seq) FROM pragma_foreign_key_list($1) GROUP BY id";
        for columns in texts(conn, sql, &[of])? {
            found.references.push(list(&columns)?);
        }
        Ok(found)
    }

    /// Only this process reads a database in memory.
    fn not_isolating(&self, conn: &mut dyn Conn) -> Result<Option<String>, StoreError> {
        let files = texts(conn, "SELECT coalesce(file, '') FROM pragma_database_list WHERE name = 'main'", &[])?;
        let why = "SQLite knows no roles: whoever may read its file reads all tenants";
        Ok(files.iter().any(|file| !file.is_empty()).then(|| why.to_owned()))
    }

    fn referring(&self, conn: &mut dyn Conn, tables: &[Relation]) -> Result<Vec<Reference>, StoreError> {
        let mut found = Vec::new();
        for (to, table) in tables.iter().enumerate() {
            for from in referring(conn, table, tables)? {
                found.extend(references(conn, &from, table, to)?);
            }
        }
        Ok(found)
    }

    fn restored(&self, conn: &mut dyn Conn, view: &Relation, _: &[String]) -> Result<Vec<Step>, StoreError> {
        let step = |Made { kind, name, words }: Made| Step {
            what: format!("{kind} {name:?} on view {:?}", view.raw),
            guards: true,
            sql: words,
            then: String::new(),
            alone: false,
        };
        Ok(made_on(conn, &view.raw)?.into_iter().map(step).collect())
    }

    fn unfit(&self, _: &mut dyn Conn, _: &Relation, _: &[String]) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn broken(&self, conn: &mut dyn Conn) -> Result<Option<Vec<(String, String)>>, StoreError> {
        let mut broken = Vec::new();
        for (what, sql) in compilable(conn)? {
            // A batch is compiled again. A cached statement would be explained as of before the tables changed.
            match conn.batch(&sql) {
                Ok(()) => {}
                Err(error) if error.passes() => return Err(error),
                Err(error) => broken.push((what, error.cause())),
            }
        }
        Ok(Some(broken))
    }

    fn renaming(
        &self,
        conn: &mut dyn Conn,
        work: &mut dyn FnMut(&mut dyn Conn) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        conn.batch("PRAGMA legacy_alter_table = ON")?;
        let outcome = work(conn);
        conn.batch("PRAGMA legacy_alter_table = OFF; PRAGMA writable_schema = OFF")?;
        outcome
    }
}
