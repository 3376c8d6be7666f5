//! What a handshake found out about the server's certificate.

use std::time::SystemTime;

use super::fault::Fault;

#[derive(Debug, Default)]
pub(in crate::postgres) struct Sight {
    /// Until when the server's certificate is valid.
    pub(in crate::postgres) until: Option<SystemTime>,
    /// What was wrong with the certificate.
    pub(in crate::postgres) fault: Option<Fault>,
}
