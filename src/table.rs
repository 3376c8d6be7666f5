//! Tables of a projection, as data: columns, keys, indexes. The engine adds the column `instance_id` as the first one.

mod access;
mod column;
mod foreign_key;
mod index;

pub use self::access::Privilege;
pub use self::column::{
    Column, boolean, bytes, date, decimal, duration, enumeration, float, integer, integer_array, json, text,
    text_array, time, timestamp, uuid, uuid_array,
};
use self::column::{check_default, check_type, is_fixed, size_in_index};
pub use self::foreign_key::ForeignKey;
pub use self::index::Index;
pub(crate) use self::index::{Check, Key, Method};
use crate::dialect::Dialects;
use crate::error::NameError;
pub use crate::value::ColumnType;
use crate::value::Value;

/// The most bytes in a name of PostgreSQL. PostgreSQL silently cuts off a longer one.
pub(crate) const MAX_NAME: usize = 63;

/// The most bytes that the columns of one key or index may take together. An index row of PostgreSQL has room for about
/// 2,700, including the instance and overhead.
const INDEX_ROOM: usize = 2000;

/// The bytes reserved for a column of fixed size.
const FIXED: usize = 16;

/// Values up to this size fit every index, however many columns it has.
const ALWAYS_FITS: usize = INDEX_ROOM / 31;

/// The column that the engine adds to every table, row and condition.
pub(crate) const INSTANCE_COLUMN: &str = "instance_id";

/// A table of a projection.
///
/// The columns of a key, a unique constraint or an index have room for 2,000 bytes together. A column of fixed size
/// takes 16 of them; the others share the rest evenly. An event with a longer value for such a column fails on every
/// database.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let users = Table::new("users")
///     .column(text("id"))
///     .column(text("email").nullable())
///     .primary_key(["id"])
///     .unique(["email"]);
/// let phones = Table::suffix("phones")          // users_phones
///     .column(text("id")).column(text("phone"))
///     .primary_key(["id", "phone"])
///     .references_primary(["id"]);
/// # let _ = (users, phones);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Table {
    pub(crate) name: String,
    pub(crate) is_suffix: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) uniques: Vec<Vec<String>>,
    pub(crate) indexes: Vec<Vec<String>>,
    pub(crate) foreign_keys: Vec<ForeignKey>,
    /// Indexes with more than plain columns.
    pub(crate) more_indexes: Vec<Index>,
    pub(crate) checks: Vec<Check>,
    pub(crate) comment: Option<String>,
    /// Roles, each with its rights.
    pub(crate) grants: Vec<(String, Vec<Privilege>)>,
    /// True when readers see only the tenant that they have named.
    pub(crate) isolated: bool,
}

impl Table {
    /// A table with this name. Readers find it as a view with this name.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_suffix: false,
            columns: Vec::new(),
            primary_key: Vec::new(),
            uniques: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            more_indexes: Vec::new(),
            checks: Vec::new(),
            comment: None,
            grants: Vec::new(),
            isolated: false,
        }
    }

    /// A secondary table, named after the projection's first table with `_` and this suffix.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Projection::new("users", 1)
    ///     .table(Table::new("users").column(text("id")).primary_key(["id"]))
    ///     .table(Table::suffix("phones").column(text("id")).column(text("phone")).primary_key(["id", "phone"]));
    /// assert_eq!(users.tables().len(), 2); // users and users_phones
    /// ```
    pub fn suffix(suffix: impl Into<String>) -> Self {
        Self { is_suffix: true, ..Self::new(suffix) }
    }

    /// Adds a column.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(integer("age")).primary_key(["id"]);
    /// # let _ = users;
    /// ```
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// Sets the primary key, within the instance. Required.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let members = Table::new("members").column(text("group")).column(text("user")).primary_key(["group", "user"]);
    /// # let _ = members;
    /// ```
    pub fn primary_key<const N: usize>(mut self, columns: [&str; N]) -> Self {
        self.primary_key = owned(&columns);
        self
    }

    /// Adds a unique constraint, within the instance.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(text("email")).primary_key(["id"]).unique(["email"]);
    /// # let _ = users;
    /// ```
    pub fn unique<const N: usize>(mut self, columns: [&str; N]) -> Self {
        self.uniques.push(owned(&columns));
        self
    }

    /// Adds an index, within the instance.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users").column(text("id")).column(text("city")).primary_key(["id"]).index(["city"]);
    /// # let _ = users;
    /// ```
    pub fn index<const N: usize>(mut self, columns: [&str; N]) -> Self {
        self.indexes.push(owned(&columns));
        self
    }

    /// Adds an index with more than plain columns.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let users = Table::new("users")
    ///     .column(text("id"))
    ///     .column(text("email"))
    ///     .primary_key(["id"])
    ///     .index_by(Index::new("by_email").expression("lower(email)"));
    /// # let _ = users;
    /// ```
    pub fn index_by(mut self, index: Index) -> Self {
        self.more_indexes.push(index);
        self
    }

    /// Requires each row to meet a condition on its columns. An event that would violate it fails with the class
    /// `constraint`. The error shows the name.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let stock = Table::new("stock")
    ///     .column(text("id"))
    ///     .column(integer("pieces").default(0))
    ///     .primary_key(["id"])
    ///     .demand("not_negative", "pieces >= 0");
    /// # let _ = stock;
    /// ```
    pub fn demand(mut self, name: impl Into<String>, sql: impl Into<Dialects>) -> Self {
        self.checks.push(Check { name: name.into(), sql: sql.into() });
        self
    }

    /// The most bytes that a value of the column may take. `None` when no index, key or unique constraint has the
    /// column. Columns of variable size share the room evenly, so whether a value fits does not depend on the other
    /// values of its row.
    pub(crate) fn room(&self, column: &str) -> Option<usize> {
        let foreign = self.foreign_keys.iter().map(|key| &key.columns);
        let more: Vec<Vec<String>> = self.sorted_columns().collect();
        let lists =
            std::iter::once(&self.primary_key).chain(&self.uniques).chain(&self.indexes).chain(foreign).chain(&more);
        let room = |columns: Vec<String>| {
            let is_fixed = |name: &&String| self.find(name).is_some_and(|column| is_fixed(column.kind));
            let fixed = columns.iter().filter(is_fixed).count();
            INDEX_ROOM.saturating_sub(fixed * FIXED) / (columns.len() - fixed).max(1)
        };
        let lists = lists.map(|columns| self.written_for(columns));
        lists.filter(|columns| columns.iter().any(|name| name == column)).map(room).min()
    }

    /// The columns that statements write for these: for a generated column, the columns from which it is computed.
    fn written_for(&self, columns: &[String]) -> Vec<String> {
        let mut written: Vec<String> = Vec::with_capacity(columns.len());
        for name in columns {
            let generated = self.find(name).filter(|column| !is_fixed(column.kind)).and_then(|column| column.generated);
            let sources: Vec<&String> = match generated {
                None => vec![name],
                Some(sql) => {
                    let is_source = |of: &&String| index::each(sql).any(|text| index::mentions(text, of));
                    self.columns.iter().map(|column| &column.name).filter(is_source).collect()
                }
            };
            for source in sources {
                if !written.contains(source) {
                    written.push(source.clone());
                }
            }
        }
        written
    }

    /// The columns that statements may write.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.generated.is_none())
    }

    /// True when a unique constraint has a column whose value only the database computes.
    pub(crate) fn has_generated_unique(&self) -> bool {
        self.uniques.iter().flatten().any(|name| self.find(name).is_some_and(|column| column.generated.is_some()))
    }

    /// The columns of indexes whose entries are rows rather than items.
    fn sorted_columns(&self) -> impl Iterator<Item = Vec<String>> {
        self.more_indexes.iter().filter(|index| index.method == Method::Tree).map(|index| index.columns(self))
    }

    /// The groups of columns that share an index, one group for each index.
    pub(crate) fn indexed_columns(&self) -> impl Iterator<Item = Vec<String>> {
        let more = self.more_indexes.iter().map(|index| index.columns(self));
        self.indexes.iter().cloned().chain(more).map(|columns| self.written_for(&columns))
    }

    /// True when the database computes something for each written row, which may fail.
    pub(crate) fn computes(&self) -> bool {
        let is_generated = |column: &Column| column.generated.is_some();
        !self.checks.is_empty()
            || self.more_indexes.iter().any(Index::computes)
            || self.columns.iter().any(is_generated)
    }

    /// Refuses a value that an index of the table could not hold. The error has its size and the limit.
    pub(crate) fn check_room(&self, column: &Column, value: &Value) -> Result<(), (usize, usize)> {
        let size = size_in_index(value);
        if size <= ALWAYS_FITS {
            return Ok(());
        }
        match self.room(&column.name).filter(|room| size > *room) {
            Some(room) => Err((size, room)),
            None => Ok(()),
        }
    }

    /// The column of this name.
    pub(crate) fn find(&self, column: &str) -> Option<&Column> {
        self.columns.iter().find(|candidate| candidate.name == column)
    }

    /// True when these columns (in any order) are the primary key or a unique constraint.
    pub(crate) fn is_unique<C: AsRef<str>>(&self, columns: &[C]) -> bool {
        let named = |column: &String| columns.iter().any(|name| name.as_ref() == column);
        std::iter::once(&self.primary_key)
            .chain(&self.uniques)
            .any(|unique| unique.len() == columns.len() && unique.iter().all(named))
    }

    /// Finds faults of the table that need no other table.
    pub(crate) fn check(&self) -> Result<(), TableFault> {
        let mut seen: Vec<String> = vec![INSTANCE_COLUMN.to_owned()];
        for column in &self.columns {
            check_name("column", &column.name, 0)?;
            let lower = column.name.to_ascii_lowercase();
            if lower == INSTANCE_COLUMN {
                let why = "the engine adds it itself";
                return Err(NameError::Reserved { what: "column", name: column.name.clone(), why }.into());
            }
            if seen.contains(&lower) {
                return Err(NameError::Duplicate { what: "column", name: column.name.clone() }.into());
            }
            seen.push(lower);
            check_type(column)?;
            check_default(column)?;
            column.check_generated(self)?;
        }
        self.check_keys()?;
        self.check_access()?;
        self.check_names()?;
        self.more_indexes.iter().try_for_each(|index| index.check(self))?;
        self.checks.iter().try_for_each(Check::check)
    }

    fn check_names(&self) -> Result<(), TableFault> {
        let indexes: Vec<&String> = self.more_indexes.iter().map(|index| &index.name).collect();
        let checks: Vec<&String> = self.checks.iter().map(|check| &check.name).collect();
        for (what, names) in [("index", indexes), ("check", checks)] {
            for (at, name) in names.iter().enumerate() {
                if names.iter().take(at).any(|other| other.eq_ignore_ascii_case(name)) {
                    return Err(NameError::Duplicate { what, name: (*name).clone() }.into());
                }
            }
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), TableFault> {
        if self.primary_key.is_empty() {
            return Err(TableFault::What("has no primary key".to_owned()));
        }
        let foreign = self.foreign_keys.iter().map(|key| &key.columns);
        let lists = std::iter::once(&self.primary_key).chain(&self.uniques).chain(&self.indexes).chain(foreign);
        for list in lists {
            if list.is_empty() {
                return Err(TableFault::What("has a key or index without columns".to_owned()));
            }
            for (at, column) in list.iter().enumerate() {
                if self.find(column).is_none() {
                    return Err(TableFault::What(format!(
                        "has a key or index on column {column:?}, which it does not have"
                    )));
                }
                if list.iter().take(at).any(|other| other == column) {
                    return Err(TableFault::What(format!("names column {column:?} twice in one key or index")));
                }
            }
        }
        if let Some(column) = self.primary_key.iter().filter_map(|name| self.find(name)).find(|column| column.nullable)
        {
            return Err(TableFault::What(format!("has the nullable column {:?} in its primary key", column.name)));
        }
        // One database compares documents by meaning, the other one by text.
        let unique = std::iter::once(&self.primary_key).chain(&self.uniques).flatten();
        if let Some(column) = unique.filter_map(|name| self.find(name)).find(|column| column.kind == ColumnType::Json) {
            return Err(TableFault::What(format!(
                "has the JSON column {:?} in a key, and whether two documents are one key differs between databases; let \
                 columns of other types tell its rows apart, and raise the version where it was set up so",
                column.name
            )));
        }
        Ok(())
    }
}

/// What is wrong with a table.
#[derive(Debug)]
pub(crate) enum TableFault {
    Name(NameError),
    What(String),
}

impl From<NameError> for TableFault {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

fn owned(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|&column| column.to_owned()).collect()
}

/// Checks a name that becomes a quoted identifier after the engine has added `extra` bytes to it.
pub(crate) fn check_name(what: &'static str, name: &str, extra: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    // This looks at ASCII bytes first, because the names in statements are checked for each event.
    let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain && name.chars().any(char::is_control) {
        return Err(NameError::Control { what, name: name.to_owned() });
    }
    let length = name.len() + extra;
    if length > MAX_NAME {
        return Err(NameError::TooLong { what, name: name.to_owned(), length, limit: MAX_NAME });
    }
    let begins = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    for (prefix, why) in [
        ("sqlite_", "SQLite keeps names that begin with sqlite_"),
        ("pg_", "PostgreSQL keeps names that begin with pg_"),
        ("readside_", "the engine keeps names that begin with readside_"),
    ] {
        if what != "column" && begins(prefix) {
            return Err(NameError::Reserved { what, name: name.to_owned(), why });
        }
    }
    Ok(())
}
