//! A PostgreSQL for a bench: the one that `READSIDE_TEST_DATABASE_URL` names, or a server of its own, with durable commits.

#[path = "../../tests/common/postgres.rs"]
#[allow(dead_code, clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "the tests use more of it")]
mod fresh;
#[path = "../../tests/common/server.rs"]
#[allow(dead_code, clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "the tests use more of it")]
mod server;

pub(crate) enum Postgres {
    Given(fresh::Database),
    Own(server::Server),
}

impl Postgres {
    pub(crate) fn find() -> Self {
        match std::env::var_os("READSIDE_TEST_DATABASE_URL") {
            Some(_) => Self::Given(fresh::database()),
            None => Self::Own(server::Server::durable()),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Given(database) => database.url().to_owned(),
            Self::Own(server) => server.url(),
        }
    }
}
