//! How pages of events come: read above the checkpoints, ahead of the work on them, and once for several projections.

pub(crate) mod fetch;
pub(crate) mod read_ahead;
pub(crate) mod shared_pages;
