//! A link that TLS protects: by the feature `tls`, or by a custom connector.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::{Client, Config};

use super::channel::{Cover, Looked};
use super::connector::PostgresConnector;
use super::error;
use super::security::{Security, Try};
#[cfg(feature = "tls")]
use super::tls::{self, Fault, Level, Tls};
use crate::error::{StoreError, StoreErrorKind};

/// A failed attempt to connect.
pub(super) struct Failed {
    pub(super) error: StoreError,
    /// True if TLS, or the lack of it, may be the cause.
    pub(super) may_be_tls: bool,
}

impl Failed {
    /// If a password was missing, adds where passwords are looked for. `is_open` is true if a password file was
    /// ignored, because others may read it.
    pub(super) fn with_passwords(mut self, is_open: bool) -> Self {
        let is_missing = self.error.kind() == StoreErrorKind::Denied && self.error.code().is_none();
        if is_missing && is_open {
            self.error = self.error.with_remedy(
                "; the file of passwords does not count, since others than its owner may read it: chmod 600 it",
            );
        }
        self
    }
}

/// Tries once to connect.
pub(super) fn connect(
    config: &Config,
    security: &Security,
    own: Option<&PostgresConnector>,
    one: Try,
    doing: &str,
) -> Result<(Client, Cover), Failed> {
    let mut config = config.clone();
    config.ssl_mode(one.mode()).ssl_negotiation(security.negotiation()).channel_binding(security.binding);
    if one == Try::Plain {
        let failed = |met: postgres::Error| failed(error::store(doing, &met), true);
        return Ok((config.connect(postgres::NoTls).map_err(failed)?, Cover::Plain));
    }
    let begun = Arc::new(AtomicBool::new(false));
    let insecure = |error| Failed { error, may_be_tls: true };
    let (connector, link) = prepared(security, own, doing).map_err(insecure)?;
    let met = match connector.connect(&config, &begun) {
        Ok(client) if begun.load(Ordering::SeqCst) => return Ok((client, link.cover())),
        Ok(client) => return Ok((client, Cover::Plain)),
        Err(met) => met,
    };
    let begun = begun.load(Ordering::SeqCst);
    let error = link.fault(&met, doing).or_else(|| refused(&met, doing)).unwrap_or_else(|| error::store(doing, &met));
    Err(failed(error, begun))
}

/// When a server refuses a client, the cause may be TLS, because its rules (`pg_hba.conf`) depend on TLS too. The
/// same holds for a pooler. `is_sure` is true if it is known whether the connection used TLS. Unlike libpq, this does
/// not send a wrong password a second time, which might be in plain text.
fn failed(error: StoreError, is_sure: bool) -> Failed {
    let of_rules = matches!(error.code(), Some("28000" | "08P01"));
    let may_be_tls = is_sure && (of_rules || error.kind() == StoreErrorKind::Insecure);
    Failed { error, may_be_tls }
}

/// The error of a failed TLS handshake.
fn refused(met: &postgres::Error, doing: &str) -> Option<StoreError> {
    if !met.to_string().contains("TLS handshake") {
        return None;
    }
    let cause = met.source().map(ToString::to_string).unwrap_or_default();
    Some(if cause == "server does not support TLS" {
        let why = "the server, or the pooler in front of it, does not speak TLS";
        StoreError::new(doing, StoreErrorKind::Insecure, why)
            .with_remedy("; have it switched on there (ssl = on), or, where plain text will do, write sslmode=disable")
    } else {
        StoreError::new(doing, StoreErrorKind::Insecure, error::words(met))
            .with_remedy("; see what the server's log says, and whether a PostgreSQL server with TLS is there")
    })
}

/// What has checked the server's certificate.
enum Link {
    Own,
    #[cfg(feature = "tls")]
    Tls(Tls),
}

#[cfg(feature = "tls")]
fn prepared(
    security: &Security,
    own: Option<&PostgresConnector>,
    doing: &str,
) -> Result<(PostgresConnector, Link), StoreError> {
    if let Some(own) = own {
        return Ok((own.clone(), Link::Own));
    }
    let tls = tls::prepare(security).map_err(|fault| insecure(fault, doing))?;
    Ok((tls.connector.clone(), Link::Tls(tls)))
}

#[cfg(not(feature = "tls"))]
fn prepared(
    _: &Security,
    own: Option<&PostgresConnector>,
    doing: &str,
) -> Result<(PostgresConnector, Link), StoreError> {
    let none = || StoreError::new(doing, StoreErrorKind::Unsupported, "this build does not speak TLS");
    Ok((own.cloned().ok_or_else(none)?, Link::Own))
}

#[cfg(feature = "tls")]
fn insecure(fault: Fault, doing: &str) -> StoreError {
    let remedy = fault.remedy();
    StoreError::new(doing, StoreErrorKind::Insecure, fault).with_remedy(remedy)
}

impl Link {
    fn cover(&self) -> Cover {
        match self {
            Self::Own => Cover::Tls { looked: Looked::Connector, until: None },
            #[cfg(feature = "tls")]
            Self::Tls(tls) => {
                let looked = match tls.level {
                    Level::Nothing => Looked::Nobody,
                    Level::Issuer => Looked::Issuer,
                    Level::Host => Looked::Host,
                };
                Cover::Tls { looked, until: tls.sight.lock().until }
            }
        }
    }

    /// What was wrong with a certificate of the server or of the client.
    fn fault(&self, met: &postgres::Error, doing: &str) -> Option<StoreError> {
        match self {
            Self::Own => {
                let _ = (met, doing);
                None
            }
            #[cfg(feature = "tls")]
            Self::Tls(tls) => {
                let seen = tls.sight.lock().fault.take();
                seen.or_else(|| Fault::met(met)).map(|fault| insecure(fault, doing))
            }
        }
    }
}
