//! A store in which one call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use readside::error::{StoreError, StoreErrorKind};
use readside::testing::{Answer, Call, Faults, FaultyStore};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Fails(StoreErrorKind),
    Panics,
    /// A commit is cut off before it happened.
    CommitLost,
    /// A commit is cut off after it happened.
    CommitDone,
}

#[derive(Debug, Clone, Copy)]
enum At {
    /// The call with this number, counted from 1.
    Call(usize),
    /// The first call of this name.
    First(&'static str),
}

/// Makes one call fail, and records all calls.
#[derive(Debug)]
pub(crate) struct OneFault {
    at: At,
    fault: Fault,
    calls: Mutex<Vec<&'static str>>,
    /// True when the answer of the commit that now goes on has to be lost.
    cut_off: AtomicBool,
}

impl OneFault {
    fn new(at: At, fault: Fault) -> Arc<Self> {
        Arc::new(Self { at, fault, calls: Mutex::default(), cut_off: AtomicBool::new(false) })
    }

    pub(crate) fn nth(at: usize, fault: Fault) -> Arc<Self> {
        Self::new(At::Call(at), fault)
    }

    pub(crate) fn first(name: &'static str, fault: Fault) -> Arc<Self> {
        Self::new(At::First(name), fault)
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.lock().len()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.calls.lock().clone()
    }

    fn is_hit(&self, call: &Call) -> bool {
        let mut calls = self.calls.lock();
        calls.push(call.name);
        match self.at {
            At::Call(at) => calls.len() == at,
            At::First(name) => call.name == name && calls.iter().filter(|called| **called == name).count() == 1,
        }
    }
}

fn unknown() -> StoreError {
    StoreError::new("committing", StoreErrorKind::CommitUnknown, "cut off on purpose")
}

impl Faults for OneFault {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        // A batch fails after half of its work is done.
        let is_inside = call.part + 1 < call.parts;
        if is_inside || matches!(call.name, "ProjectionStore::setup" | "ProjectionStore::verify") || !self.is_hit(call)
        {
            return Ok(());
        }
        match (self.fault, call.name) {
            (Fault::Fails(kind), _) => Err(StoreError::new("a call that fails", kind, "on purpose")),
            (Fault::Panics, _) => panic!("on purpose"),
            (Fault::CommitLost, "ProjectionStore::commit") => Err(unknown()),
            (Fault::CommitDone, "ProjectionStore::commit") => {
                self.cut_off.store(true, Ordering::SeqCst);
                Ok(())
            }
            (Fault::CommitLost | Fault::CommitDone, _) => Ok(()),
        }
    }

    fn after(&self, call: &Call, _: Answer<'_>) -> Result<(), StoreError> {
        let is_lost = call.name == "ProjectionStore::commit" && self.cut_off.swap(false, Ordering::SeqCst);
        if is_lost { Err(unknown()) } else { Ok(()) }
    }
}

pub(crate) fn faulty<S>(store: S, fault: &Arc<OneFault>) -> Arc<FaultyStore<S>> {
    Arc::new(FaultyStore::new(store, Arc::clone(fault) as Arc<dyn Faults>).in_parts(2))
}
