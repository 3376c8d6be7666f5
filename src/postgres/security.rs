//! What a connection string says about TLS, read as libpq 17 does.

use std::path::PathBuf;

use postgres::config::{ChannelBinding, SslMode, SslNegotiation};

use crate::conninfo::{Fault, Parts};

/// How much protection a link needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What the connection string says about TLS.
#[derive(Clone)]
pub(super) struct Security {
    pub(super) mode: Mode,
    /// True if the string names the mode.
    pub(super) is_said: bool,
    pub(super) binding: ChannelBinding,
    /// True if TLS begins without asking the server first.
    is_direct: bool,
    pub(super) papers: Papers,
}

/// Where certificates are, and what the client offers to the server. It never shows paths, because they may be a part
/// of a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Papers {
    pub(super) roots: Roots,
    /// The file of revoked certificates.
    pub(super) revoked: Option<PathBuf>,
    /// True if the client shows no certificate, even if it has one.
    pub(super) has_none: bool,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) tells_host: bool,
    pub(super) versions: Versions,
}

/// Whose certificates are trusted.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// Those in the user's default file, if it exists.
    Usual,
    File(PathBuf),
    /// Those that the operating system trusts.
    System,
}

/// Which versions of TLS are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    Both,
    Only12,
    Only13,
}

/// One attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    Plain,
    /// TLS, or plain text if the server does not support TLS.
    Asked,
    Tls,
}

impl Security {
    /// A custom connector decides what to trust, so the string must not say it.
    pub(super) fn read(parts: &Parts, has_own_connector: bool) -> Result<Self, Fault> {
        let modes = [
            ("disable", Mode::Disable),
            ("allow", Mode::Allow),
            ("prefer", Mode::Prefer),
            ("require", Mode::Require),
            ("verify-ca", Mode::VerifyCa),
            ("verify-full", Mode::VerifyFull),
        ];
        let wanted = "disable, allow, prefer, require, verify-ca or verify-full";
        let said = parts.choice("sslmode", &modes, wanted)?;
        let older = parts.choice("requiressl", &[("0", Mode::Prefer), ("1", Mode::Require)], "0 or 1")?;
        let (said, papers) = (said.or(older), Papers::read(parts)?);
        let mode = said.unwrap_or(match papers.roots {
            Roots::System => Mode::VerifyFull,
            _ if has_own_connector => Mode::Require,
            _ => Mode::Prefer,
        });
        if papers.roots == Roots::System && mode < Mode::VerifyFull {
            return Err(Fault::Weak("sslrootcert=system", "verify-full"));
        }
        let negotiation = [("postgres", false), ("direct", true)];
        let is_direct = parts.choice("sslnegotiation", &negotiation, "postgres or direct")?.unwrap_or_default();
        if is_direct && mode < Mode::Require {
            return Err(Fault::Weak("sslnegotiation=direct", "require, verify-ca or verify-full"));
        }
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        let binding = parts.choice("channel_binding", &bindings, "disable, prefer or require")?;
        let security = Self {
            mode,
            is_said: said.is_some(),
            binding: binding.unwrap_or(ChannelBinding::Prefer),
            is_direct,
            papers,
        };
        if has_own_connector {
            security.papers.ensure_unsaid(parts)?;
        } else if cfg!(not(feature = "tls")) {
            security.ensure_plain(parts)?;
        }
        Ok(security)
    }

    /// Refuses what needs TLS, if the build has no TLS.
    fn ensure_plain(&self, parts: &Parts) -> Result<(), Fault> {
        if self.binding == ChannelBinding::Require {
            return Err(Fault::Tls("channel_binding"));
        }
        if self.mode < Mode::Require {
            return Ok(());
        }
        let why = ["sslmode", "requiressl", "sslrootcert"].into_iter().find(|word| parts.bytes(word).is_some());
        Err(Fault::Tls(why.unwrap_or("sslmode")))
    }

    /// The attempts in order. Each one after the first is made only if the attempts before it failed because of TLS.
    pub(super) fn tries(&self, is_socket: bool, speaks_tls: bool) -> &'static [Try] {
        match self.mode {
            _ if is_socket || !speaks_tls => &[Try::Plain],
            Mode::Disable => &[Try::Plain],
            Mode::Allow => &[Try::Plain, Try::Tls],
            Mode::Prefer => &[Try::Asked, Try::Plain],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[Try::Tls],
        }
    }

    pub(super) fn negotiation(&self) -> SslNegotiation {
        if self.is_direct { SslNegotiation::Direct } else { SslNegotiation::Postgres }
    }
}

impl Try {
    /// The mode for the driver.
    pub(super) fn mode(self) -> SslMode {
        match self {
            Self::Plain => SslMode::Disable,
            Self::Asked => SslMode::Prefer,
            Self::Tls => SslMode::Require,
        }
    }
}

impl Papers {
    fn read(parts: &Parts) -> Result<Self, Fault> {
        let path = |keyword| Ok::<_, Fault>(parts.text(keyword)?.map(PathBuf::from));
        let roots = match parts.text("sslrootcert")? {
            Some("system") => Roots::System,
            Some(path) => Roots::File(path.into()),
            None => Roots::Usual,
        };
        if parts.bytes("sslcrldir").is_some() {
            return Err(Fault::Unsupported("sslcrldir", "name one file by sslcrl"));
        }
        let wanted = "disable or allow; require, which asks the server to ask for a certificate, is not supported";
        let has_none = parts.choice("sslcertmode", &[("disable", true), ("allow", false)], wanted)?;
        let tells_host = parts.choice("sslsni", &[("0", false), ("1", true)], "0 or 1")?;
        let (certificate, key, revoked) = (path("sslcert")?, path("sslkey")?, path("sslcrl")?);
        Ok(Self {
            roots,
            revoked,
            has_none: has_none.unwrap_or_default(),
            certificate,
            key,
            tells_host: tells_host.unwrap_or(true),
            versions: versions(parts)?,
        })
    }

    /// Refuses settings that a custom connector would ignore.
    fn ensure_unsaid(&self, parts: &Parts) -> Result<(), Fault> {
        let words = [
            "sslrootcert",
            "sslcert",
            "sslkey",
            "sslcrl",
            "sslsni",
            "ssl_min_protocol_version",
            "ssl_max_protocol_version",
        ];
        match words.into_iter().find(|word| parts.bytes(word).is_some()) {
            Some(word) => Err(Fault::Unsupported(word, "PostgresOptions::connector decides that")),
            None if self.has_none => Err(Fault::Unsupported("sslcertmode", "PostgresOptions::connector decides that")),
            None => Ok(()),
        }
    }
}

/// The range of allowed versions. Versions older than 1.2 are never used.
fn versions(parts: &Parts) -> Result<Versions, Fault> {
    const WANTED: &str = "TLSv1.2 or TLSv1.3";
    let low = [("TLSv1", 2), ("TLSv1.1", 2), ("TLSv1.2", 2), ("TLSv1.3", 3)];
    let lowest = parts.choice("ssl_min_protocol_version", &low, WANTED)?.unwrap_or(2);
    let highest = parts.choice("ssl_max_protocol_version", &low[2..], WANTED)?.unwrap_or(3);
    match (lowest, highest) {
        (2, 2) => Ok(Versions::Only12),
        (3, 3) => Ok(Versions::Only13),
        (3, _) => Err(Fault::Value("ssl_max_protocol_version", "no lower than ssl_min_protocol_version")),
        _ => Ok(Versions::Both),
    }
}
