//! What a server lets a role do.

use super::address::Target;

/// What a server lets a role do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Writes,
    /// The server is a standby: it replays what a primary server writes.
    Standby,
    /// `default_transaction_read_only` is on. This says who set it.
    ReadOnly(Setter),
}

/// Who has set a default of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setter {
    Role,
    Database,
    RoleInDatabase,
    Client,
    Server,
}

impl Access {
    /// Why this role can write nothing. `None` if it can write.
    pub(super) fn why(self) -> Option<&'static str> {
        Some(match self {
            Self::Writes => return None,
            Self::Standby => "this server is a standby, which only reads",
            Self::ReadOnly(Setter::Role) => "default_transaction_read_only is on, set for this role",
            Self::ReadOnly(Setter::Database) => "default_transaction_read_only is on, set for this database",
            Self::ReadOnly(Setter::RoleInDatabase) => {
                "default_transaction_read_only is on, set for this role in this database"
            }
            Self::ReadOnly(Setter::Client) => "default_transaction_read_only is on, set by the connection string",
            Self::ReadOnly(Setter::Server) => "default_transaction_read_only is on, set for the server",
        })
    }

    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Writes => "; connect to the primary server, or see who has set transaction_read_only",
            Self::Standby => "; this server is a standby: connect to the primary server",
            Self::ReadOnly(Setter::Role) => {
                "; default_transaction_read_only is set for this role: connect as a role that may write, or have \
                 ALTER ROLE … RESET default_transaction_read_only run"
            }
            Self::ReadOnly(Setter::Database) => {
                "; default_transaction_read_only is set for this database: connect to another one, or have \
                 ALTER DATABASE … RESET default_transaction_read_only run"
            }
            Self::ReadOnly(Setter::RoleInDatabase) => {
                "; default_transaction_read_only is set for this role in this database: connect as a role that may write, \
                 or have ALTER ROLE … IN DATABASE … RESET default_transaction_read_only run"
            }
            Self::ReadOnly(Setter::Client) => {
                "; default_transaction_read_only is set by `options` of the connection string: leave that out"
            }
            Self::ReadOnly(Setter::Server) => {
                "; default_transaction_read_only is set in the server's configuration: connect to another server, or have \
                 it switched off there"
            }
        }
    }

    pub(super) fn suits(self, target: Target) -> bool {
        match target {
            Target::Any => true,
            Target::ReadWrite => self == Self::Writes,
            Target::ReadOnly => self != Self::Writes,
            Target::Primary => self != Self::Standby,
            Target::Standby | Target::PreferStandby => self == Self::Standby,
        }
    }
}
