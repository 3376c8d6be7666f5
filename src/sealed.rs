//! Keeps the traits of stores to this library.
//!
//! A service may implement [`EventSource`](crate::store::EventSource), [`Clock`](crate::clock::Clock) and
//! [`Payload`](crate::Payload). All other traits of stores require this one, so they may get new methods without
//! breaking a service.
//!
//! ```compile_fail,E0277
//! use std::time::Duration;
//! use readside::error::StoreError;
//! use readside::store::{NotificationListener, Notifications};
//!
//! #[derive(Debug)]
//! struct Own;
//! // Own has every method, and still it is none: nobody outside of the library can seal it.
//! impl NotificationListener for Own {
//!     fn listen(&mut self, _: Duration) -> Result<Notifications, StoreError> {
//!         Ok(Notifications::default())
//!     }
//!     fn deaf(&self) -> Option<String> {
//!         None
//!     }
//! }
//! ```

/// Implemented for every type that has a store trait.
pub trait Sealed {}
