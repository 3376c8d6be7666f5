//! An instance as a file: `export` writes it, `import` stores it, and `form` defines its lines.

mod export;
mod form;
mod import;

pub(super) use export::export;
pub(super) use import::import;
