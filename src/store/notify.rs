//! Notifications between processes: hints about where there may be work.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::StoreError;
use crate::sealed::Sealed;

/// The longest time between two looks for work that no notification announces.
pub(crate) const UNHEARD: Duration = Duration::from_secs(1);

/// News of other processes' pushes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notifications {
    /// Instances with new events, each with the aggregate types of some of them.
    pub instances: Vec<(Arc<str>, Arc<str>)>,
    /// True when there may be more, anywhere.
    pub all: bool,
}

impl Notifications {
    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && !self.all
    }
}

/// How a process hears of the pushes of other processes. It only saves time: polling alone finds everything.
///
/// It is sealed: only this library implements it.
pub trait NotificationListener: Sealed + fmt::Debug + Send {
    /// Waits for news for at most this long. It connects, and reconnects, without help of the caller. After each new
    /// connection the news are `all`.
    ///
    /// # Errors
    /// When the connection is lost; the next call tries again.
    fn listen(&mut self, wait: Duration) -> Result<Notifications, StoreError>;

    /// Why this listener hears nothing although it is connected, once it has found that out. `None` while it hears.
    fn deaf(&self) -> Option<String>;
}

/// A store that announces its pushes to other processes, with or without an engine.
///
/// It is sealed: only this library implements it.
pub trait Notifier: Sealed + fmt::Debug + Send + Sync {
    /// A new listener.
    fn listener(&self) -> Box<dyn NotificationListener>;

    /// Tells other processes, and this one, what else they have to look at, such as a command.
    ///
    /// # Errors
    /// When the store fails. Then no process hears of it before its next poll.
    fn announce(&self, news: &Notifications) -> Result<(), StoreError>;
}
