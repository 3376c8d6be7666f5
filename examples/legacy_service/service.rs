//! What the service does: it writes its own rows and events, makes decisions, and reads.

use std::time::{Duration, SystemTime};

use readside::error::{AwaitError, DecideError, PushError, QueryError, StoreError};
use readside::postgres_driver::{Error as DriverError, Transaction};
use readside::prelude::*;
use readside::{Date, Engine, EngineBuilder, EngineConfig, Event, Expected, NewEvent, PostgresOptions, PostgresStore};
use serde::{Deserialize, Serialize};

use super::events::{Account, Deposited, Imported, Opened, SettingChanged, Tagged, Withdrawn};
use super::projections;

/// How long an answer waits until readers see the write. It is longer than the lease that a killed process leaves
/// behind.
const PATIENCE: Duration = Duration::from_secs(20);

/// The work of a killed process goes on after this time and one tick.
const LEASE: Duration = Duration::from_secs(6);
const TICK: Duration = Duration::from_secs(1);

/// Threads that keep the read models, in addition to those that answer requests.
const WORKERS: usize = 4;

/// Events in one transaction while old customers are imported.
const PART: usize = 500;

/// The number of the lock that a process takes while it creates the tables.
const SETUP: i64 = 4_711;

const TABLES: &str = include_str!("tables.sql");

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error("there is no account {0:?}; open it first")]
    NoAccount(String),
    #[error("the account {0:?} is there already, and was opened by somebody else")]
    Taken(String),
    #[error("the account holds {0}, which is less than what is asked for")]
    Overdrawn(Decimal),
    #[error("the request {0:?} was made before, with another amount or day")]
    Repeated(String),
    #[error("working on tables of the service")]
    Own(#[from] DriverError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("deciding about a withdrawal")]
    Decide(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("what was asked for is done, but is not to be seen yet; ask again")]
    NotSeen(#[from] AwaitError),
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// An account as readers see it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) tags: Vec<String>,
    pub(crate) balance: Decimal,
    pub(crate) bookings: u64,
}

/// The totals of a day.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) day: Date,
    pub(crate) deposited: Decimal,
    pub(crate) withdrawn: Decimal,
    pub(crate) bookings: u64,
}

/// An event as auditors see it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trace {
    pub(crate) position: i64,
    pub(crate) at: String,
    pub(crate) what: String,
    pub(crate) whom: String,
    pub(crate) who: String,
}

/// A customer from the time before there were events.
#[derive(Deserialize)]
struct OldCustomer {
    tenant: String,
    id: String,
    owner: String,
    signed_up: SystemTime,
    old_balance: Decimal,
}

/// A requested booking. The name of the request makes it repeatable.
#[derive(Debug)]
pub(crate) struct Booking<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) account: &'a str,
    pub(crate) request: &'a str,
    pub(crate) amount: Decimal,
    pub(crate) day: Date,
}

impl Booking<'_> {
    fn key(&self) -> String {
        format!("{}/{}", self.account, self.request)
    }
}

/// The service: an engine, and one store whose connections also serve the service's own tables.
#[derive(Debug)]
pub(crate) struct Service {
    store: PostgresStore,
    engine: Engine,
}

impl Service {
    /// Creates missing tables, imports old customers, and starts the engine. `requests` is the number of requests at
    /// the same time.
    pub(crate) fn start(database: &str, requests: usize) -> Result<Self, readside::Error> {
        let options =
            PostgresOptions::default().max_connections(WORKERS + 3 + requests).idle_in_transaction_timeout(LEASE / 2);
        let store = PostgresStore::connect_with(database, options)?;
        store.setup()?;
        store.with_transaction(own_tables)?;
        bring_in(&store)?;
        let config = EngineConfig::default().name("legacy").workers(WORKERS).lease(LEASE).requeue_every(TICK);
        let builder = Engine::builder(store.clone()).config(config);
        let engine = projections::all().into_iter().fold(builder, EngineBuilder::projection).start()?;
        Ok(Self { store, engine })
    }

    pub(crate) fn stop(&self) -> Result<(), readside::Error> {
        Ok(self.engine.shutdown(Duration::from_secs(10))?)
    }

    /// Stores a row of the service and an event, both or neither.
    pub(crate) fn open(&self, tenant: &str, account: &str, owner: &str, tags: Vec<String>) -> Result<(), ServiceError> {
        let opened = NewEvent::new(tenant, account, &Opened { owner: owner.to_owned(), tags })
            .creator(owner)
            .expect(Expected::New)
            .push_key(&format!("{account}/open"));
        let pushed = self.store.with_transaction(|transaction| {
            let sql = "INSERT INTO customers (tenant, id, owner) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            transaction.execute(sql, &[&tenant, &account, &owner])?;
            match self.store.push_in(transaction, &[opened]) {
                Err(PushError::Conflict { .. } | PushError::PushKeyReused { .. }) => {
                    Err(ServiceError::Taken(account.to_owned()))
                }
                other => Ok(other?),
            }
        })?;
        pushed.token.fire();
        self.seen(&["accounts", "audit"], &pushed.events)
    }

    /// Stores a receipt and an event, both or neither. However often the request is repeated, both are stored once.
    pub(crate) fn deposit(&self, booking: &Booking<'_>) -> Result<(), ServiceError> {
        let Booking { tenant, account, request, amount, day } = *booking;
        let deposited = Deposited { request: request.to_owned(), amount, day };
        let deposited = NewEvent::new(tenant, account, &deposited).push_key(&booking.key());
        let pushed = self.store.with_transaction(|transaction| {
            let known = "SELECT FROM customers WHERE tenant = $1 AND id = $2 FOR KEY SHARE";
            if transaction.query_opt(known, &[&tenant, &account])?.is_none() {
                return Err(ServiceError::NoAccount(account.to_owned()));
            }
            let sql = "INSERT INTO receipts VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
            transaction.execute(sql, &[&tenant, &account, &request, &amount, &day])?;
            Ok(self.store.push_in(transaction, &[deposited])?)
        });
        let pushed = pushed.map_err(|error| booking.repeated(error))?;
        pushed.token.fire();
        self.seen(&["accounts", "days", "audit"], &pushed.events)
    }

    /// Decides on the events of the account. How far the read model has come does not matter.
    pub(crate) fn withdraw(&self, booking: &Booking<'_>) -> Result<(), ServiceError> {
        let Booking { tenant, account, request, amount, day } = *booking;
        let withdrawn = Withdrawn { request: request.to_owned(), amount, day };
        let pushed = self.store.decide(tenant, account, |state: &Account| {
            // A repeated request has the push key of the first one, so it is answered by that event.
            if state.balance < amount && !state.requests.contains(request) {
                return Err(ServiceError::Overdrawn(state.balance));
            }
            Ok(vec![NewEvent::new(tenant, account, &withdrawn).push_key(&booking.key())])
        });
        let pushed = pushed.map_err(|error| match error {
            DecideError::Refused(refused) => refused,
            DecideError::Push(error) => booking.repeated((*error).into()),
            other => ServiceError::Decide(Box::new(other)),
        })?;
        self.seen(&["accounts", "days", "audit"], &pushed)
    }

    pub(crate) fn tag(&self, tenant: &str, account: &str, tags: Vec<String>) -> Result<(), ServiceError> {
        let pushed = self.engine.push(&[NewEvent::new(tenant, account, &Tagged { tags })])?;
        self.seen(&["accounts", "audit"], &pushed)
    }

    pub(crate) fn set(&self, tenant: &str, name: &str, value: &str) -> Result<(), ServiceError> {
        let changed = SettingChanged { value: value.to_owned() };
        let pushed = self.engine.push(&[NewEvent::new(tenant, name, &changed)])?;
        self.seen(&["settings", "audit"], &pushed)
    }

    /// Waits until the readers of all processes see the write.
    fn seen(&self, projections: &[&str], pushed: &[Event]) -> Result<(), ServiceError> {
        for projection in projections {
            self.engine.await_pushed(projection, pushed, PATIENCE)?;
        }
        Ok(())
    }

    pub(crate) fn account(&self, tenant: &str, id: &str) -> Result<AccountRow, ServiceError> {
        let sql = "SELECT id, owner, tags, balance, bookings FROM accounts WHERE instance_id = $instance AND id = $1";
        let mut found = self.store.query_as(tenant, sql, &[id.into()])?;
        found.pop().ok_or_else(|| ServiceError::NoAccount(id.to_owned()))
    }

    /// The accounts with this tag, or all accounts. The index on tags finds them.
    pub(crate) fn accounts(&self, tenant: &str, tag: Option<&str>) -> Result<Vec<AccountRow>, ServiceError> {
        let sql = "SELECT id, owner, tags, balance, bookings FROM accounts
                   WHERE instance_id = $instance AND tags @> $1 ORDER BY id";
        let tags: Vec<&str> = tag.into_iter().collect();
        Ok(self.store.query_as(tenant, sql, &[tags.into()])?)
    }

    pub(crate) fn days(&self, tenant: &str) -> Result<Vec<Totals>, ServiceError> {
        let sql = "SELECT day, deposited, withdrawn, bookings FROM days WHERE instance_id = $instance ORDER BY day";
        Ok(self.store.query_as(tenant, sql, &[])?)
    }

    pub(crate) fn settings(&self, tenant: &str) -> Result<Vec<(String, String)>, ServiceError> {
        let sql = "SELECT name, value FROM settings WHERE instance_id = $instance ORDER BY name";
        Ok(self.store.query_as(tenant, sql, &[])?)
    }

    /// The audit trail. It may be long, so its rows come in parts.
    pub(crate) fn audit(&self, tenant: &str, mut each: impl FnMut(Trace)) -> Result<(), ServiceError> {
        let sql = "SELECT position, at, what, whom, who FROM audit WHERE instance_id = $instance ORDER BY position";
        self.store.stream_as(tenant, sql, &[], |trace| {
            each(trace);
            Ok::<(), QueryError>(())
        })?;
        Ok(())
    }

    /// The receipts in the service's own table, and the sum in the read model, as of one moment.
    pub(crate) fn receipts(&self, tenant: &str) -> Result<(Decimal, Decimal), ServiceError> {
        let own = "SELECT coalesce(sum(amount), 0) FROM receipts WHERE tenant = $1";
        let projected = "SELECT coalesce(sum(deposited), 0) FROM days WHERE instance_id = $1";
        self.store.with_client(|client| {
            let own: Decimal = client.query_one(own, &[&tenant])?.try_get(0)?;
            let projected: Decimal = client.query_one(projected, &[&tenant])?.try_get(0)?;
            Ok((own, projected))
        })
    }

    /// One line for each projection.
    pub(crate) fn health(&self) -> Result<Vec<String>, ServiceError> {
        let health = self.engine.health()?;
        Ok(health.projections.iter().map(|each| format!("{}: {}", each.name, each.verdict)).collect())
    }
}

impl Booking<'_> {
    /// If a client uses the name of an earlier request for another booking, the client is at fault.
    fn repeated(&self, error: ServiceError) -> ServiceError {
        match error {
            ServiceError::Push(PushError::PushKeyReused { .. }) => ServiceError::Repeated(self.request.to_owned()),
            other => other,
        }
    }
}

/// Creates the service's own tables. Only one process at a time does that.
fn own_tables(transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
    let made = transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&SETUP])
        .and_then(|_| transaction.batch_execute(TABLES));
    made.map_err(|error| {
        StoreError::new("making the tables of the service", readside::error::StoreErrorKind::Other, error)
    })
}

/// Pushes one event for each customer from the time before there were events. However often the service starts, it
/// does so once.
fn bring_in(store: &PostgresStore) -> Result<(), readside::Error> {
    let sql = "SELECT tenant, id, owner, signed_up, old_balance FROM customers
               WHERE old_balance IS NOT NULL ORDER BY signed_up, tenant, id";
    let old: Vec<OldCustomer> = store.query_all_as(sql, &[])?;
    for part in old.chunks(PART) {
        let events: Vec<NewEvent> = part
            .iter()
            .map(|row| {
                NewEvent::new(&row.tenant, &row.id, &Imported { owner: row.owner.clone(), balance: row.old_balance })
                    .created_at(row.signed_up)
                    .expect(Expected::New)
                    .push_key(&format!("seed/{}", row.id))
            })
            .collect();
        store.push_imported(&events)?;
    }
    Ok(())
}
