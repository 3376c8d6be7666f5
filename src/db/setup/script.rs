//! The set-up as a script, for the owner of a database whose service has no right to create tables.

use uuid::Uuid;

use super::catalog;
use crate::db::declared::{self, Worn};
use crate::db::{Backend, made};
use crate::error::SetupError;
use crate::projection::Projection;
use crate::sql::{self, Dialect};

/// Everything that a set-up runs on an empty database.
pub(crate) fn script<B: Backend>(backend: &B, projections: &[&Projection]) -> Result<String, SetupError> {
    Projection::check_all(projections)?;
    let dialect = backend.dialect();
    super::projection::check_isolation(backend, projections)?;
    let mut lines = vec!["BEGIN;".to_owned()];
    for (version, migration) in (1..).zip(backend.migrations()) {
        lines.push((*migration).trim_end().to_owned());
        lines.push(format!("INSERT INTO {} (version) VALUES ({version});", dialect.table("schema_migrations")));
    }
    let id = Uuid::now_v7();
    let id = match dialect {
        Dialect::Postgres => format!("'{id}'"),
        Dialect::Sqlite => format!("x'{}'", id.simple()),
    };
    lines.push(format!("INSERT INTO {} (store_id) VALUES ({id});", dialect.table("store")));
    for projection in projections {
        projection_lines(dialect, projection, &mut lines);
        lines.extend(beside_rows(backend, projection)?);
    }
    lines.push("COMMIT;\n".to_owned());
    Ok(backend.at_home(lines.join("\n")))
}

fn projection_lines(dialect: Dialect, projection: &Projection, lines: &mut Vec<String>) {
    let name = literal(projection.name());
    // The search path of the session that runs the script decides the schema, once and for all.
    let unnamed = dialect == Dialect::Postgres && projection.schema_name().is_none();
    let place = if unnamed { "current_schema()" } else { "NULL" };
    let before = if unnamed { "current_schema() || '.' || " } else { "" };
    let terminated = |sql: String| format!("{};", sql.trim_end().trim_end_matches(';'));
    lines.extend(sql::create_tables(dialect, projection, None).into_iter().map(|made| terminated(made.sql)));
    for table in projection.tables() {
        lines.push(terminated(super::projection::create_view(dialect, projection, table)));
        for relation in [sql::physical_raw(dialect, projection, table), sql::view_raw(dialect, projection, table)] {
            lines.push(format!(
                "INSERT INTO {} (table_name, projection) VALUES ({before}{}, {name});",
                dialect.table("projection_tables"),
                literal(&catalog::qualified(projection, &relation))
            ));
        }
    }
    lines.push(format!(
        "INSERT INTO {} (name, version, definition, live, phase, place) VALUES ({name}, {}, {}, TRUE, 'live', {place});",
        dialect.table("projections"),
        projection.version(),
        literal(&projection.definition())
    ));
    if dialect == Dialect::Postgres {
        let tables = projection.tables().iter();
        let tables: Vec<String> = tables.map(|table| literal(&sql::physical_raw(dialect, projection, table))).collect();
        let schema = projection.schema_name().map_or("NULL".to_owned(), literal);
        let tables = format!("ARRAY[{}]::text[]", tables.join(", "));
        let noting = made::noting(&format!("{schema}::text"), &tables, &name, &projection.version().to_string());
        lines.push(format!("{noting};"));
    }
}

/// Comments, grants and policies.
fn beside_rows<B: Backend>(backend: &B, projection: &Projection) -> Result<Vec<String>, SetupError> {
    let (dialect, catalogue) = (backend.dialect(), backend.catalogue());
    let declared = declared::read(&projection.definition())?;
    let mut lines = Vec::new();
    for table in projection.tables() {
        let [of, view] = super::relations(dialect, projection, table);
        let worn = Worn { schema: projection.schema_name(), table: &of, view: Some(&view) };
        let pieces = declared.get(&table.name).map(|declared| catalogue.pieces(declared, worn));
        lines.extend(pieces.into_iter().flatten().map(|piece| format!("{};", piece.make)));
    }
    Ok(lines)
}

/// A text as an SQL literal. Names are checked to contain no control characters.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
