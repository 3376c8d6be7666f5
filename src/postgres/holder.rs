//! Finds who holds a counter on which a push timed out.
//!
//! A locked row names the transaction that locked it. If that was a subtransaction, the row does not lead to the
//! session. The server knows the session only from those who wait for it. So one session waits for the lock for a
//! moment, and another session asks the server for whom the first one waits.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::server::{Postgres, Terms};
use crate::db::{Row, row};
use crate::error::{Holder, StoreError, StoreErrorKind};
use crate::value::Value;

/// How long this waits for a connection.
const CONNECT: Duration = Duration::from_millis(500);

/// How long the first session waits for one counter.
const WAIT: Duration = Duration::from_millis(100);

/// The pause between two questions to the server.
const PAUSE: Duration = Duration::from_millis(5);

/// At most this many counters are checked.
const MOST: usize = 5;

const DOING: &str = "looking for who holds a counter";

/// Waits for a row that another session inserts or has locked.
const STAND_IN_LINE: &str = "INSERT INTO readside.instances AS t (instance_id, head) VALUES ($1, 0) \
     ON CONFLICT (instance_id) DO UPDATE SET head = t.head WHERE FALSE";

/// The sessions that this one waits for, directly or not, and that wait for no other session.
const WHO: &str = "WITH RECURSIVE ahead (pid) AS (SELECT unnest(pg_blocking_pids($1::int8::int4)) \
       UNION SELECT unnest(pg_blocking_pids(ahead.pid)) FROM ahead) \
     SELECT a.pid::int8, a.application_name, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 \
     FROM pg_stat_activity a JOIN ahead ON ahead.pid = a.pid \
     WHERE a.pid <> $2 AND cardinality(pg_blocking_pids(a.pid)) = 0 ORDER BY a.xact_start LIMIT 1";

/// Finds who holds one of these counters. The session `but` is never the answer.
pub(super) fn find(postgres: &Postgres, instances: &[String], but: i64) -> Result<Option<Holder>, StoreError> {
    std::thread::scope(|scope| {
        let (send, sessions) = bounded(1);
        let stand = move || {
            for instance in instances.iter().take(MOST) {
                stand_in_line(postgres, instance, &send);
            }
        };
        let standing = std::thread::Builder::new().name("readside-look".to_owned()).spawn_scoped(scope, stand);
        standing.map_err(|error| StoreError::new(DOING, StoreErrorKind::Other, error))?;
        ask(postgres, &sessions, but)
    })
}

/// Sends the number of its session, then waits. It changes nothing: if it gets the lock, it rolls back.
fn stand_in_line(postgres: &Postgres, instance: &str, send: &Sender<i64>) {
    let terms = Terms { read_only: false, connect: CONNECT, lock: WAIT };
    let outcome: Result<(), StoreError> = postgres.run(&postgres.pool, DOING, terms, |conn| {
        let session = conn.query("SELECT pg_backend_pid()::int8", &[])?;
        let session = session.first().map_or(Ok(0), |found| row::int(found, 0))?;
        if send.send(session).is_ok() {
            conn.execute(STAND_IN_LINE, &[instance.into()])?;
        }
        Err(StoreError::new(DOING, StoreErrorKind::Other, "nobody holds it any more"))
    });
    if let Err(error) = outcome {
        log::debug!("{}", crate::error::chain(&error));
    }
}

fn ask(postgres: &Postgres, sessions: &Receiver<i64>, but: i64) -> Result<Option<Holder>, StoreError> {
    let terms = Terms { read_only: true, connect: CONNECT, lock: WAIT };
    let mut session = None;
    loop {
        match sessions.recv_timeout(if session.is_none() { 2 * CONNECT } else { PAUSE }) {
            Ok(next) => session = Some(next),
            Err(RecvTimeoutError::Timeout) if session.is_some() => {}
            // The first session could not begin to wait, or has stopped waiting.
            Err(_) => return Ok(None),
        }
        let params = [session.into(), but.into()];
        let found: Vec<Row> = postgres.run(&postgres.reserve, DOING, terms, |conn| conn.query(WHO, &params))?;
        if let Some(holder) = found.first().and_then(holder) {
            return Ok(Some(holder));
        }
    }
}

fn holder(found: &Row) -> Option<Holder> {
    let [Value::Integer(pid), application, since] = found.as_slice() else { return None };
    let application = if let Value::Text(name) = application { name.clone() } else { String::new() };
    let since = if let Value::Float(seconds) = since { Duration::try_from_secs_f64(*seconds).ok() } else { None };
    Some(Holder { pid: *pid, application, since, state: String::new() })
}

/// Who holds a lock on a relation. A prepared transaction has no session, and lasts until a person ends it.
pub(super) fn of_lock(found: &Row) -> Holder {
    let known = holder(&found.iter().take(3).cloned().collect());
    let prepared = || Holder {
        pid: 0,
        application: "a prepared transaction, see pg_prepared_xacts".to_owned(),
        since: Some(crate::clock::FAR),
        state: String::new(),
    };
    let state = if let Some(Value::Text(state)) = found.get(3) { state.clone() } else { String::new() };
    known.map_or_else(prepared, |holder| Holder { state, ..holder })
}
