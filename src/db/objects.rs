//! What people add to the tables of a read model: indexes, policies, triggers, views, foreign keys, and so on.
//!
//! A build that takes the live one's place gets what the live tables have beyond their definition. Objects that depend
//! on these tables move with them. The [`Catalogue`] of each database says what exists and which statements move it.

use super::Conn;
use super::declared::{Declared, Piece, Structure, Worn};
pub(crate) use super::relation::Relation;
use crate::error::StoreError;

/// Indexes that are part of a table's definition, by their columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    pub(crate) indexes: Vec<Vec<String>>,
    pub(crate) uniques: Vec<Vec<String>>,
}

/// A table that readers see, and the one that takes its place.
#[derive(Debug)]
pub struct TablePair {
    pub(crate) old: Relation,
    pub(crate) new: Relation,
    /// The indexes that the definition of the old table brings.
    pub(crate) own: Own,
    /// All tables of the build that readers see, and their views.
    pub(crate) tables: Vec<Relation>,
    pub(crate) views: Vec<Relation>,
    /// True if both are of one version: then the new table takes over the name.
    pub(crate) within: bool,
}

/// Statements that bring one thing over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// In words.
    pub(crate) what: String,
    /// True if the work must not go on without it, unless a person accepts that.
    pub(crate) guards: bool,
    pub(crate) sql: String,
    /// The statement that runs right after it, and removes it from the old table.
    pub(crate) then: String,
    /// True if the first statements touch only the new table, so that they can be tried while the old one is in use.
    pub(crate) alone: bool,
}

/// An object that depends on a table, and would be dropped or left behind with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependent {
    /// In words, with its name.
    pub(crate) what: String,
    /// True if it can be moved to a table of the same form.
    pub(crate) moves: bool,
}

/// A foreign key by which rows of another table refer to those of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// In words, with its name.
    pub(crate) what: String,
    /// The place of the table that it refers to, among the tables that the question named.
    pub(crate) to: usize,
    /// The table that refers, ready for SQL.
    pub(crate) from: String,
    /// Its columns, each with the column that it refers to, ready for SQL.
    pub(crate) columns: Vec<(String, String)>,
    /// True if a row cannot be deleted while another one refers to it. If false, the delete cascades or sets the
    /// reference to NULL.
    pub(crate) refuses: bool,
    /// True if this role may read the rows that refer.
    pub(crate) readable: bool,
}

impl Reference {
    /// A condition: a row of the table that refers, called `r`, refers to a row of this name.
    pub(crate) fn refers_to(&self, row: &str) -> String {
        let same: Vec<String> = self.columns.iter().map(|(own, other)| format!("r.{own} = {row}.{other}")).collect();
        same.join(" AND ")
    }
}

/// What a database knows of the objects on its tables.
pub trait Catalogue {
    /// What the old table has and the new one lacks, and can get before it takes the old one's place. These statements
    /// touch only the new table, and run in this order.
    fn carried(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<Step>, StoreError>;

    /// What moves from the old table to the new one in the switch. The statements use the names from before the switch.
    fn moved(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<Step>, StoreError>;

    /// What moves once the new tables have the names of the old ones. Asked for before that.
    fn following(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<Step>, StoreError>;

    /// What would stay on the old table. True if the work must not go on without it, unless a person accepts that.
    fn staying(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<(String, bool)>, StoreError>;

    /// What a table has, in words, that its definition does not bring and that belongs to none of these tables.
    fn added(
        &self,
        conn: &mut dyn Conn,
        table: &Relation,
        own: &Own,
        tables: &[Relation],
    ) -> Result<Vec<String>, StoreError>;

    /// Statements that lock what `moved` and `following` change in addition to the tables themselves.
    fn locks(&self, conn: &mut dyn Conn, pair: &TablePair) -> Result<Vec<String>, StoreError>;

    /// Objects that depend on these relations, and belong neither to them nor to one of the views.
    fn dependents(
        &self,
        conn: &mut dyn Conn,
        relations: &[Relation],
        views: &[Relation],
    ) -> Result<Vec<Dependent>, StoreError>;

    /// Statements that rename those constraints and indexes of a table that begin with `was`: they begin with `now`
    /// then. Empty if the database never shows these names.
    fn renamed(&self, _: &mut dyn Conn, _table: &Relation, _was: &str, _now: &str) -> Result<Vec<Step>, StoreError> {
        Ok(Vec::new())
    }

    /// What a definition declares for a table besides its rows: comments, grants, who sees which rows. The statements
    /// can run in this order.
    fn pieces(&self, declared: &Declared, worn: Worn<'_>) -> Vec<Piece>;

    /// Indexes and constraints of a table. Of the constraints that check rows, only those with these names.
    fn structure(&self, conn: &mut dyn Conn, table: &Relation, checks: &[String]) -> Result<Structure, StoreError>;

    /// Why this database cannot restrict readers to the rows of their tenant; `None` if it can.
    fn not_isolating(&self, conn: &mut dyn Conn) -> Result<Option<String>, StoreError>;

    /// Foreign keys of other tables that refer to these.
    fn referring(&self, conn: &mut dyn Conn, tables: &[Relation]) -> Result<Vec<Reference>, StoreError>;

    /// The statements that restore what people put on a view, after the view was made again with these columns.
    fn restored(&self, conn: &mut dyn Conn, view: &Relation, columns: &[String]) -> Result<Vec<Step>, StoreError>;

    /// What `restored` cannot restore with these columns.
    fn unfit(&self, conn: &mut dyn Conn, view: &Relation, columns: &[String]) -> Result<Vec<String>, StoreError>;

    /// What the service made and cannot be used as the tables are now, with the reason. `None` if the database cannot
    /// try that out. If it can, a change of tables is tried too, because nobody has to wait for it.
    fn broken(&self, conn: &mut dyn Conn) -> Result<Option<Vec<(String, String)>>, StoreError>;

    /// Runs work that renames tables so that nothing but foreign keys follows them by their new names.
    fn renaming(
        &self,
        conn: &mut dyn Conn,
        work: &mut dyn FnMut(&mut dyn Conn) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        work(conn)
    }
}
