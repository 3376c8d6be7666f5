//! Who may read a table, and what is said of it. Nothing of this changes rows, so it may change under the same version.

use super::{MAX_NAME, Table, TableFault};
use crate::error::NameError;
use crate::value::check_text;

/// What a role may do with a read table. Rows are the engine's to write, so there is no right to write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Privilege {
    /// Reading the view that readers use; and the table beneath it, where that is needed for it
    /// ([`Table::tenant_isolation`]).
    Select,
    /// Foreign keys of tables of the service's own to the table beneath the view.
    References,
}

impl Privilege {
    /// The word of PostgreSQL, and in definitions.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::References => "REFERENCES",
        }
    }
}

impl Table {
    /// Says what the table is, for people who look at the read model. On PostgreSQL it is the comment on the table,
    /// and on the view that readers use; SQLite keeps none. It may change under the same version: each set-up brings
    /// it.
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

    /// Lets a role of the database use the table, in every version and build: what it needs of the view that readers use, of
    /// the table beneath, and of their schema. The name is quoted, so that it is the role of exactly this name; `public` means
    /// everybody. The role has to exist. A set-up gives what is missing, and takes away what an earlier definition gave and
    /// this one does not; what people granted by hand stays.
    ///
    /// SQLite has no roles, and passes over it: a person who may read the file reads all of it, with a grant or
    /// without.
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

    /// Has the database show each reader the rows of one tenant alone: that which the reader has named in the setting
    /// `readside.tenant` of its session or transaction. A reader that has named none sees no row. It needs PostgreSQL 15.
    ///
    /// It is row-level security on the tables, which holds through the view that readers use. It does not hold for the owner of
    /// the tables, its members, and roles with `BYPASSRLS`: the role of the engine has to be one of these. A role that reads
    /// needs the right to read the table, too, which [`grant`](Self::grant) gives.
    ///
    /// It guards against a condition that was forgotten, not against SQL of an attacker, who could set the setting as
    /// well. A file of SQLite is refused at set-up, since it could not keep the promise: a person who may read the
    /// file reads all tenants.
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

    /// Each role with what it was given, in words.
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
            // It is another's name, so nothing is reserved.
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
