//! `setup`: creates the engine's tables, and those of the projections whose code this process has.

use anyhow::ensure;
use serde::Serialize;

use super::options::SetupArgs;
use super::{Ended, Outcome, Session};
use crate::conninfo::{Look, look};
use crate::projection::Projection;

#[derive(Serialize)]
struct SetupLine {
    schema: i64,
    projections: Vec<String>,
}

pub(super) fn run(session: &mut Session<'_>, args: &SetupArgs) -> Outcome {
    let projections: Vec<&Projection> = session.projections.iter().collect();
    if args.sql || args.grant_to.is_some() {
        // If everything is set up, only the grants remain to be run.
        let is_there = || session.store.verify(&projections).is_ok();
        let mut sql = match &args.grant_to {
            Some(_) if !args.sql || is_there() => String::new(),
            _ => session.store.setup_sql(&projections)?,
        };
        if let Some(role) = &args.grant_to {
            // The script would show it in each line.
            ensure!(
                look(role) == Look::File,
                "what --grant-to names looks like a connection string and may hold a password, so it is not shown; name a role"
            );
            sql.push_str(&session.store.grant_sql(role, &projections)?);
        }
        if session.out.is_json() {
            session.out.object(&serde_json::json!({ "sql": sql }))?;
        } else {
            session.out.raw(sql.as_bytes())?;
        }
        return Ok(Ended::Fine);
    }
    if args.check {
        session.store.verify(&projections)?;
    } else {
        session.store.setup(&projections)?;
        session.out.changed("the tables are set up");
    }
    let schema = session.store.schema()?.found;
    let projections: Vec<String> = projections.iter().map(|projection| projection.name().to_owned()).collect();
    if session.out.is_json() {
        session.out.object(&SetupLine { schema, projections })?;
    } else {
        let tables =
            if projections.is_empty() { String::new() } else { format!(", and of {}", projections.join(", ")) };
        session.out.remark(&format!("the engine's tables are up to date (schema {schema}){tables}"))?;
    }
    Ok(Ended::Fine)
}
