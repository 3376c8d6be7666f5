//! A service that had tables before it had events: money, tags, settings, and an audit trail. It uses only what the
//! documentation shows, and has one pool of connections.
//!
//! ```text
//! cargo build --features postgres --example legacy_service
//! cargo run --features postgres --example legacy_service -- --database postgres://user@host/db &
//! curl -X POST 'http://127.0.0.1:8080/tenants/acme/accounts/a1?owner=Ada&tags=vip,eu'
//! curl -X POST 'http://127.0.0.1:8080/tenants/acme/accounts/a1/deposits?request=r1&amount=19.90&day=2026-01-31'
//! curl 'http://127.0.0.1:8080/tenants/acme/accounts?tag=vip'
//! ```
//!
//! Two processes of it on one database share the work. SIGTERM and Ctrl-C end it cleanly.

pub(crate) mod events;
mod http;
pub(crate) mod projections;
pub(crate) mod service;

use std::process::ExitCode;

use clap::Parser;
use readside::{Date, Decimal};
use serde::Serialize;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use http::{Answer, Request, Server};
use service::{Booking, Service, ServiceError};

/// Serve accounts of tenants: money, tags, daily totals, and who did what.
#[derive(Debug, Parser)]
#[command(name = "legacy_service", version, about)]
struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// The URL of a PostgreSQL database.
    #[arg(long, value_name = "URL")]
    database: String,
}

/// How many requests are answered at the same time. Others wait in the listener's queue.
const THREADS: usize = 8;

fn main() -> ExitCode {
    env_logger::init();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("legacy_service: {}", readside::error::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let service = std::sync::Arc::new(Service::start(&options.database, THREADS)?);
    let answering = std::sync::Arc::clone(&service);
    let server = Server::start(&options.listen, THREADS, move |request| answer(&answering, request))?;
    println!("listening on http://{}", server.address());
    signals.forever().next();
    server.stop()?;
    service.stop()?;
    println!("stopped");
    Ok(())
}

fn answer(service: &Service, request: &Request) -> Answer {
    route(service, request).unwrap_or_else(|error| {
        let status = match &error {
            ServiceError::NoAccount(_) => 404,
            ServiceError::Taken(_) | ServiceError::Overdrawn(_) | ServiceError::Repeated(_) => 409,
            ServiceError::NotSeen(_) => 503,
            _ => 500,
        };
        if status >= 500 {
            log::warn!("{} failed: {}", request.method, readside::error::chain(&error));
        }
        (status, json!({"error": readside::error::chain(&error)}))
    })
}

fn route(service: &Service, request: &Request) -> Result<Answer, ServiceError> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    Ok(match (request.method.as_str(), path.as_slice()) {
        ("GET", ["health"]) => found(service.health()?),
        ("GET", ["tenants", tenant, "accounts"]) => found(service.accounts(tenant, request.parameter("tag"))?),
        ("GET", ["tenants", tenant, "accounts", id]) => found(service.account(tenant, id)?),
        ("GET", ["tenants", tenant, "days"]) => found(service.days(tenant)?),
        ("GET", ["tenants", tenant, "settings"]) => found(service.settings(tenant)?),
        ("GET", ["tenants", tenant, "receipts"]) => found(service.receipts(tenant)?),
        ("GET", ["tenants", tenant, "audit"]) => {
            let mut traces = Vec::new();
            service.audit(tenant, |trace| traces.push(trace))?;
            found(traces)
        }
        ("POST", ["tenants", tenant, "accounts", id]) => {
            let Some(owner) = request.parameter("owner") else { return Ok(missing("owner")) };
            service.open(tenant, id, owner, tags(request))?;
            found(service.account(tenant, id)?)
        }
        ("POST", ["tenants", tenant, "accounts", id, "tags"]) => {
            service.tag(tenant, id, tags(request))?;
            found(service.account(tenant, id)?)
        }
        ("POST", ["tenants", tenant, "accounts", id, kind @ ("deposits" | "withdrawals")]) => {
            let booking = match booking(request, tenant, id) {
                Ok(booking) => booking,
                Err(answer) => return Ok(answer),
            };
            if *kind == "deposits" { service.deposit(&booking) } else { service.withdraw(&booking) }?;
            found(service.account(tenant, id)?)
        }
        ("POST", ["tenants", tenant, "settings", name]) => {
            let Some(value) = request.parameter("value") else { return Ok(missing("value")) };
            service.set(tenant, name, value)?;
            found(service.settings(tenant)?)
        }
        _ => (404, json!({"error": "no such page; the head of examples/legacy_service/main.rs shows some"})),
    })
}

fn found(what: impl Serialize) -> Answer {
    match serde_json::to_value(what) {
        Ok(body) => (200, body),
        Err(error) => (500, json!({"error": error.to_string()})),
    }
}

fn missing(name: &str) -> Answer {
    (400, json!({"error": format!("{name} is missing or is not what it should be: ?{name}=VALUE")}))
}

fn tags(request: &Request) -> Vec<String> {
    request.parameter("tags").map(|tags| tags.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

fn booking<'a>(request: &'a Request, tenant: &'a str, account: &'a str) -> Result<Booking<'a>, Answer> {
    let amount = request.parameter("amount").and_then(|amount| amount.parse::<Decimal>().ok());
    let amount = amount.filter(|amount| *amount > Decimal::ZERO && amount.at_scale(2).is_ok());
    let day = request.parameter("day").and_then(|day| day.parse::<Date>().ok());
    Ok(Booking {
        tenant,
        account,
        request: request.parameter("request").ok_or_else(|| missing("request"))?,
        amount: amount.ok_or_else(|| missing("amount"))?,
        day: day.ok_or_else(|| missing("day"))?,
    })
}
