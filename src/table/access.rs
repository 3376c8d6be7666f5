//! Who may read a table, and its comments. Nothing here changes rows, so it may change under the same version.

use super::{MAX_NAME, Table, TableFault};
use crate::error::NameError;
use crate::value::check_text;

/// What a role may do with a read table. Only the engine writes rows, so there is no right to write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Privilege {
    /// The right to read the view that readers use, and the table below it if the view requires that
    /// ([`Table::tenant_isolation`]).
    Select,
    /// The right to refer to the table below the view by foreign keys of the service's tables.
    References,
}

impl Privilege {
    /// The word in PostgreSQL's SQL and in definitions.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::References => "REFERENCES",
        }
    }
}

impl Table {
    /// Describes the table for people who look at the read model. On PostgreSQL it becomes the comment on the table and
    /// on the view that readers use; SQLite keeps no comments. It may change under the same version: each set-up
    /// applies it.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users")
    ///     .column(text("id").comment("The id of the user's aggregate."))
    ///     .primary_key(["id"])
    ///     .comment("Everybody who has an account, erased ones included.");
    /// # let _ = users;
    /// ```
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// Lets a role of the database use the table, in every version and build: it grants what the role needs on the view
    /// that readers use, on the table below it, and on their schema. The name is quoted, so it means the role with
    /// exactly this name; `public` means everybody. The role has to exist. A set-up grants what is missing, and revokes
    /// what an earlier definition granted and this one does not. Rights that people granted by hand stay.
    ///
    /// SQLite has no roles and ignores it: a person who may read the file reads all of it, with or without a grant.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users")
    ///     .column(text("id"))
    ///     .primary_key(["id"])
    ///     .grant("reports", [Privilege::Select]);
    /// # let _ = users;
    /// ```
    pub fn grant(mut self, role: impl Into<String>, privileges: impl IntoIterator<Item = Privilege>) -> Self {
        self.grants.push((role.into(), privileges.into_iter().collect()));
        self
    }

    /// Makes the database show each reader only the rows of one tenant: the tenant that the reader has named in the
    /// setting `readside.tenant` of its session or transaction. A reader that has named none sees no rows. It needs
    /// PostgreSQL 15.
    ///
    /// It is row-level security on the tables, which also applies through the view that readers use. It does not apply
    /// to the owner of the tables, members of the owner, and roles with `BYPASSRLS`; the role of the engine has to be
    /// one of these. A reading role also needs the right to read the table, which [`grant`](Self::grant) gives.
    ///
    /// It protects against a forgotten condition, not against the SQL of an attacker, who could change the setting,
    /// too. Set-up refuses it on SQLite, which could not keep the promise: a person who may read the file reads all
    /// tenants.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users")
    ///     .column(text("id"))
    ///     .column(text("name"))
    ///     .primary_key(["id"])
    ///     .tenant_isolation()
    ///     .grant("website", [Privilege::Select]);
    /// # let _ = users;
    /// // As the role `website`:
    /// //   BEGIN; SELECT set_config('readside.tenant', 'acme', true); SELECT name FROM users; COMMIT;
    /// ```
    pub fn tenant_isolation(mut self) -> Self {
        self.isolated = true;
        self
    }

    /// Each role with its granted rights, in words.
    pub(crate) fn granted(&self) -> Vec<(String, Vec<&'static str>)> {
        let mut all: Vec<(String, Vec<&'static str>)> = Vec::new();
        for (role, privileges) in &self.grants {
            let words = privileges.iter().map(|privilege| privilege.word());
            match all.iter_mut().find(|(known, _)| known == role) {
                Some((_, known)) => known.extend(words),
                None => all.push((role.clone(), words.collect())),
            }
        }
        for (_, words) in &mut all {
            words.sort_unstable();
            words.dedup();
        }
        all.sort_unstable();
        all
    }

    pub(super) fn check_access(&self) -> Result<(), TableFault> {
        let comments = self.columns.iter().filter_map(|column| column.comment.as_ref()).chain(&self.comment);
        for comment in comments {
            check_text(comment).map_err(|fault| TableFault::What(format!("has a comment, but {fault}")))?;
        }
        for (role, privileges) in &self.grants {
            // The name is not the engine's choice, so no name is reserved.
            if role.is_empty() {
                return Err(NameError::Empty { what: "role" }.into());
            }
            if role.chars().any(char::is_control) {
                return Err(NameError::Control { what: "role", name: role.clone() }.into());
            }
            if role.len() > MAX_NAME {
                let (name, length) = (role.clone(), role.len());
                return Err(NameError::TooLong { what: "role", name, length, limit: MAX_NAME }.into());
            }
            if privileges.is_empty() {
                return Err(TableFault::What(format!("grants nothing to role {role:?}")));
            }
        }
        Ok(())
    }
}
