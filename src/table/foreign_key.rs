//! Foreign keys between the tables of one projection.

use super::{Table, owned};

/// A foreign key to the primary key of a table of the same projection, within the instance. By default a row is deleted
/// when the row that it refers to is deleted.
///
/// The referenced table comes before the table with the key, or is the same table. Each version and each build has
/// separate foreign keys between its own tables.
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
    /// Plain name of the referenced table. `None` means the primary one.
    pub(crate) table: Option<String>,
    /// True when a row stays while another row refers to it.
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

    /// Keeps a row while another row refers to it: an event that would delete it fails with the class `constraint`. You
    /// cannot use it for a table that refers to itself.
    pub fn restrict(mut self) -> Self {
        self.restricts = true;
        self
    }
}

impl Table {
    /// Adds a foreign key to the primary key of the projection's first table. A row is deleted with the row that it
    /// refers to.
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

    /// Adds a foreign key to the primary key of another table of the projection. A row is deleted with the row that it
    /// refers to.
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

    /// Adds a foreign key with more options than [`references`](Self::references).
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
