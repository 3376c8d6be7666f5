//! Checks that a custom source keeps what the engine relies on. The check uses only the public interface of the
//! source.
//!
//! # Examples
//! ```
//! use readside::testing::{MemorySource, conformance};
//! let source = MemorySource::default();
//! let append = |event: &readside::Event| {
//!     source.append(event.clone());
//! };
//! conformance::event_source(&source, &append).assert();
//! ```

mod check;
mod follower;
mod reads;
mod run;

pub use check::{SourceCheck, event_source};

#[cfg(test)]
mod tests;
