//! The work that is measured: payments to accounts, and a read model with the balances.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cli::options::BenchArgs;
use crate::db::SCRATCH;
use crate::event::{NewEvent, Payload};
use crate::projection::Projection;
use crate::statement::{create, eq, increment, set, update};
use crate::table::{Table, integer, text};
use crate::value::Value;

/// The prefix of the projection's name.
pub(super) const PROJECTION: &str = "bench_of_readside_";

/// Events of one account, including its opening.
const PER_ACCOUNT: usize = 10;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) holder: String,
}

impl Payload for Opened {
    const AGGREGATE: &'static str = "readside_bench";
    const TYPE: &'static str = "readside_bench.opened";
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Paid {
    pub(super) amount: i64,
}

impl Payload for Paid {
    const AGGREGATE: &'static str = "readside_bench";
    const TYPE: &'static str = "readside_bench.paid";
}

/// An event before it has a position.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) account: String,
    pub(super) version: i64,
    pub(super) kind: &'static str,
    pub(super) payload: String,
}

/// Instance, id, holder, balance, and the version of the last event.
pub(super) type Account = (String, String, String, i64, i64);

#[derive(Debug)]
pub(super) struct Work {
    tag: String,
    instances: usize,
    accounts: usize,
    pub(super) batch: usize,
    pub(super) projection: Projection,
}

pub(super) fn projection(tag: &str) -> Projection {
    let name = format!("{PROJECTION}{tag}");
    let table = Table::new(&name)
        .column(text("id"))
        .column(text("holder"))
        .column(integer("balance"))
        .column(integer("version"))
        .primary_key(["id"]);
    Projection::new(&name, 1)
        .table(table)
        .on(|e, p: Opened| {
            create([
                set("id", e.aggregate_id()),
                set("holder", p.holder),
                set("balance", 0),
                set("version", e.version()),
            ])
        })
        .on(|e, p: Paid| {
            update([increment("balance", p.amount), set("version", e.version())], [eq("id", e.aggregate_id())])
        })
}

impl Work {
    pub(super) fn new(tag: &str, args: &BenchArgs) -> Self {
        let accounts = (args.events / args.instances / PER_ACCOUNT).max(1);
        let projection = projection(tag);
        Self { tag: tag.to_owned(), instances: args.instances, accounts, batch: args.batch, projection }
    }

    pub(super) fn events(&self) -> u64 {
        (self.instances * self.accounts * PER_ACCOUNT) as u64
    }

    pub(super) fn table(&self) -> &str {
        self.projection.name()
    }

    pub(super) fn instances(&self) -> Vec<String> {
        (0..self.instances).map(|n| format!("{SCRATCH}{}-{n:04}", self.tag)).collect()
    }

    /// Batches of events with their instances. The instances take turns, and so do the accounts in each of them.
    pub(super) fn batches(&self) -> impl Iterator<Item = (String, Vec<Event>)> + '_ {
        let events: Vec<Event> = (1..=PER_ACCOUNT)
            .flat_map(|version| (0..self.accounts).map(move |account| event(account, version)))
            .collect();
        let batches: Vec<Vec<Event>> = events.chunks(self.batch).map(<[Event]>::to_vec).collect();
        let instances = self.instances();
        batches
            .into_iter()
            .flat_map(move |batch| instances.clone().into_iter().map(move |instance| (instance, batch.clone())))
    }
}

fn event(account: usize, version: usize) -> Event {
    let (kind, payload) = match version {
        1 => (Opened::TYPE, format!(r#"{{"holder":"Holder {account}"}}"#)),
        _ => (Paid::TYPE, format!(r#"{{"amount":{}}}"#, account + version)),
    };
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    Event { account: format!("account-{account:06}"), version, kind, payload }
}

pub(super) fn commands(instance: &str, events: &[Event]) -> Vec<NewEvent> {
    let command = |event: &Event| {
        NewEvent::raw(instance, Opened::AGGREGATE, &event.account, event.kind).payload_json(event.payload.as_str())
    };
    events.iter().map(command).collect()
}

/// Turns a row that the store has read into an account.
pub(super) fn account(row: &[(String, Value)]) -> Account {
    let mut account = Account::default();
    for (column, value) in row {
        match (column.as_str(), value) {
            ("instance_id", Value::Text(text)) => account.0.clone_from(text),
            ("id", Value::Text(text)) => account.1.clone_from(text),
            ("holder", Value::Text(text)) => account.2.clone_from(text),
            ("balance", Value::Integer(number)) => account.3 = *number,
            ("version", Value::Integer(number)) => account.4 = *number,
            _ => {}
        }
    }
    account
}

/// What a page of events does to an account.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The holder, if the page opens the account.
    pub(super) holder: Option<String>,
    /// The sum of the payments.
    pub(super) sum: i64,
    /// The version of the last event.
    pub(super) version: i64,
}

/// Folds a page. Each event is given as account, type, version and payload.
pub(super) fn fold(
    events: impl Iterator<Item = anyhow::Result<(String, String, i64, String)>>,
) -> anyhow::Result<BTreeMap<String, Change>> {
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    for event in events {
        let (account, kind, version, payload) = event?;
        let change = changes.entry(account).or_default();
        if kind == Opened::TYPE {
            change.holder = Some(serde_json::from_str::<Opened>(&payload)?.holder);
        } else {
            change.sum += serde_json::from_str::<Paid>(&payload)?.amount;
        }
        change.version = version;
    }
    Ok(changes)
}
