//! A new database for each test, on the server that `tests/run` names.

use std::sync::atomic::{AtomicU32, Ordering};

use readside::postgres_driver::{Client, NoTls};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A test's own database. It is dropped with this value.
#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    name: String,
    beside: std::sync::OnceLock<Box<Database>>,
}

impl Database {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL for stores. It leads through the pooler if `tests/run` has started one. A test's own clients use the
    /// server itself, because they prepare statements.
    pub(crate) fn store_url(&self) -> String {
        std::env::var("READSIDE_TEST_POOLER_URL").map_or(self.url.clone(), |pooler| format!("{pooler}/{}", self.name))
    }

    /// The URL of a second database. It is dropped together with this one.
    pub(crate) fn beside(&self) -> &str {
        self.beside.get_or_init(|| Box::new(database())).url()
    }
}

fn server() -> String {
    std::env::var("READSIDE_TEST_DATABASE_URL")
        .expect("READSIDE_TEST_DATABASE_URL is not set: run the tests by tests/run, which finds or starts a PostgreSQL")
}

pub(crate) fn database() -> Database {
    database_like("")
}

/// Creates a database with options.
pub(crate) fn database_like(options: &str) -> Database {
    let server = server();
    let name = format!("readside_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut client = Client::connect(&server, NoTls).expect("the server answers");
    client.batch_execute(&format!("CREATE DATABASE \"{name}\" {options}")).expect("a database is made");
    let (base, _) = server.rsplit_once('/').expect("the URL names a database");
    Database { url: format!("{base}/{name}"), name, beside: std::sync::OnceLock::new() }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Ok(mut client) = Client::connect(&server(), NoTls) {
            let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name));
        }
    }
}
