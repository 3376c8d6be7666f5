//! Tries out the service's own SQL in definitions of tables, before a set-up changes anything.

use super::{current, ints};
use crate::db::{Backend, Conn};
use crate::error::{SetupError, StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::sql::{self, Dialect, Trial};

/// How a transaction that is always rolled back ends.
enum Undone {
    Done,
    Failed(SetupError),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Fails if the database refuses SQL of projections that it does not know yet.
pub(super) fn all<B: Backend>(backend: &B, projections: &[&Projection]) -> Result<(), SetupError> {
    let dialect = backend.dialect();
    let aside = |projection: &&Projection| match dialect {
        Dialect::Postgres => projection.without_schema().placed(Some("pg_temp".into())),
        Dialect::Sqlite => projection.without_schema(),
    };
    let mut tried: Vec<(Projection, Vec<Trial>)> = projections
        .iter()
        .map(aside)
        .map(|of| {
            let trials = sql::trials(dialect, &of);
            (of, trials)
        })
        .collect();
    tried.retain(|(_, trials)| !trials.is_empty());
    if tried.is_empty() {
        return Ok(());
    }
    let doing = "looking which projections are new";
    tried = backend.read(doing, |conn| {
        let is_set_up = current(conn)? > 0;
        let mut new = Vec::new();
        for (projection, trials) in tried {
            if !is_set_up || !is_known(conn, &projection)? {
                new.push((projection, trials));
            }
        }
        Ok::<_, StoreError>(new)
    })?;
    if tried.is_empty() {
        return Ok(());
    }
    let outcome = backend.write_nowhere("trying out the SQL of tables", |conn| {
        for (projection, trials) in &tried {
            for trial in trials {
                match one(conn, projection, trial) {
                    // A role that may make no temporary tables gets the error when the real tables are made.
                    Err(SetupError::Store(error)) if error.kind() == StoreErrorKind::Denied => {
                        return Err(Undone::Done);
                    }
                    Err(error) => return Err(Undone::Failed(error)),
                    Ok(()) => {}
                }
            }
        }
        Err::<(), _>(Undone::Done)
    });
    match outcome {
        Ok(()) | Err(Undone::Done) => Ok(()),
        Err(Undone::Failed(error)) => Err(error),
    }
}

fn is_known(conn: &mut dyn Conn, projection: &Projection) -> Result<bool, StoreError> {
    let sql = format!("SELECT 1 FROM {} WHERE name = $1 AND version = $2", conn.dialect().table("projections"));
    Ok(!conn.query(&sql, &[projection.name().into(), ints(projection.version())])?.is_empty())
}

fn one(conn: &mut dyn Conn, projection: &Projection, trial: &Trial) -> Result<(), SetupError> {
    use StoreErrorKind as K;
    let undo = if trial.stays { "" } else { "ROLLBACK TO SAVEPOINT readside_trial; " };
    conn.batch("SAVEPOINT readside_trial")?;
    match conn.batch(&trial.sql) {
        Ok(()) => Ok(conn.batch(&format!("{undo}RELEASE SAVEPOINT readside_trial"))?),
        Err(error) if matches!(error.kind(), K::Usage | K::Schema | K::Data | K::Unsupported) => {
            let doing = format!("trying out {}", trial.what);
            Err(SetupError::Expression {
                projection: projection.name().to_owned(),
                table: trial.table.clone(),
                what: trial.what.clone(),
                source: Box::new(error.doing(doing).with_remedy("")),
            })
        }
        Err(error) => Err(error.into()),
    }
}
