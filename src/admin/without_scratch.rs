//! Without SQLite there is no place to apply events again. The compiler says so where a caller needs one.

use crate::command::ExplainRequest;
use crate::engine::Engine;
use crate::failure::By;
use crate::sealed::Sealed;

/// Nothing is this: it carries the words of the compiler.
#[diagnostic::on_unimplemented(
    message = "`verify`, `repair` and `explain` apply events again in SQLite, which this build of readside lacks",
    label = "needs the feature `sqlite` of readside",
    note = "add it in Cargo.toml: readside = {{ …, features = [\"sqlite\", …] }}"
)]
pub trait NeedsFeatureSqlite: Sealed {}

/// They only say what is missing.
impl Engine {
    #[doc(hidden)]
    pub fn verify<P: NeedsFeatureSqlite + ?Sized>(&self, _: &P, _: Option<&str>) {}

    #[doc(hidden)]
    pub fn repair<P: NeedsFeatureSqlite + ?Sized>(&self, _: &P, _: Option<&str>, _: &By) {}

    #[doc(hidden)]
    pub fn explain<P: NeedsFeatureSqlite + ?Sized>(&self, _: &P, _: &ExplainRequest) {}
}
