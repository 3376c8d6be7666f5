//! Shows how a read side gets on: a status page, metrics and health by HTTP, from a service's engine or from `readside
//! serve`.
//!
//! One thread reads the database at intervals and keeps the last picture. Pages, metrics and health show that picture,
//! so the cost does not grow with the number of readers. What else a page asks of the database is bounded. This module
//! changes nothing: it answers only GET and HEAD (`http`). `pages` makes the pages, `metrics` the numbers for
//! Prometheus, and `health` one word.

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
#[cfg(all(test, feature = "cli"))]
pub(crate) use health::remedy;
pub use metrics::{Metric, MetricKind, Metrics, Sample};
pub use options::ServeOptions;
pub use server::StatusServer;
#[cfg(feature = "cli")]
pub(crate) use {
    health::judge,
    place::{Examine, Place},
    server::serve,
};
