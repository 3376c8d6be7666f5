//! What is wrong with a connection string.

/// It holds only words that this code knows, never text of the input, so it cannot show a part of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it does not begin with postgres:// or postgresql:// in small letters")]
    Scheme,
    #[error("it seems to hold a user and a password, but does not begin with postgres://")]
    NoScheme,
    #[error("it seems to hold a password, but neither begins with postgres:// nor consists of keyword=value")]
    Words,
    #[error("it neither begins with postgres:// nor consists of keyword=value")]
    Neither,
    #[error(
        "the host holds an @, the user or password a ? and =, or the name of the database an @ / : , [ or ]: write %40 for an @ of user, password or \
         database, %2F for a /, %3A for a :, %3F for a ? and %2C for a ,"
    )]
    At,
    #[error("a % is not followed by two hexadecimal digits: write %25 for the sign itself")]
    Percent,
    #[error("it holds the character NUL")]
    Nul,
    #[error("the value of `{0}` is not valid UTF-8")]
    NotUtf8(&'static str),
    #[error("the [ of an IPv6 address is not followed by an address, a ] and then the port or the path")]
    Bracket,
    #[error("parameter {0} behind the ? has not exactly one =: write %3D and %26 for an = and an & of a value")]
    Parameter(usize),
    #[error("no = follows keyword {0}: put a value that holds spaces in single quotes")]
    NoEquals(usize),
    #[error(
        "the single quote that begins the value of `{0}` has no end: write \\' for a quote and \\\\ for a backslash in it"
    )]
    Quote(&'static str),
    #[error("keyword {0} is not known")]
    Unknown(usize),
    #[error("keyword {0} is not known; `{1}` may be meant, written in small letters")]
    Near(usize, &'static str),
    #[error("the value of `{0}` does not fit: it has to be {1}")]
    Value(&'static str, &'static str),
    #[error("there are as many `{0}` as hosts, or one for all, but not {1}")]
    Count(&'static str, usize),
    #[error("the value of `{0}` looks like a connection string itself, or like a part of one")]
    Nested(&'static str),
    #[error("`{0}` cannot be kept: this build does not speak TLS, and PostgresOptions::connector is not set")]
    Tls(&'static str),
    #[error("`{0}` needs a stronger sslmode: {1}")]
    Weak(&'static str, &'static str),
    #[error(
        "`service` names one that none of the files of services has: the user's, which is ~/.pg_service.conf unless \
         PGSERVICEFILE or `servicefile` names another, and pg_service.conf of the system"
    )]
    Service,
    #[error("{0}, in which services are looked for, cannot be read")]
    ServiceFile(&'static str),
    #[error("line {1} of {0} is not keyword=value as libpq reads it; a keyword has no spaces around it")]
    ServiceLine(&'static str, usize),
    #[error("`{0}` is not supported here: {1}")]
    Unsupported(&'static str, &'static str),
}

impl Fault {
    /// The fault of a wrong keyword. `place` says which part of the text it is.
    #[cfg(feature = "postgres")]
    pub(super) fn keyword(place: usize, word: &[u8]) -> Self {
        let meant = std::str::from_utf8(word).ok().and_then(super::keyword::nearest);
        meant.map_or(Self::Unknown(place), |meant| Self::Near(place, meant))
    }
}
