//! Methods that set the fields of a struct of options, so that a new field breaks no caller.

/// Makes a method for each named field, with the field's name. `into` accepts every type that converts into the field's
/// type. `some` is for an optional field; the method takes the value.
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
