//! A store whose wire and queue cannot be relied on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use readside::error::StoreError;
use readside::store::Notifications;
use readside::testing::{Answer, Call, Faults, FaultyStore};
use readside::{EngineStore, error};

use crate::LONG;

/// A store that hears nothing, or hears everything twice through a wire that breaks. Some of its calls fail.
#[derive(Default)]
pub(crate) struct Unreliable {
    pub(crate) deaf_wire: bool,
    pub(crate) deaf_queue: bool,
    /// How many records of success still have to fail.
    pub(crate) unsuccessful: AtomicUsize,
    /// How many looks at the change token there were, and how many at everything.
    pub(crate) looks: (AtomicUsize, AtomicUsize),
    /// How many requests for leases there were.
    pub(crate) leases: AtomicUsize,
    /// How many requests for the lead there were.
    pub(crate) leads: AtomicUsize,
    /// Each tick begins with a look at the change token. That look waits until this is dropped.
    pub(crate) held_up: Option<crossbeam_channel::Receiver<()>>,
    /// True if reading the pauses fails.
    pub(crate) forgetful: bool,
    /// How often the pauses were read. Each tick reads them while it compares heads with states in another database.
    pub(crate) pauses: AtomicUsize,
    /// How often the store was listened to.
    pub(crate) listened: AtomicUsize,
    /// Tells other stores that there may be news anywhere.
    pub(crate) babble: OnceLock<Babble>,
}

pub(crate) type Babble = Box<dyn Fn() -> Result<(), StoreError> + Send + Sync>;

impl Unreliable {
    pub(crate) fn new(deaf_wire: bool, deaf_queue: bool) -> Self {
        Self { deaf_wire, deaf_queue, ..Self::default() }
    }

    pub(crate) fn around<S: EngineStore + Clone>(self, store: S) -> (FaultyStore<S>, Arc<Self>) {
        let (faults, babbler) = (Arc::new(self), store.clone());
        let babble = move || babbler.announce(&Notifications { instances: Vec::new(), all: true });
        assert!(faults.babble.set(Box::new(babble)).is_ok(), "it is around one store");
        (FaultyStore::new(store, faults.clone()), faults)
    }

    pub(crate) fn looks(&self) -> usize {
        self.looks.0.load(Ordering::SeqCst)
    }

    pub(crate) fn leases(&self) -> usize {
        self.leases.load(Ordering::SeqCst)
    }
}

fn cut_off(doing: &str) -> Result<(), StoreError> {
    Err(StoreError::new(doing, error::StoreErrorKind::Connection, "cut off on purpose"))
}

impl Faults for Unreliable {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        match call.name {
            "EventStore::subscribe" if self.deaf_queue => return cut_off("subscribing"),
            "LeaseStore::acquire" => drop(self.leases.fetch_add(1, Ordering::SeqCst)),
            "LeaseStore::lead" => drop(self.leads.fetch_add(1, Ordering::SeqCst)),
            "LeaseStore::lagging_instances" if call.instances.is_empty() => {
                self.looks.1.fetch_add(1, Ordering::SeqCst);
            }
            "LeaseStore::change_token" => {
                self.looks.0.fetch_add(1, Ordering::SeqCst);
                if let Some(held_up) = &self.held_up {
                    let _ = held_up.recv_timeout(LONG);
                }
            }
            "LeaseStore::succeed" => {
                let left = |left: usize| left.checked_sub(1);
                if self.unsuccessful.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
                    return cut_off("recording success");
                }
            }
            "LeaseStore::pauses" if self.forgetful => return cut_off("reading what is paused"),
            "LeaseStore::pauses" => drop(self.pauses.fetch_add(1, Ordering::SeqCst)),
            "NotificationListener::listen" if !self.deaf_wire => {
                if (self.listened.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(5) {
                    return cut_off("listening");
                }
                call.wait = call.wait.map(|wait| wait.min(Duration::from_millis(5)));
            }
            _ => {}
        }
        Ok(())
    }

    fn after(&self, call: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        match answer {
            Answer::Notifications(news) if self.deaf_wire => *news = Notifications::default(),
            Answer::Notifications(news) => {
                news.instances.extend(news.instances.clone());
                news.all = true;
            }
            Answer::Done if call.name == "Notifier::announce" => {
                return self.babble.get().expect("it is around a store")();
            }
            _ => {}
        }
        Ok(())
    }
}
