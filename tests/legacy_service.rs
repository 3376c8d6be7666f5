//! The example `legacy_service` runs as two processes on PostgreSQL. One of them is killed while clients book.
#![cfg(all(unix, feature = "postgres"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;
#[path = "../examples/legacy_service/main.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod legacy_service;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{LONG, child};
use legacy_service::projections;
use legacy_service::service::{AccountRow, Totals, Trace};
use parking_lot::RwLock;
use readside::postgres_driver::{Client, NoTls};
use readside::testing::laws;
use readside::{Date, Decimal, PostgresStore};
use serde::de::DeserializeOwned;

const TENANTS: [&str; 2] = ["acme", "otto & söhne"];
const ACCOUNTS: usize = 6;
/// The number of bookings of each client. Every third is a withdrawal.
const BOOKINGS: usize = 30;

/// The example, in the folder of the test binary. `cargo test` builds both.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let example = folder.join("examples").join("legacy_service");
    assert!(example.exists(), "build it first: cargo build --features postgres --example legacy_service");
    example
}

/// A process of the service. It is killed with this value, if it still runs.
struct Process {
    running: Child,
    address: String,
    lines: Box<dyn Iterator<Item = String> + Send + Sync>,
}

impl Process {
    /// Starts a process, and waits until it listens.
    fn start(database: &str) -> Self {
        let mut running = Command::new(example())
            .args(["--listen", "127.0.0.1:0", "--database", database])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map_while(Result::ok);
        let first = lines.next().expect("the service says where it listens, or on standard error why it does not");
        let address = first.strip_prefix("listening on http://").expect("an address").to_owned();
        Self { running, address, lines: Box::new(lines) }
    }

    fn kill(&mut self) {
        self.running.kill().unwrap();
        self.running.wait().unwrap();
    }

    /// Ends the process as a service manager does, and checks that it says `stopped` and succeeds.
    fn end(mut self) {
        child::send("-TERM", i64::from(self.running.id()));
        assert_eq!(self.lines.by_ref().collect::<Vec<_>>(), ["stopped"]);
        assert!(self.running.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// The addresses of the processes, as clients see them.
type Fleet = RwLock<Vec<String>>;

/// Sends one request. `None` if the process ends before it has answered.
fn ask(address: &str, method: &str, target: &str) -> Option<(u16, serde_json::Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: service\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    let (head, body) = said.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Some((status, serde_json::from_str(body).ok()?))
}

/// Asks one process after the other until one of them has carried out the request.
fn done<T: DeserializeOwned>(fleet: &Fleet, first: usize, method: &str, target: &str) -> T {
    let deadline = Instant::now() + 2 * LONG;
    for n in first.. {
        let address = { fleet.read()[n % 2].clone() };
        let answered = ask(&address, method, target);
        if let Some((200, body)) = answered {
            return serde_json::from_value(body).unwrap();
        }
        let passes = answered.as_ref().is_none_or(|(status, _)| *status >= 500);
        assert!(passes && Instant::now() < deadline, "{method} {target} at {address}: {answered:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    unreachable!("the deadline ends it")
}

fn amount(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// The name of a tenant, encoded for a URL.
fn coded(tenant: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    tenant.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

/// What a client did, in its own record.
#[derive(Debug, Default)]
struct Booked {
    balance: Decimal,
    deposited: Decimal,
    withdrawn: Decimal,
    bookings: u64,
}

/// Books on the client's own account. Each answer includes everything that the client booked before, whichever
/// process answers.
fn book(fleet: &Fleet, tenant: &str, account: &str, count: &AtomicUsize) -> Booked {
    let path = format!("/tenants/{}/accounts/{account}", coded(tenant));
    let mut own = Booked::default();
    for n in 0..BOOKINGS {
        // Amounts in cents that no binary fraction can represent.
        let cents = i64::try_from(n % 9 + 1).unwrap();
        let (kind, sum) = match n % 3 {
            2 => ("withdrawals", Decimal::new(cents, 2).unwrap()),
            _ => ("deposits", Decimal::new(1_000 + cents, 2).unwrap()),
        };
        let day = n % 5 + 1;
        let target = format!("{path}/{kind}?request=r{n}&amount={sum}&day=2026-01-0{day}");
        let row: AccountRow = done(fleet, n, "POST", &target);
        let (change, total) = if kind == "deposits" { (sum, &mut own.deposited) } else { (-sum, &mut own.withdrawn) };
        *total = total.checked_add(sum).unwrap();
        own.balance = own.balance.checked_add(change).unwrap();
        own.bookings += 1;
        assert_eq!((row.balance, row.bookings), (own.balance, own.bookings), "{target}");
        let elsewhere: AccountRow = done(fleet, n + 1, "GET", &path);
        assert_eq!(elsewhere, row, "{target}, read from the other process");
        count.fetch_add(1, Ordering::SeqCst);
    }
    // A repeated request does nothing, for both kinds of bookings.
    for (kind, n, sum) in [("deposits", 0, "10.01"), ("withdrawals", 2, "0.03")] {
        let target = format!("{path}/{kind}?request=r{n}&amount={sum}&day=2026-01-0{}", n + 1);
        let row: AccountRow = done(fleet, n, "POST", &target);
        assert_eq!((row.balance, row.bookings), (own.balance, own.bookings), "{target}, again");
    }
    own
}

/// Creates customers from the time before there were events.
fn old_customers(client: &mut Client) {
    client.batch_execute(include_str!("../examples/legacy_service/tables.sql")).unwrap();
    let sql = "INSERT INTO customers (tenant, id, owner, signed_up, old_balance)
               SELECT $1, 'old-' || n, 'Owner ' || n, timestamptz '2020-01-01' + n * interval '1 day', n + 0.07
               FROM generate_series(1, 20) n";
    for tenant in TENANTS {
        client.execute(sql, &[&tenant]).unwrap();
    }
}

// Contract: L2, A1, A2, A4, A10, B1, B3, C6, F6, J1, K1
#[test]
fn balances_are_right_to_the_cent_whoever_is_killed() {
    let database = common::postgres::database();
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    old_customers(&mut client);
    let mut processes = vec![Process::start(database.url()), Process::start(database.url())];
    let fleet: Fleet = RwLock::new(processes.iter().map(|process| process.address.clone()).collect());
    for (n, tenant) in TENANTS.iter().enumerate() {
        for account in 0..ACCOUNTS {
            let tag = ["even", "odd"][account % 2];
            let target = format!("/tenants/{}/accounts/a{account}?owner=Ada+L%C3%B6w&tags={tag},eu", coded(tenant));
            let row: AccountRow = done(&fleet, n, "POST", &target);
            assert_eq!((row.owner.as_str(), row.tags), ("Ada Löw", vec![tag.to_owned(), "eu".to_owned()]));
        }
    }

    let count = AtomicUsize::new(0);
    let booked: Vec<(&str, Booked)> = std::thread::scope(|scope| {
        let clients: Vec<_> = TENANTS
            .iter()
            .flat_map(|tenant| (0..ACCOUNTS).map(move |account| (*tenant, format!("a{account}"))))
            .map(|(tenant, account)| {
                let (fleet, count) = (&fleet, &count);
                (tenant, scope.spawn(move || book(fleet, tenant, &account, count)))
            })
            .collect();
        for (n, third) in [(0, 1), (1, 2)] {
            let reached = || count.load(Ordering::SeqCst) >= TENANTS.len() * ACCOUNTS * BOOKINGS * third / 3;
            let ended = || clients.iter().any(|(_, client)| client.is_finished());
            assert!(common::holds_within(3 * LONG, || reached() || ended()), "clients get on");
            processes[n].kill();
            processes[n] = Process::start(database.url());
            fleet.write()[n].clone_from(&processes[n].address);
        }
        clients.into_iter().map(|(tenant, client)| (tenant, client.join().unwrap())).collect()
    });

    for tenant in TENANTS {
        check(&fleet, &mut client, tenant, booked.iter().filter(|(of, _)| *of == tenant).map(|(_, own)| own));
    }
    refusals(&fleet);
    processes.into_iter().for_each(Process::end);

    let store = PostgresStore::connect(database.url()).unwrap();
    for projection in projections::all() {
        let report = laws::check(&store, &store, &projection).unwrap();
        assert!(report.is_lawful(), "{report:?}");
    }
    let index = "SELECT indexdef FROM pg_indexes WHERE tablename = 'accounts_1' AND indexdef LIKE '% USING gin (tags)'";
    assert_eq!(client.query(index, &[]).unwrap().len(), 1, "tags are found by an index");
}

/// Checks that readers see what the clients did, and what existed before the clients.
fn check<'a>(fleet: &Fleet, client: &mut Client, tenant: &str, booked: impl Iterator<Item = &'a Booked>) {
    let path = format!("/tenants/{}", coded(tenant));
    let booked: Vec<&Booked> = booked.collect();
    let sum = |each: &dyn Fn(&Booked) -> Decimal| {
        booked.iter().fold(Decimal::ZERO, |sum, own| sum.checked_add(each(own)).unwrap())
    };
    let (deposited, withdrawn) = (sum(&|own| own.deposited), sum(&|own| own.withdrawn));

    let days: Vec<Totals> = done(fleet, 0, "GET", &format!("{path}/days"));
    let total = |each: &dyn Fn(&Totals) -> Decimal| {
        days.iter().fold(Decimal::ZERO, |sum, day| sum.checked_add(each(day)).unwrap())
    };
    assert_eq!(
        (total(&|day| day.deposited), total(&|day| day.withdrawn)),
        (deposited, withdrawn),
        "{tenant}: {days:?}"
    );
    let wanted: Vec<Date> = (1..=5).map(|day| Date::new(2026, 1, day).unwrap()).collect();
    assert_eq!(days.iter().map(|day| day.day).collect::<Vec<_>>(), wanted);
    assert_eq!(days.iter().map(|day| day.bookings).sum::<u64>(), booked.iter().map(|own| own.bookings).sum::<u64>());

    // The service's own rows were stored together with the events, and only once.
    let receipts: (Decimal, Decimal) = done(fleet, 1, "GET", &format!("{path}/receipts"));
    assert_eq!(receipts, (deposited, deposited), "{tenant}");
    let own: Decimal =
        client.query_one("SELECT sum(amount) FROM receipts WHERE tenant = $1", &[&tenant]).unwrap().get(0);
    assert_eq!(own, deposited);

    let found = |tag: &str| -> Vec<AccountRow> { done(fleet, 0, "GET", &format!("{path}/accounts?tag={tag}")) };
    let ids = |rows: &[AccountRow]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&found("even")), ["a0", "a2", "a4"]);
    assert_eq!(found("eu").len(), ACCOUNTS);
    let old = found("imported");
    assert_eq!(old.len(), 20, "each customer of the time before was brought in once");
    let old = old.iter().fold(Decimal::ZERO, |sum, row| sum.checked_add(row.balance).unwrap());
    assert_eq!(old, amount("211.40"));

    let trail: Vec<Trace> = done(fleet, 0, "GET", &format!("{path}/audit"));
    let expected = i64::try_from(20 + ACCOUNTS + ACCOUNTS * BOOKINGS).unwrap();
    assert!(
        trail.iter().map(|trace| trace.position).eq(1..=expected),
        "an event is missing, or is there twice: {trail:?}"
    );
    assert_eq!(trail.iter().filter(|trace| trace.what == "account.withdrawn").count(), ACCOUNTS * BOOKINGS / 3);
    assert!(trail[0].at.starts_with("2020-01-02T00:00:00"), "what is old has its old time: {:?}", trail[0]);
    assert!(trail.iter().all(|trace| (trace.what == "account.opened") == (trace.who == "Ada Löw")));
}

/// Checks that a refused request changes nothing, and says why.
fn refusals(fleet: &Fleet) {
    let address = { fleet.read()[0].clone() };
    let refused = |target: &str| {
        let (status, body) = ask(&address, "POST", target).unwrap();
        format!("{status} {}", body["error"].as_str().unwrap_or_default())
    };
    let booking = |of: &str| format!("/tenants/acme/accounts/{of}&day=2026-01-01");
    for (target, wanted) in [
        (booking("a0/withdrawals?request=much&amount=99999"), "409 the account holds "),
        (booking("a0/deposits?request=r0&amount=7"), "409 the request \"r0\" was made before"),
        (booking("nobody/deposits?request=r&amount=1"), "404 there is no account \"nobody\""),
        (booking("a0/deposits?request=fine&amount=0.001"), "400 amount is missing"),
        (booking("a0/deposits?request=none&amount=NaN"), "400 amount is missing"),
        ("/tenants/acme/accounts/a0?owner=Eve".to_owned(), "409 the account \"a0\" is there already"),
    ] {
        let said = refused(&target);
        assert!(said.starts_with(wanted), "{target}: {said}");
    }
    let set: Vec<(String, String)> = done(fleet, 1, "POST", "/tenants/acme/settings/currency?value=EUR");
    assert_eq!(set, [("currency".to_owned(), "EUR".to_owned())]);
    let health: Vec<String> = done(fleet, 0, "GET", "/health");
    assert!(health.len() == 4 && health.iter().all(|line| !line.ends_with("stuck")), "{health:?}");
}
