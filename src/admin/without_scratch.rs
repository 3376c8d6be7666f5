//! Without SQLite there is no database in which to apply events again. The compiler says so to a caller that needs one.

use crate::command::ExplainRequest;
use crate::engine::Engine;
use crate::failure::By;
use crate::sealed::Sealed;

/// No type implements this trait. It carries the compiler's message.
#[diagnostic::on_unimplemented(
    message = "`verify`, `repair` and `explain` apply events again in SQLite, which this build of readside lacks",
    label = "needs the feature `sqlite` of readside",
    note = "add it in Cargo.toml: readside = {{ …, features = [\"sqlite\", …] }}"
)]
pub trait NeedsFeatureSqlite: Sealed {}

/// These methods only tell the caller what is missing.
impl Engine {
    #[doc(hidden)]
    pub fn verify<P: NeedsFeatureSqlite + ?Sized>(&self, _: &P, _: Option<&str>) {}

    #[doc(hidden)]
    pub fn repair<P: NeedsFeatureSqlite + ?Sized>(&self, _: &P, _: Option<&str>, _: &By) {}

    #[doc(hidden)]
    pub fn explain<P: NeedsFeatureSqlite + ?Sized>(&self, _: &P, _: &ExplainRequest) {}
}
