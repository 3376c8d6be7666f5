//! What the code declares for a table besides its rows, as PostgreSQL statements: comments, grants, and policies by
//! tenant.

use crate::db::declared::{Declared, Piece, Worn};
use crate::db::objects::Relation;
use crate::sql::quote;
use crate::value::Value;

/// The policy that shows a reader only the rows of the tenant that it has named.
const POLICY: &str = "readside_tenant";

/// The rows of that tenant. A setting that was set for a past transaction is an empty text. An empty text names no
/// tenant here, because it is the name of the engine's own instance.
const OF_TENANT: &str = "instance_id = nullif(current_setting('readside.tenant', true), '')";

const COMMENT: &str = "SELECT obj_description($1::text::regclass, 'pg_class') IS NOT DISTINCT FROM $2::text";

const COLUMN_COMMENT: &str = "SELECT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = $1::text::regclass \
     AND attname = $2::text AND col_description(attrelid, attnum) = $3::text)";

/// Whether a role has a privilege on a table. Grantee 0 is everybody.
const GRANT: &str = "SELECT EXISTS (SELECT 1 FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a \
     LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE c.oid = $1::text::regclass \
     AND coalesce(r.rolname::text, 'public') = $2::text AND a.privilege_type = $3::text)";

/// Whether a role may use the schema of a table. False if the role does not exist.
const USAGE: &str = "SELECT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = $1::text::regclass \
     AND ($2::text = 'public' OR EXISTS (SELECT 1 FROM pg_roles r WHERE r.rolname = $2::text)) AND (has_schema_privilege('public', c.relnamespace, 'USAGE') OR EXISTS (SELECT 1 FROM pg_roles r \
     WHERE r.rolname = $2::text AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE'))))";

/// Whether the table has this policy. A person's policy with the same name but other conditions does not count.
const IS_GUARDED: &str = "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_policy l ON l.polrelid = c.oid \
     WHERE c.oid = $1::text::regclass AND c.relrowsecurity AND l.polname = $2::text AND l.polpermissive AND l.polcmd = '*' \
     AND l.polroles = '{0}' AND pg_get_expr(l.polqual, l.polrelid) LIKE '%readside.tenant%' \
     AND pg_get_expr(l.polqual, l.polrelid) NOT LIKE '% OR %')";

const IS_INVOKED: &str = "SELECT EXISTS (SELECT 1 FROM pg_class c, pg_options_to_table(c.reloptions) o \
     WHERE c.oid = $1::text::regclass AND o.option_name = 'security_invoker' AND o.option_value::boolean)";

/// What to do if a grant is refused.
const NO_ROLE: &str = "; create the role, or leave the grant out of the code";

fn text(text: &str) -> String {
    // In this form a backslash means the same with every setting of the session.
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// A role by its exact name. `public` means everybody.
fn role(name: &str) -> String {
    if name == "public" { "PUBLIC".to_owned() } else { quote(name) }
}

fn named(relation: &Relation) -> Value {
    relation.quoted.as_str().into()
}

/// The policy comes first, so that the table is guarded before anybody gets access.
pub(super) fn pieces(declared: &Declared, worn: Worn<'_>) -> Vec<Piece> {
    let mut pieces = if declared.isolated { isolation(worn) } else { Vec::new() };
    comments(&mut pieces, declared, worn);
    for (name, privileges) in &declared.grants {
        grants(&mut pieces, declared.isolated, worn, (name, privileges));
    }
    pieces
}

fn isolation(worn: Worn<'_>) -> Vec<Piece> {
    let (raw, table) = (&worn.table.raw, &worn.table.quoted);
    let mut pieces = vec![Piece {
        what: format!("isolation of tenants on table {raw:?}"),
        is_there: (IS_GUARDED, vec![named(worn.table), POLICY.into()]),
        make: format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; DROP POLICY IF EXISTS {POLICY} ON {table}; \
             CREATE POLICY {POLICY} ON {table} USING ({OF_TENANT})"
        ),
        // If a person has made other policies, they keep guarding the table.
        undo: format!(
            "DROP POLICY {POLICY} ON {table}; DO $readside$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_policy \
             WHERE polrelid = {}::regclass) THEN ALTER TABLE {table} DISABLE ROW LEVEL SECURITY; END IF; END $readside$",
            text(table)
        ),
        remedy: "",
    }];
    pieces.extend(worn.view.map(|view| Piece {
        what: format!("isolation of tenants on view {:?}", view.raw),
        is_there: (IS_INVOKED, vec![named(view)]),
        make: format!("ALTER VIEW {} SET (security_invoker = true)", view.quoted),
        undo: format!("ALTER VIEW {} RESET (security_invoker)", view.quoted),
        remedy: "; it needs PostgreSQL 15, or leave tenant_isolation out of the code",
    }));
    pieces
}

fn comments(pieces: &mut Vec<Piece>, declared: &Declared, worn: Worn<'_>) {
    let relations = [("TABLE", Some(worn.table)), ("VIEW", worn.view)];
    for (kind, relation) in relations.into_iter().filter_map(|(kind, relation)| Some((kind, relation?))) {
        let (quoted, of) = (&relation.quoted, format!("{} {:?}", kind.to_lowercase(), relation.raw));
        let mut comment = |what: String, is_there, on: String, words: &str| {
            let (make, undo) = (format!("COMMENT ON {on} IS {}", text(words)), format!("COMMENT ON {on} IS NULL"));
            pieces.push(Piece { what, is_there, make, undo, remedy: "" });
        };
        if let Some(words) = &declared.comment {
            let is_there = (COMMENT, vec![named(relation), words.as_str().into()]);
            comment(format!("comment on {of}"), is_there, format!("{kind} {quoted}"), words);
        }
        for (column, words) in declared.comments() {
            let is_there = (COLUMN_COMMENT, vec![named(relation), column.into(), words.into()]);
            let what = format!("comment on column {column:?} of {of}");
            comment(what, is_there, format!("COLUMN {quoted}.{}", quote(column)), words);
        }
    }
}

/// A view that reads with the rights of its reader (`security_invoker`) needs a grant on the table too.
fn grants(pieces: &mut Vec<Piece>, isolated: bool, worn: Worn<'_>, (name, privileges): (&str, &[String])) {
    let to = role(name);
    let usage = match worn.schema {
        Some(schema) => format!("GRANT USAGE ON SCHEMA {} TO {to}", quote(schema)),
        // The search path of the role that runs this decides the schema.
        None => format!(
            "DO $readside$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s', current_schema(), {}); END $readside$",
            text(&to)
        ),
    };
    pieces.push(Piece {
        what: format!("right of role {name:?} to use the schema of table {:?}", worn.table.raw),
        is_there: (USAGE, vec![named(worn.table), name.into()]),
        make: usage,
        // The role may use other things in the schema.
        undo: String::new(),
        remedy: NO_ROLE,
    });
    for privilege in privileges {
        let reads = privilege == "SELECT";
        let on_table = Some(worn.table).filter(|_| isolated || !reads);
        for (kind, relation) in [("table", on_table), ("view", worn.view.filter(|_| reads))] {
            let Some(relation) = relation else { continue };
            pieces.push(Piece {
                what: format!("grant of {privilege} on {kind} {:?} to role {name:?}", relation.raw),
                is_there: (GRANT, vec![named(relation), name.into(), privilege.as_str().into()]),
                make: format!("GRANT {privilege} ON {} TO {to}", relation.quoted),
                undo: format!("REVOKE {privilege} ON {} FROM {to}", relation.quoted),
                remedy: NO_ROLE,
            });
        }
    }
}
