//! Foreign keys between the tables of one projection.

use super::{Table, owned};

/// A foreign key to the primary key of a table of the same projection, within the instance. By itself rows go when theirs goes.
///
/// The table that it refers to comes before the one that refers, or is the same one. Each version and each build has its own,
/// between its own tables.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let shop = Projection::new("shop", 1)
///     .table(Table::new("customers").column(text("id")).primary_key(["id"]))
///     .table(Table::new("orders").column(text("customer")).column(integer("number")).primary_key(["customer", "number"])
///         .foreign_key(ForeignKey::primary(["customer"]).restrict()))
///     .table(Table::new("lines").column(text("customer")).column(integer("number")).column(integer("line"))
///         .primary_key(["customer", "number", "line"])
///         .foreign_key(ForeignKey::to(["customer", "number"], "orders")))
///     .on_raw("customer", "customer.left", |e| delete([eq("id", e.aggregate_id())]));
/// shop.check()?;
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct ForeignKey {
    pub(crate) columns: Vec<String>,
    /// Plain name of the referenced table; none means the primary one.
    pub(crate) table: Option<String>,
    /// A row that is referred to stays.
    pub(crate) restricts: bool,
}

impl ForeignKey {
    /// A foreign key to the projection's first table, by these columns, in the order of its primary key.
    pub fn primary<const N: usize>(columns: [&str; N]) -> Self {
        Self { columns: owned(&columns), table: None, restricts: false }
    }

    /// A foreign key to another table of the projection, by its name or its suffix.
    pub fn to<const N: usize>(columns: [&str; N], table: &str) -> Self {
        Self { columns: owned(&columns), table: Some(table.to_owned()), restricts: false }
    }

    /// Has a row stay to which another one refers: an event that would delete it fails, with the class `constraint`. It suits
    /// no table that refers to itself.
    pub fn restrict(mut self) -> Self {
        self.restricts = true;
        self
    }
}

impl Table {
    /// Adds a foreign key to the primary key of the projection's first table; rows go when theirs goes.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let phones = Table::suffix("phones")
    ///     .column(text("id"))
    ///     .column(text("phone"))
    ///     .primary_key(["id", "phone"])
    ///     .references_primary(["id"]);
    /// # let _ = phones;
    /// ```
    pub fn references_primary<const N: usize>(self, columns: [&str; N]) -> Self {
        self.foreign_key(ForeignKey::primary(columns))
    }

    /// Adds a foreign key to the primary key of another table of the projection; rows go when theirs goes.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let calls = Table::suffix("calls")
    ///     .column(text("id"))
    ///     .column(text("phone"))
    ///     .column(text("call"))
    ///     .primary_key(["id", "phone", "call"])
    ///     .references(["id", "phone"], "phones");
    /// # let _ = calls;
    /// ```
    pub fn references<const N: usize>(self, columns: [&str; N], table: &str) -> Self {
        self.foreign_key(ForeignKey::to(columns, table))
    }

    /// Adds a foreign key that says more than [`references`](Self::references).
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let orders = Table::suffix("orders")
    ///     .column(text("id"))
    ///     .column(text("customer"))
    ///     .primary_key(["id"])
    ///     .foreign_key(ForeignKey::primary(["customer"]).restrict());
    /// # let _ = orders;
    /// ```
    pub fn foreign_key(mut self, key: ForeignKey) -> Self {
        self.foreign_keys.push(key);
        self
    }
}
