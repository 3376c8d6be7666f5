//! A connection of the driver, which has its own runtime inside.
//!
//! The driver waits through that runtime, and panics on a thread that already drives a runtime. It also waits when a
//! connection is dropped. So on such a thread a second panic would follow while the first one unwinds, and would end
//! the process. To prevent that, the first call on each connection is guarded, and connections are closed on their
//! own thread.

use std::any::Any;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use fallible_iterator::FallibleIterator;
use postgres::Client;

use super::access::Access;
use super::channel::Channel;
use crate::error::{StoreError, StoreErrorKind};

/// A connection's life is shortened at random by up to one part in this many, so that many connections do not end
/// together.
const JITTER: f64 = 5.0;

/// A connection, and how long it may be used.
pub(super) struct Link {
    /// `None` only when the connection was given away or dropped.
    client: Option<Client>,
    /// `None` for a connection without a time limit.
    until: Option<Instant>,
    /// The era of the pool when this connection was requested.
    era: u64,
    access: Access,
    channel: Channel,
}

impl Link {
    pub(super) fn new(client: Client, lifetime: Duration, era: u64, access: Access, channel: Channel) -> Self {
        let until = Instant::now().checked_add(jittered(lifetime, random()));
        Self { client: Some(client), until, era, access, channel }
    }

    /// What the server let this role do when the connection was opened.
    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// How well the connection is protected.
    pub(super) fn channel(&self) -> Channel {
        self.channel
    }

    pub(super) fn client(&mut self, doing: &str) -> Result<&mut Client, StoreError> {
        let gone = || StoreError::new(doing, StoreErrorKind::Connection, "the connection is gone");
        self.client.as_mut().ok_or_else(gone)
    }

    /// Gives the connection to a caller that keeps it on one thread.
    pub(super) fn into_client(mut self, doing: &str) -> Result<Client, StoreError> {
        let gone = || StoreError::new(doing, StoreErrorKind::Connection, "the connection is gone");
        self.client.take().ok_or_else(gone)
    }

    /// Refuses a thread on which the driver would panic. To find out, it polls once for messages, without waiting.
    pub(super) fn try_driver(&mut self, doing: &str) -> Result<(), StoreError> {
        let client = self.client(doing)?;
        // An error of the connection shows at its next use.
        guarded(doing, || drop(client.notifications().iter().next()))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.as_ref().is_none_or(Client::is_closed)
    }

    /// True if the connection may be used once more.
    pub(super) fn may_live(&self, now: Instant, era: u64) -> bool {
        self.era == era && self.until.is_none_or(|until| now < until)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let close = || {
            let closing = std::thread::Builder::new().name("readside-close".to_owned()).spawn(move || drop(client));
            closing.map(|thread| _ = thread.join())
        };
        // If no thread can be started, the connection closes on this thread, which may be a runtime's.
        if let Err(_) | Ok(Err(_)) = catch_unwind(AssertUnwindSafe(close)) {
            log::debug!("no thread could be started to close a connection");
        }
    }
}

/// Runs a call of the driver, and returns an error if this thread must not wait.
pub(super) fn guarded<T>(doing: &str, call: impl FnOnce() -> T) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        if !is_runtimes(&*panic) {
            resume_unwind(panic);
        }
        let why = "this thread drives an asynchronous runtime, where nothing may wait; call the store from a plain thread, \
                   or by the runtime's spawn_blocking";
        StoreError::new(doing, StoreErrorKind::Usage, why)
    })
}

/// True if the panic comes from a runtime that refused to run inside another one.
fn is_runtimes(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.is_some_and(|text| text.contains("runtime"))
}

fn jittered(lifetime: Duration, random: f64) -> Duration {
    // A lifetime this long needs no jitter, and adding it could overflow.
    if lifetime.checked_mul(2).is_none() { lifetime } else { lifetime.mul_f64(1.0 - random / JITTER) }
}

/// A random number between 0 and 1. The standard library gives each new hasher a new seed.
pub(super) fn random() -> f64 {
    let bits = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_differ_by_a_fifth_at_most() {
        let half_an_hour = Duration::from_mins(30);
        assert_eq!(jittered(half_an_hour, 0.0), half_an_hour);
        assert_eq!(jittered(half_an_hour, 1.0), Duration::from_mins(24));
        assert_eq!(jittered(Duration::ZERO, 0.5), Duration::ZERO);
        assert_eq!(jittered(Duration::MAX, 0.5), Duration::MAX);
        assert!((0..100).map(|_| random()).all(|random| (0.0..=1.0).contains(&random)));
    }

    // Contract: J4: any other panic stays a panic.
    #[test]
    fn only_a_runtimes_panic_becomes_an_error() {
        let words = "Cannot start a runtime from within a runtime.";
        let error = guarded("a test", || -> () { panic!("{words}") }).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Usage);
        assert!(catch_unwind(|| guarded("a test", || -> () { panic!("something else") })).is_err());
        assert_eq!(guarded("a test", || 1).unwrap(), 1);
    }
}
