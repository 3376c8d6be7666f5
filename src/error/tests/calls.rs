//! Calls: pushes, payloads, decisions, queries, retention, the store, connection strings.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{Cause, Line, lines, many, not_json, odd, store};
use crate::conninfo::Fault;
use crate::db::ImportError;
use crate::error::{
    DecideError, Holder, InvalidEvent, PayloadError, PushError, QueryError, RetentionError, RowFault, SetupError,
    StatementError, StoreError, StoreErrorKind, TextFault,
};
use crate::event::Expected;

type Decide = DecideError<StatementError>;

pub(super) fn lines() -> Vec<Line> {
    let mut all = pushes();
    all.extend(payloads());
    all.extend(queries());
    all.extend(retentions());
    all.extend(stores());
    all.extend(strings());
    all
}

fn tenant() -> String {
    odd("acme")
}

pub(super) fn holder() -> Holder {
    let since = Some(Duration::from_secs(80));
    Holder { pid: 4711, application: odd("billing"), since, state: odd("idle in transaction") }
}

fn conflict() -> PushError {
    let (aggregate_type, aggregate_id) = (odd("user"), odd("u-1"));
    PushError::Conflict { instance: tenant(), aggregate_type, aggregate_id, expected: Expected::New, found: 3 }
}

fn pushes() -> Vec<Line> {
    let (now, aggregate) = (SystemTime::UNIX_EPOCH, || odd("user \"u-1\""));
    let mut all = lines!(PushError:
        Conflict {
            instance: tenant(),
            aggregate_type: odd("user"),
            aggregate_id: odd("u-1"),
            expected: Expected::Version(4),
            found: 3
        } => ["nothing pushed", "user", "\"u-1", "\"acme", "version 4", "version 3", "read it again"],
        UniqueViolation { index: 0, instance: tenant(), constraint: odd("email"), message: odd("it is taken") }
            => ["nothing pushed", "it is taken", "\"email", "\"acme"],
        Busy { instance: tenant(), waited: Duration::from_secs(5), holder: Some(holder()) }
            => ["nothing pushed", "\"acme", "4711", "billing", "idle in transaction", "try again"],
        IndexBusy { waited: Duration::from_secs(5), source: store() }
            => ["nothing pushed", "index of event ids", "5 s", "pause the pushes", "CREATE INDEX CONCURRENTLY"]; caused,
        PushKeyReused { instance: tenant(), key: odd("key-1") } => ["nothing pushed", "\"key-1", "\"acme", "same ones"],
        Invalid { index: 2, field: "event type", source: InvalidEvent::Empty }
            => ["nothing pushed", "event type of event 2"]; of_ours,
        PositionsExhausted { instance: tenant(), head: 9, wanted: 5 } => ["nothing pushed", "\"acme", "position 9"],
        TimeGoesBack { index: 2, instance: tenant(), created_at: now, before: now }
            => ["nothing pushed", "event 2", "\"acme", "in their order"],
        TimeAhead { index: 2, instance: tenant(), created_at: now, now }
            => ["nothing pushed", "event 2", "\"acme", "set the clocks right"],
        IdExists { index: 2, instance: tenant(), id: Uuid::nil() }
            => ["nothing pushed", "event 2", "\"acme", "import each event once"],
        ImportDisturbed { instance: tenant() } => ["nothing pushed", "\"acme", "import it again"],
        InstanceRemoved { instance: tenant() } => ["nothing pushed", "\"acme", "open it again"],
        Transaction { reason: "it only reads" } => ["nothing pushed", "it only reads"],
        Store(store()) => ["reading the log"]; caused,
    );
    all.extend(lines!(InvalidEvent:
        Empty => ["it is empty"],
        OfImport => ["push_imported"],
        NotPositive(0) => ["it is 0", "between 1 and"],
        TooLong { length: 900, limit: 500 } => ["900 bytes", "500 are allowed", "shorten it"],
        Text(TextFault::Nul { at: 7 }) => ["NUL"],
        Serialize(not_json()) => ["could not be serialized"]; caused,
    ));
    all.extend(lines!(Decide:
        Refused(StatementError::UnknownTable { table: odd("balances") }) => ["balances"],
        Contended { tries: 5, source: Box::new(conflict()) }
            => ["nothing pushed", "5 tries", "try again later"]; of_ours,
        Foreign { index: 2, found: odd("order \"o-1\""), wanted: aggregate() }
            => ["nothing pushed", "event 2", "order \"o-1\"", "user \"u-1\"", "by themselves"],
        Fold { aggregate: aggregate(), position: 7, source: Box::new(PayloadError::unfit(Cause)) }
            => ["user \"u-1\"", "position 7"]; caused,
        Read(store()) => ["reading the log"]; caused,
        Push(Box::new(conflict())) => ["nothing pushed"],
    ));
    all
}

fn payloads() -> Vec<Line> {
    lines!(PayloadError:
        Decode {
            event_type: odd("user.added"),
            revision: 2,
            instance: tenant(),
            position: 7,
            wanted: "Added",
            source: not_json(),
        } => ["user.added", "revision 2", "position 7", "\"acme", "fit Added"]; caused,
        Upcast { event_type: odd("user.added"), revision: 1, source: Box::new(Cause) }
            => ["user.added", "revision 1"]; caused,
        Unfit(Box::new(Cause)) => ["the state before it"]; caused,
    )
}

fn queries() -> Vec<Line> {
    let mut all = lines!(QueryError:
        NoInstance => ["the query was not run", "add `instance_id = $instance`"],
        UnexpectedInstance => ["the query was not run", "ask query_as"],
        Text { what: odd("writes") } => ["the query was not run", "writes"],
        NoText { dialect: "SQLite" } => ["the query was not run", "SQLite", "give one"],
        Values { placeholders: 2, values: 1 } => ["the query was not run", "$2", "1 values"],
        Decode { row: 3, column: Some(odd("amount")), wanted: "Balance", source: RowFault(odd("no number")) }
            => ["row 3", "Balance", "\"amount"]; of_ours,
        TooLong { within: Duration::from_secs(30), source: store() } => ["the query was ended", "narrow it"]; caused,
        Store(store()) => ["reading the log"]; caused,
    );
    all.push(Line {
        name: "RowFault".to_owned(),
        error: Box::new(RowFault(odd("no number"))),
        says: vec!["no number"],
        cause: None,
    });
    all
}

fn retentions() -> Vec<Line> {
    let projection = || odd("users");
    let mut all = lines!(RetentionError:
        UnknownInstance { instance: tenant() } => ["\"acme", "see `readside instances`"],
        UnknownEvent { instance: tenant(), position: 7 } => ["\"acme", "position 7"],
        UnknownAggregate { instance: tenant(), aggregate_type: odd("user"), aggregate_id: odd("u-1") }
            => ["\"acme", "user", "\"u-1", "check its type and id"],
        SystemInstance => ["system instance", "cannot be removed"],
        NotRemoved { instance: tenant() } => ["\"acme", "is open"],
        Referred { instance: tenant(), referring: many("own.key"), begun: true, source: Some(Box::new(store())) }
            => ["\"acme", "in part", "own.key0", "more", "delete these rows"]; caused,
        UnknownProjection { projection: projection() } => ["\"users", "readside status"],
        ProjectionRuns { projection: projection(), engines: many("engine") }
            => ["\"users", "engine0", "more", "deploy without it"],
        Dependents { projection: projection(), dependents: many("view") }
            => ["\"users", "view0", "more", "drop or change that"],
        Setup(SetupError::Missing { what: odd("table x") }) => ["table x"],
        Unfinished { instance: tenant() } => ["\"acme", "remove it again"],
        Store(store()) => ["reading the log"]; caused,
    );
    all.extend(lines!(ImportError:
        SystemInstance => ["system instance", "cannot be imported"],
        Exists { instance: tenant(), events: 7 } => ["\"acme", "7 events", "remove the instance first"],
        Retention(RetentionError::SystemInstance) => ["system instance"],
        Push(conflict()) => ["nothing pushed"],
        Store(store()) => ["reading the log"]; caused,
    ));
    all
}

/// Each kind with its remedy, where it has one.
fn stores() -> Vec<Line> {
    use StoreErrorKind as K;
    // A match of all kinds: a new one has to get a line.
    let remedy = |kind: K| match kind {
        K::Connection => "check that the server runs",
        K::CommitUnknown => "read before repeating",
        K::Timeout | K::Conflict => "try again",
        K::Denied => "check user, password and privileges",
        K::Insecure => "check what the server's log says of TLS",
        K::ReadOnly => "open it with write access",
        K::Full => "free some space",
        K::CannotOpen => "check that its folder exists",
        K::Replaced => "put the file back",
        K::Corrupt => "restore it from a backup",
        K::Diverged => "it is read again",
        K::Schema => "run setup()",
        // Their causes say it.
        K::Constraint | K::Data | K::Version | K::Unsupported | K::Usage | K::Other => "",
    };
    let kinds = [
        K::Connection,
        K::CommitUnknown,
        K::Timeout,
        K::Conflict,
        K::Constraint,
        K::Data,
        K::Denied,
        K::Insecure,
        K::ReadOnly,
        K::Full,
        K::CannotOpen,
        K::Replaced,
        K::Corrupt,
        K::Diverged,
        K::Schema,
        K::Version,
        K::Unsupported,
        K::Usage,
        K::Other,
    ];
    let line = |kind| Line {
        name: format!("StoreError of {kind:?}"),
        error: Box::new(StoreError::new(odd("reading /tmp/x"), kind, Cause).with_code(odd("42P01"))),
        says: vec!["reading /tmp/x", "failed (42P01", remedy(kind)],
        cause: Some("caused"),
    };
    kinds.into_iter().map(line).collect()
}

fn strings() -> Vec<Line> {
    lines!(Fault:
        Scheme => ["postgres://"],
        NoScheme => ["postgres://"],
        Words => ["keyword=value"],
        Neither => ["keyword=value"],
        At => ["write %40"],
        Percent => ["write %25"],
        Nul => ["NUL"],
        NotUtf8("host") => ["`host`", "UTF-8"],
        Bracket => ["IPv6"],
        Parameter(2) => ["parameter 2", "write %3D"],
        NoEquals(2) => ["keyword 2", "single quotes"],
        Quote("password") => ["`password`", "write \\'"],
        Unknown(2) => ["keyword 2"],
        Near(2, "host") => ["keyword 2", "`host`"],
        Value("port", "a number") => ["`port`", "a number"],
        Count("port", 3) => ["`port`", "3"],
        Nested("dbname") => ["`dbname`"],
        Tls("sslmode") => ["`sslmode`", "PostgresOptions::connector"],
        Weak("sslrootcert", "verify-full") => ["`sslrootcert`", "verify-full"],
        Service => ["`service`", ".pg_service.conf unless PGSERVICEFILE"],
        ServiceFile("a file") => ["a file", "cannot be read"],
        ServiceLine("a file", 7) => ["line 7 of a file", "keyword=value"],
        Unsupported("gssencmode", "use TLS") => ["`gssencmode`", "use TLS"],
    )
}
