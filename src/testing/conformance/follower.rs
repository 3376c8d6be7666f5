//! A reader that reads while other threads write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use uuid::Uuid;

use crate::error::StoreError;
use crate::query::{Cursor, EventFilter, ReadRequest};
use crate::store::EventSource;

/// Counts down when it is dropped, so that the reader does not wait for a writer that panicked.
pub(super) struct Running<'w>(pub(super) &'w AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Reads while other threads write.
#[derive(Default)]
pub(super) struct Follower {
    pub(super) at: BTreeMap<Arc<str>, i64>,
    ids: BTreeSet<Uuid>,
    heads: BTreeMap<Arc<str>, i64>,
    pub(super) faults: BTreeSet<String>,
    pub(super) is_empty: bool,
}

impl Follower {
    pub(super) fn follow(
        &mut self,
        source: &dyn EventSource,
        names: &[Arc<str>],
        wanted: &EventFilter,
    ) -> Result<(), StoreError> {
        let cursors = names.iter().map(|name| Cursor { instance: Arc::clone(name), after: self.after(name) }).collect();
        let request = ReadRequest { cursors, wanted: wanted.clone(), limit: 3, max_bytes: usize::MAX };
        self.is_empty = true;
        for batch in source.read(&request)? {
            let (mut last, before) = (batch.after, self.heads.insert(Arc::clone(&batch.instance), batch.head));
            if before.is_some_and(|before| before > batch.head) {
                self.faults.insert("read: a head went back while others wrote".to_owned());
            }
            for event in &batch.events {
                self.is_empty = false;
                if event.position != last + 1 {
                    self.faults.insert(
                        "read: while others write, a position is seen before all below it; the log has holes"
                            .to_owned(),
                    );
                }
                if !self.ids.insert(event.id) {
                    self.faults.insert("read: two events have one id".to_owned());
                }
                last = event.position;
            }
            if batch.scanned().0 > last {
                self.faults.insert(
                    "read: while others write, a head is given above events that are not; read both from one state, or \
                     heads first"
                        .to_owned(),
                );
            }
            self.at.insert(Arc::clone(&batch.instance), last);
        }
        Ok(())
    }

    fn after(&self, instance: &Arc<str>) -> i64 {
        self.at.get(instance).copied().unwrap_or(0)
    }
}
