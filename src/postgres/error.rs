//! Maps the server's error codes to kinds of errors. Details and hints of the server are left out, because they quote
//! rows.

use std::error::Error as _;

use postgres::Error;
use postgres::error::{DbError, Severity};

use super::access::Access;
use crate::error::{StoreError, StoreErrorKind as Kind};

pub(super) fn store(doing: &str, error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(db) => {
            let code = db.code().code();
            // After the log-in, this code means an object that a statement names, such as a view that cannot be written
            // to.
            let is_named = code == NOT_READY && db.parsed_severity() == Some(Severity::Error);
            let kind = if is_named { Kind::Usage } else { kind(code) };
            let of_pooler = pooler(code, db.message());
            let kind = of_pooler.map_or(kind, |(kind, _)| kind);
            let error = StoreError::new(doing, kind, said(db)).with_code(code);
            match of_pooler.map(|(_, remedy)| remedy).or_else(|| limit(code, db.message())) {
                _ if code == READ_ONLY => error.with_remedy(Access::Writes.remedy()),
                Some(remedy) => error.with_remedy(remedy),
                None => error,
            }
        }
        None if error.source().is_some_and(|source| source.to_string() == "password missing") => {
            let why = "the server asks for a password, and none is known for it";
            StoreError::new(doing, Kind::Denied, why).with_remedy(
                "; give one in the connection string, in a file of passwords (~/.pgpass), or in PGPASSWORD where that is read",
            )
        }
        None => StoreError::new(doing, other_kind(error), words(error)),
    }
}

/// Poolers use a code for protocol violations, or one for internal errors, whatever is wrong. So their text decides.
fn pooler(code: &str, message: &str) -> Option<(Kind, &'static str)> {
    if !matches!(code, "08P01" | "XX000") {
        return None;
    }
    if message.contains("statement pooling mode") {
        return Some((Kind::Unsupported, NO_TRANSACTIONS));
    }
    let denies = [
        "no such user",
        "no such database",
        "authentication failed",
        "login failed",
        "bouncer config error",
        "or user not found",
    ];
    let remedy = "; the pooler says that: check user, password and database, and whether the pooler knows them";
    denies.iter().any(|words| message.contains(words)).then_some((Kind::Denied, remedy))
}

/// What to do about a pooler that gives each statement another session.
pub(super) const NO_TRANSACTIONS: &str = "; have the pooler use pool_mode = transaction or session, or connect past it";

/// Names the limit that ended a statement or a session, or what a connection lacks.
fn limit(code: &str, message: &str) -> Option<&'static str> {
    Some(match code {
        "57014" if message.contains("statement timeout") => {
            "; try again; where statements have to take longer, raise PostgresOptions::statement_timeout"
        }
        // If the server does not speak English, its words do not tell which limit it was.
        "57014" => {
            "; try again; somebody cancelled it (pg_cancel_backend), or it took longer than PostgresOptions::statement_timeout"
        }
        "55P03" => "; somebody else holds it, try again; PostgresOptions::lock_timeout says how long it is waited for",
        "25P03" => {
            "; check the server and the network; the transaction stood idle for longer than \
             PostgresOptions::idle_in_transaction_timeout, or half a lease, or the server's own \
             idle_in_transaction_session_timeout"
        }
        "42P07" => "; something else has this name here: rename that, or choose another database or schema",
        "3D000" => "; check the name of the database, or have its owner make it",
        "25P04" => "; try again; the transaction took longer than transaction_timeout of the server or the role allows",
        _ => return None,
    })
}

/// The server's code for an object that is not in the state that a statement needs. A database is such an object too.
const NOT_READY: &str = "55000";

/// The server's code for a missing right.
const DENIED: &str = "42501";

/// What to do about rights that are missing.
const GRANTED: &str = "; `readside doctor`, run as this role, prints the GRANT statements that running needs; set-up and \
     rebuilds need the owner of the tables";

/// What to do about policies that apply to the role of the engine.
const UNFILTERED: &str = "; row-level security must not hold for the role of the service, and a policy that lets it see all rows \
     does not help: give it BYPASSRLS, or make it the owner of the table, or a member of the owner, without FORCE ROW LEVEL \
     SECURITY; `readside doctor`, run as this role, prints the statements";

/// The server's code for a write in a read-only transaction.
const READ_ONLY: &str = "25006";

/// As [`store`], for statements of a role: the server names the object, and this adds the role and the remedy. If the
/// role may write nothing, this adds the reason.
pub(super) fn of_role(doing: &str, role: Option<&str>, access: Access, error: &Error) -> StoreError {
    let said = |db: &DbError| {
        let message = db.message();
        role.map_or_else(|| message.to_owned(), |role| format!("role {role:?}: {message}"))
    };
    if let Some(db) = error.as_db_error().filter(|db| db.code().code() == DENIED) {
        // The server's words are in its own language. The name of its routine is not.
        let is_filtered = db.routine() == Some("check_enable_rls");
        let remedy = if is_filtered { UNFILTERED } else { GRANTED };
        return StoreError::new(doing, Kind::Denied, said(db)).with_code(DENIED).with_remedy(remedy);
    }
    let error = store(doing, error);
    if error.code() == Some(READ_ONLY) { error.with_remedy(access.remedy()) } else { error }
}

/// An error at COMMIT. Unless the server proves that it rolled back, the outcome is not known: a pooler or proxy may
/// have lost the server's answer and sent its own, and a distributed server may not know the outcome itself.
pub(super) fn commit(doing: &str, error: &Error) -> StoreError {
    let rolled_back = error.as_db_error().is_some_and(|db| {
        let goes_on = matches!(db.parsed_severity(), None | Some(Severity::Error));
        goes_on && proves_roll_back(db.code().code())
    });
    let error = store(doing, error);
    if rolled_back { error } else { error.of_kind(Kind::CommitUnknown) }
}

/// True for errors that come before the commit is written: deferred constraints and triggers, serialization, and lack
/// of space. Errors that may come from elsewhere or later are left out, also those of cancelled statements.
fn proves_roll_back(code: &str) -> bool {
    match code {
        // The session ended, and nobody knows whether the statement was completed.
        "40003" | "25P03" | "25P04" => false,
        "53100" | "53200" | "55P03" => true,
        _ => matches!(code.get(..2).unwrap_or_default(), "21" | "22" | "23" | "25" | "40" | "42" | "44" | "54" | "P0"),
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// It broke.
    Lost,
    /// The server shuts down, or can no longer be written to. Other connections to it are useless too.
    Moved,
}

/// How the connection ends after this error, if the store must give it up.
pub(super) fn end(error: &StoreError) -> Option<End> {
    match (error.code(), error.kind()) {
        (Some("25006" | "57P01" | "57P02" | "57P03"), _) => Some(End::Moved),
        (_, Kind::Connection | Kind::CommitUnknown) => Some(End::Lost),
        _ => None,
    }
}

/// The chain of an error that did not come from the server, such as a refused connection.
pub(super) fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// What the server said, without the values that errors of data quote.
fn said(error: &DbError) -> String {
    let message = error.message();
    // A server that refuses what a session is to begin with quotes it.
    let is_of_session = error.parsed_severity() == Some(Severity::Fatal);
    if is_of_session && matches!(error.code().code(), "42601" | "42704") {
        return "the server refuses what `options` of the connection, or PGOPTIONS, sets".to_owned();
    }
    if error.code().code().starts_with("22") {
        return message.split_once('"').map_or(message, |(before, _)| before.trim_end_matches([':', ' '])).to_owned();
    }
    message.to_owned()
}

fn other_kind(error: &Error) -> Kind {
    let source = error.source();
    let is_io = source.is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some());
    if is_io || error.is_closed() {
        return Kind::Connection;
    }
    let text = error.to_string();
    if text.contains("connect")
        || text.contains("authentication")
        || text.contains("TLS")
        || text.contains("communicating")
    {
        return if text.contains("authentication") { Kind::Denied } else { Kind::Connection };
    }
    if text.contains("serializing") || text.contains("deserializing") { Kind::Data } else { Kind::Usage }
}

fn kind(code: &str) -> Kind {
    match code {
        "40001" | "40P01" => return Kind::Conflict,
        "55P03" | "57014" => return Kind::Timeout,
        "42P01" | "42703" | "3F000" | "42P07" => return Kind::Schema,
        "42501" | "3D000" => return Kind::Denied,
        "25006" => return Kind::ReadOnly,
        "53100" => return Kind::Full,
        "53300" | "25P03" | "25P04" => return Kind::Connection,
        "XX001" | "XX002" => return Kind::Corrupt,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        "08" | "57" => Kind::Connection,
        "21" | "22" | "54" => Kind::Data,
        // Triggers, functions and views with a check refuse rows with these codes too.
        "09" | "23" | "27" | "38" | "39" | "44" | "P0" => Kind::Constraint,
        "28" => Kind::Denied,
        "42" | "25" | "26" | "34" => Kind::Usage,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_into_a_limit_names_its_setting() {
        let statement = "canceling statement due to statement timeout";
        for (code, message, setting) in [
            ("57014", statement, "raise PostgresOptions::statement_timeout"),
            ("57014", "canceling statement due to user request", "pg_cancel_backend"),
            ("55P03", "canceling statement due to lock timeout", "PostgresOptions::lock_timeout"),
            ("25P03", "terminating connection", "PostgresOptions::idle_in_transaction_timeout"),
            ("25P04", "terminating connection", "transaction_timeout"),
            ("3D000", "database \"nodb\" does not exist", "name of the database"),
        ] {
            assert!(limit(code, message).unwrap().contains(setting), "{code}");
        }
        assert_eq!(limit("23505", ""), None);
    }

    // Poolers use these codes for everything.
    #[test]
    fn what_a_pooler_says_is_told_by_its_words() {
        for (code, message, wanted) in [
            ("08P01", "no such database: x", Some(Kind::Denied)),
            ("08P01", "no such user", Some(Kind::Denied)),
            ("08P01", "SASL authentication failed", Some(Kind::Denied)),
            ("08P01", "server login has been failing, try again later (server_login_retry)", None),
            ("08P01", "transaction blocks not allowed in statement pooling mode", Some(Kind::Unsupported)),
            ("08P01", "query_wait_timeout", None),
            ("XX000", "Tenant or user not found", Some(Kind::Denied)),
            ("XX000", "cache lookup failed", None),
            ("22000", "no such user", None),
        ] {
            assert_eq!(pooler(code, message).map(|(kind, _)| kind), wanted, "{message}");
        }
    }

    // Contract: H1: if a statement fails in the same way each time, its event is at fault, and the event blocks
    // nothing for ever.
    #[test]
    fn what_a_statement_meets_each_time_is_its_fault() {
        for code in "21000 22003 23505 23514 27000 38000 39P01 44000 54000 P0001 09000".split(' ') {
            let error = StoreError::new("writing", kind(code), "refused");
            assert!(error.is_statements_fault(), "{code}");
        }
        for code in "40001 55P03 57014 53100 53300 08006 XX000 58030 42501".split(' ') {
            assert!(!StoreError::new("writing", kind(code), "no luck").is_statements_fault(), "{code}");
        }
    }

    // Contract: L6
    #[test]
    fn only_what_proves_a_roll_back_says_that_nothing_was_committed() {
        let proves =
            "40001 40P01 40000 40002 23505 23503 23514 22003 42501 25006 25P02 53100 53200 55P03 P0001 44000 54000";
        for code in proves.split(' ') {
            assert!(proves_roll_back(code), "{code}");
        }
        let unknown = "XX000 XX001 58000 58030 58P01 57P01 57P02 57P03 57P04 57014 57000 08000 08003 08006 08007 08P01 40003 \
                       25P03 25P04 53300 53000 55000 00000 F0000 72000 XXUUU 0A000 26000 é";
        for code in unknown.split(' ').filter(|code| !code.is_empty()) {
            assert!(!proves_roll_back(code), "{code}");
        }
    }

    // Other servers and poolers use these codes although no data is damaged.
    #[test]
    fn only_damage_is_called_damage() {
        for (code, wanted) in [
            ("XX000", Kind::Other),
            ("58000", Kind::Other),
            ("58030", Kind::Other),
            ("58P01", Kind::Other),
            ("XX001", Kind::Corrupt),
            ("XX002", Kind::Corrupt),
        ] {
            assert_eq!(kind(code), wanted, "{code}");
        }
    }

    // Contract: L10
    #[test]
    fn connections_end_by_what_the_server_says() {
        let said = |code| StoreError::new("a test", kind(code), "x").with_code(code);
        for code in ["25006", "57P01", "57P02", "57P03"] {
            assert_eq!(end(&said(code)), Some(End::Moved), "{code}");
        }
        for code in ["08006", "57P04", "57P05", "25P03"] {
            assert_eq!(end(&said(code)), Some(End::Lost), "{code}");
        }
        for code in ["40001", "23505", "57014", "42P01", "XX000"] {
            assert_eq!(end(&said(code)), None, "{code}");
        }
        assert!(Some(End::Moved) > Some(End::Lost));
    }
}
