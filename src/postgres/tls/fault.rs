//! Faults of certificates, keys and protected links, with what to do about them.

use std::error::Error;
use std::io;
use std::time::SystemTime;

use rustls::AlertDescription as Alert;

use crate::value::time_text;

/// Faults show no paths, because a path of a connection string may be a part of a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::postgres) enum Fault {
    #[error("the server's certificate has expired: it ended at {}", time_text(*.0))]
    Expired(SystemTime),
    #[error("the server's certificate is not valid yet: it begins at {}", time_text(*.0))]
    NotYet(SystemTime),
    #[error("the server's certificate is not for the host {0:?}; it names {1}")]
    Host(String, String),
    #[error("the server's certificate signs itself, and is not one of those that are trusted here")]
    SelfSigned,
    #[error("no authority that is trusted here issued the server's certificate; its issuer is {0:?}")]
    Issuer(String),
    #[error("the server's certificate was revoked")]
    Revoked,
    #[error("the list of `sslcrl` says nothing of the server's certificate, or is too old")]
    Unlisted,
    #[error("the server's certificate cannot be used: {0}")]
    Unfit(String),
    #[error("the server's certificate is of version 1, which has no extensions")]
    Version1,
    #[error("there is no certificate of an authority in {0}")]
    NoRoots(&'static str),
    #[error("{0} cannot be read: {1}")]
    Unreadable(&'static str, io::ErrorKind),
    #[error("{0} holds none that can be read")]
    Empty(&'static str),
    #[error(
        "there is a certificate for the server, but no key to it: neither `sslkey` nor ~/.postgresql/postgresql.key"
    )]
    NoKey,
    #[error("the key of `sslkey` is locked by a passphrase")]
    Locked,
    #[error("the key of `sslkey` may be read by others than its owner")]
    Open,
    #[error("the certificate of `sslcert` and the key of `sslkey` do not go together: {0}")]
    Unmatched(String),
    #[error("the server refuses the certificate that this client has shown, or that it has shown none ({0:?})")]
    Refused(Alert),
    #[error("the server ended the handshake: {0:?}")]
    Alert(Alert),
    #[error("the two sides have no version of TLS, or no cipher, in common: {0}")]
    Nothing(String),
}

impl Fault {
    /// What to do about the fault. The text begins with `; `.
    pub(in crate::postgres) fn remedy(&self) -> &'static str {
        match self {
            Self::Expired(_) => {
                "; have it renewed on the server, or set the clock of this machine, where that is wrong"
            }
            Self::NotYet(_) => "; set the clocks of this machine and of the one that issued it",
            Self::Host(..) => {
                "; give a name of the certificate as host, and the address as hostaddr; or, where the authority issues \
                 certificates to nobody else, sslmode=verify-ca"
            }
            Self::SelfSigned | Self::Issuer(_) => {
                "; name the file with the certificate of its authority by sslrootcert, or sslrootcert=system for those \
                 that this machine trusts"
            }
            Self::Revoked => "; have a new one issued to the server",
            Self::Unlisted => "; fetch the current list of revoked certificates from the authority",
            Self::Unfit(_) | Self::Version1 => {
                "; have a new one issued, of version 3 and for servers, with the host among its subjectAltName"
            }
            Self::NoRoots(_) => {
                "; put the certificate of the server's authority there, name another file by sslrootcert, or \
                 sslrootcert=system for those that this machine trusts"
            }
            Self::Unreadable(..) | Self::Empty(_) => {
                "; check that the file is there, that this user may read it, and that it holds PEM"
            }
            Self::NoKey => "; name the file of the key by sslkey",
            Self::Locked => "; give a key without a passphrase, in a file that only its owner may read (openssl pkey)",
            Self::Open => "; chmod 600 it, or 640 where root owns it",
            Self::Unmatched(_) => "; name the two files that were made together",
            Self::Refused(_) => {
                "; name by sslcert and sslkey the ones that the server's authority has issued to this user"
            }
            Self::Alert(_) | Self::Nothing(_) => {
                "; see what the server's log says, and ssl_min_protocol_version of both sides"
            }
        }
    }

    /// The fault behind a TLS error, if the certificate was not the cause.
    pub(in crate::postgres) fn met(error: &postgres::Error) -> Option<Self> {
        let met = find(error.source()?)?;
        Some(match met {
            rustls::Error::AlertReceived(alert) => match alert {
                Alert::BadCertificate
                | Alert::NoCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::AccessDenied => Self::Refused(*alert),
                alert => Self::Alert(*alert),
            },
            rustls::Error::PeerIncompatible(why) => Self::Nothing(format!("{why:?}")),
            rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => {
                Self::Nothing("what answers does not speak TLS".to_owned())
            }
            met => Self::Unfit(met.to_string()),
        })
    }
}

/// Finds rustls's error among the causes. An I/O error may wrap it.
fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
