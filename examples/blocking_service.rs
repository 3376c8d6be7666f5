//! A small blocking HTTP service with a thread for each request. It pushes events, and clients read their own writes.
//!
//! ```text
//! cargo run --example blocking_service -- --listen 127.0.0.1:8080
//! curl -X POST 'http://127.0.0.1:8080/tenants/acme/users/ada?name=Ada'
//! curl 'http://127.0.0.1:8080/tenants/acme/users'
//! ```
//!
//! Two processes of it on one database share the work of the read model. SIGTERM and Ctrl-C end it cleanly.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use readside::error::QueryError;
use readside::prelude::*;
use readside::{Engine, EngineStore, Expected, NewEvent};
use serde::{Deserialize, Serialize};

/// Serve users of tenants from a read model.
#[derive(Debug, Parser)]
#[command(name = "blocking_service", version, about)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// An SQLite file, or the URL of a PostgreSQL database when built with --features postgres.
    #[arg(long, default_value = "service.db", value_name = "PATH|URL")]
    database: String,
}

/// The largest number of requests at the same time. Others wait in the listener's queue.
const THREADS: usize = 64;

/// How long a read waits until the read model shows the writes before it.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct Added {
    name: String,
}
impl Payload for Added {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.added";
}

#[derive(Serialize, Deserialize)]
struct Renamed {
    name: String,
}
impl Payload for Renamed {
    const AGGREGATE: &'static str = "user";
    const TYPE: &'static str = "user.renamed";
}

fn users() -> Projection {
    Projection::new("users", 1)
        .table(
            Table::new("users")
                .column(text("id"))
                .column(text("name"))
                .column(integer("renamed").default(0))
                .primary_key(["id"]),
        )
        .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]))
        .on(|e, p: Renamed| update([set("name", p.name), increment("renamed", 1)], [eq("id", e.aggregate_id())]))
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
/// Reads the users of a tenant.
type Read = Box<dyn Fn(&str) -> Result<Vec<User>, QueryError> + Send + Sync>;

/// A row of the read model.
#[derive(Deserialize)]
struct User {
    id: String,
    name: String,
    renamed: i64,
}

const USERS: &str = "SELECT id, name, renamed FROM users WHERE instance_id = $instance ORDER BY id";

/// What every request needs.
struct Service {
    engine: Engine,
    read: Read,
    running: AtomicUsize,
}

fn main() -> ExitCode {
    env_logger::init();
    let options = Options::parse();
    match open(&options).and_then(|service| serve(&options, service)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("blocking_service: {}", readside::error::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn open(options: &Options) -> Outcome<Service> {
    #[cfg(feature = "postgres")]
    if options.database.starts_with("postgres") {
        let store = readside::PostgresStore::connect(&options.database)?;
        let reading = store.clone();
        return start(store, Box::new(move |tenant| reading.query_as(tenant, USERS, &[])));
    }
    #[cfg(feature = "sqlite")]
    {
        let store = readside::SqliteStore::open(&options.database)?;
        let reading = store.clone();
        start(store, Box::new(move |tenant| reading.query_as(tenant, USERS, &[])))
    }
    #[cfg(not(feature = "sqlite"))]
    Err(format!("cannot open {}: this example was built without SQLite", options.database).into())
}

fn start<S: EngineStore>(store: S, read: Read) -> Outcome<Service> {
    let engine = Engine::builder(store).projection(users()).start()?;
    Ok(Service { engine, read, running: AtomicUsize::new(0) })
}

/// Accepts requests until a signal comes. Then it lets the running requests end.
fn serve(options: &Options, service: Service) -> Outcome<()> {
    let listener = TcpListener::bind(&options.listen)?;
    let (address, stop) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
    on_signal(Arc::clone(&stop), address)?;
    println!("listening on http://{address}");
    let service = Arc::new(service);
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (stream, service) = (stream?, Arc::clone(&service));
        while service.running.load(Ordering::SeqCst) >= THREADS {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        service.running.fetch_add(1, Ordering::SeqCst);
        std::thread::Builder::new().name("request".to_owned()).spawn(move || {
            if let Err(error) = answer(&service, stream) {
                log::warn!("a request failed: {}", readside::error::chain(error.as_ref()));
            }
            service.running.fetch_sub(1, Ordering::SeqCst);
        })?;
    }
    while service.running.load(Ordering::SeqCst) > 0 {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    service.engine.shutdown(Duration::from_secs(10))?;
    println!("stopped");
    Ok(())
}

/// Waits for a signal. The signal sets the flag, and a connection to ourselves wakes the listener.
fn on_signal(stop: Arc<AtomicBool>, address: std::net::SocketAddr) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            stop.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(address);
        }
    })?;
    Ok(())
}

fn answer(service: &Service, mut stream: TcpStream) -> Outcome<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut request)?;
    let mut words = request.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts = path.trim_matches('/').split('/').map(decoded).collect::<Option<Vec<String>>>();
    let parts = parts.unwrap_or_default();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (status, body) = match (method, parts.as_slice()) {
        ("GET", ["tenants", tenant, "users"]) => list(service, tenant)?,
        ("POST", ["tenants", tenant, "users", id]) => put(service, tenant, id, parameter(query, "name"))?,
        ("GET", ["health"]) => (200, format!("{:#?}\n", service.engine.health()?)),
        _ => (404, "try GET /tenants/T/users, POST /tenants/T/users/ID?name=NAME, GET /health\n".to_owned()),
    };
    write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
    stream.flush()?;
    Ok(())
}

/// Lists the users of a tenant from the read model.
fn list(service: &Service, tenant: &str) -> Outcome<(u16, String)> {
    let mut body = String::new();
    for User { id, name, renamed } in (service.read)(tenant)? {
        body += format!("{id}\t{name}\trenamed {renamed} times\n").as_str();
    }
    Ok((200, body))
}

/// Adds a user or renames an existing one, and answers when the read model shows it.
fn put(service: &Service, tenant: &str, id: &str, name: Option<String>) -> Outcome<(u16, String)> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok((400, "name is missing: ?name=NAME\n".to_owned()));
    };
    let add = NewEvent::new(tenant, id, &Added { name: name.clone() }).expect(Expected::New);
    let pushed = match service.engine.push(&[add]) {
        Err(readside::error::PushError::Conflict { .. }) => {
            service.engine.push(&[NewEvent::new(tenant, id, &Renamed { name: name.clone() })])?
        }
        other => other?,
    };
    service.engine.await_pushed("users", &pushed, PATIENCE)?;
    Ok((200, format!("{id} is {name}\n")))
}

/// The value of a parameter in a query. A plus sign stands for a space.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(found, _)| *found == name)?.1;
    decoded(&value.replace('+', " "))
}

/// Decodes the percent signs in a part of a URL. `None` if they do not stand for text.
fn decoded(part: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), part);
    while let Some((plain, coded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = coded.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = coded.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_decoded() {
        assert_eq!(decoded("Ada%20L%C3%B6velace+").as_deref(), Some("Ada Lövelace+"));
        for wrong in ["%", "%4", "%zz", "%+1", "%ff", "%€"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
        assert_eq!(parameter("x=1&name=Ada+%26%20Bob", "name").as_deref(), Some("Ada & Bob"));
        assert_eq!(parameter("names=1", "name"), None);
    }
}
