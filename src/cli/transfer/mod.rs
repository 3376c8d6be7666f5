//! An instance as a file: `export` writes it, `import` stores it, `form` says what its lines are.

mod export;
mod form;
mod import;

pub(super) use export::export;
pub(super) use import::import;
