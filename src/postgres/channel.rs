//! How well a link to a server is protected, and what to report about that.

use std::net::IpAddr;
use std::time::SystemTime;

use super::security::{Mode, Security};

/// How well a link to a server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channel {
    /// True if the link does not leave this machine.
    pub(super) is_local: bool,
    pub(super) cover: Cover,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    Plain,
    Tls {
        looked: Looked,
        /// Until when the server's certificate is valid.
        until: Option<SystemTime>,
    },
}

/// How far the server's certificate was checked.
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "without TLS of its own nothing here looks at certificates")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    Nobody,
    Issuer,
    Host,
    /// A custom connector checked it.
    Connector,
}

/// True for a loopback address, and for a socket, which has no address.
pub(super) fn is_local(ip: Option<IpAddr>) -> bool {
    ip.is_none_or(|ip| ip.to_canonical().is_loopback())
}

impl Channel {
    /// The warning for a client that did not ask for better protection. It is logged once.
    pub(super) fn warning(self, security: &Security, speaks_tls: bool) -> Option<&'static str> {
        if self.is_local {
            return None;
        }
        match self.cover {
            Cover::Plain if security.mode == Mode::Disable => None,
            Cover::Plain if !speaks_tls => Some(
                "in plain text, since this build does not speak TLS: build it with the feature `tls` or set \
                 PostgresOptions::connector; sslmode=disable says that it is meant so",
            ),
            Cover::Plain => Some(
                "in plain text, since the server did not take TLS: set sslmode=verify-full, which refuses that; \
                 sslmode=disable says that it is meant so",
            ),
            Cover::Tls { looked: Looked::Nobody, .. } if !security.is_said => Some(
                "by TLS, but nobody has checked whose certificate the server has: set sslmode=verify-full and sslrootcert; \
                 sslmode=require says that it is meant so",
            ),
            Cover::Tls { .. } => None,
        }
    }
}
