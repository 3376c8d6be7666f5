//! What a handshake has seen.

use std::time::SystemTime;

use super::fault::Fault;

#[derive(Debug, Default)]
pub(in crate::postgres) struct Sight {
    /// Until when the server's certificate is valid.
    pub(in crate::postgres) until: Option<SystemTime>,
    /// What was wrong with it.
    pub(in crate::postgres) fault: Option<Fault>,
}
