//! Numbers for monitoring: the same as on the page, with stable names, and none for single tenants.

mod families;
mod text;

pub(super) use families::{of_age, of_engine, of_server, of_status};

use std::time::Duration;

use crate::engine::Engine;
use crate::error::StoreError;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often something took how long (a histogram).
    Histogram,
}

/// One value of a metric.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Sample {
    /// A number.
    Number {
        /// The labels that distinguish it from the others of its metric.
        labels: Vec<(&'static str, String)>,
        /// The number, in the unit that the name of the metric ends in.
        value: f64,
    },
    /// How often something took how long (a histogram).
    Histogram {
        /// The labels that distinguish it from the others of its metric.
        labels: Vec<(&'static str, String)>,
        /// For each bound, ascending, how many were not above it. Values above all bounds count only in `count`.
        buckets: Vec<(f64, u64)>,
        /// The sum of all of them.
        sum: f64,
        /// How many there are.
        count: u64,
    },
}

/// A metric with its values. It has none while they are not known.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, which is stable: `readside_…`, with its unit at the end.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its values.
    pub samples: Vec<Sample>,
}

/// All metrics at one moment, for a service that exports them its own way. Its text is the one that Prometheus reads.
///
/// A number that is not known has no sample, never a zero.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// The metrics, in a stable order.
    pub metrics: Vec<Metric>,
}

impl Metrics {
    /// The number of a metric with these labels, if it is known.
    #[must_use]
    pub fn number(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let metric = self.metrics.iter().find(|metric| metric.name == name)?;
        metric.samples.iter().find_map(|sample| match sample {
            Sample::Number { labels: found, value } if has(found, labels) => Some(*value),
            _ => None,
        })
    }
}

fn has(found: &[(&'static str, String)], labels: &[(&str, &str)]) -> bool {
    labels.iter().all(|(name, value)| found.iter().any(|(of, is)| of == name && is == value))
}

impl Engine {
    /// What the database knows about all processes, and what this process has measured.
    ///
    /// It reads the database, so do not call it more often than you need: every 10 s is usual. The first call counts
    /// everything. Further ones count a bounded share anew, in turns, and `readside_look_age_seconds` tells how old the
    /// oldest count is ([`Inspect::look`](crate::inspect::Inspect::look)). Calls at the same time wait for each other.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::{Engine, SqliteStore};
    /// use readside::serve::Sample;
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection(logins).start()?;
    /// let metrics = engine.metrics()?;
    /// assert_eq!(metrics.number("readside_lag_events", &[("projection", "logins")]), Some(0.0));
    /// for metric in &metrics.metrics {
    ///     for sample in &metric.samples {
    ///         if let Sample::Number { labels, value, .. } = sample {
    ///             println!("{} {labels:?} {value}", metric.name); // to the exporter of the service
    ///         }
    ///     }
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn metrics(&self) -> Result<Metrics, StoreError> {
        let place = self.place();
        let status = place.look(&mut self.survey().lock())?;
        let commands = place.models.commands().commands(None, 200)?;
        let mut metrics = of_status(&status, &commands);
        metrics.push(of_age(status.at.duration_since(status.counted_from).ok()));
        if let Some(readings) = place.readings() {
            metrics.extend(of_engine(&readings));
        }
        Ok(Metrics { metrics })
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
