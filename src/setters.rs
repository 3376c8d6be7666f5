//! Methods that set the fields of a struct of options, so that a new field breaks no caller.

/// A method for each field that is named, by the field's name. `into`: from whatever turns into the type. `some`: for a
/// field that may be missing; the method says what it is.
macro_rules! setters {
    ($type:ident: $($field:ident: $how:ident $kind:ty),* $(,)?) => {
        impl $type {
            $(crate::setters::setters!(@ $field: $how $kind);)*
        }
    };
    (@ $field:ident: set $kind:ty) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use = "it returns the changed options"]
        pub fn $field(mut self, $field: $kind) -> Self {
            self.$field = $field;
            self
        }
    };
    (@ $field:ident: into $kind:ty) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use = "it returns the changed options"]
        pub fn $field(mut self, $field: impl Into<$kind>) -> Self {
            self.$field = $field.into();
            self
        }
    };
    (@ $field:ident: some $kind:ty) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use = "it returns the changed options"]
        pub fn $field(mut self, $field: impl Into<$kind>) -> Self {
            self.$field = Some($field.into());
            self
        }
    };
}

pub(crate) use setters;
