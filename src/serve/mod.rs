//! Seeing a read side: a status page, metrics and health by HTTP, from a service's engine or from `readside serve`.
//!
//! One thread looks at the database, again and again, and keeps the last picture; pages, metrics and health show that, so
//! they cost the same however many look. What a page asks of the database beside it is bounded. Nothing can be changed here: only
//! GET and HEAD are answered (`http`). `pages` makes the pages, `metrics` the numbers for Prometheus, `health` one word.

mod address;
mod board;
mod changes;
mod doctor;
mod error;
mod health;
mod http;
mod metrics;
mod options;
mod pages;
mod place;
mod routes;
mod series;
mod server;
mod thread;

pub use address::ServeAddress;
pub use error::ServeError;
pub use metrics::{Metric, MetricKind, Metrics, Sample};
pub use options::ServeOptions;
pub use server::StatusServer;
#[cfg(feature = "cli")]
pub(crate) use {
    health::judge,
    place::{Examine, Place},
    server::serve,
};
