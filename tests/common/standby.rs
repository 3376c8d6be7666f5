//! A streaming standby of a test's server. It can lag, and it can be promoted.

use std::time::{Duration, Instant};

use readside::postgres_driver::Client;

use super::server::Server;

#[derive(Debug)]
pub(crate) struct Standby(Server);

impl Server {
    /// A hot standby of this server, which streams from it.
    pub(crate) fn standby(&self) -> Standby {
        let port = self.port().to_string();
        let arguments = ["-D", "data", "-h", "127.0.0.1", "-p", &port, "-U", "tester", "-R", "-X", "stream"];
        let arguments = [&arguments[..], &["-c", "fast", "--no-sync"]].concat();
        let standby = Standby(Self::start_on("pg_basebackup", &arguments, false));
        standby.catch_up(self);
        standby
    }
}

impl Standby {
    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }

    /// Waits until the standby has replayed everything that the primary has written so far.
    pub(crate) fn catch_up(&self, primary: &Server) {
        let written: String = client(primary).query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).unwrap().get(0);
        self.until("replayed", &format!("SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn"));
    }

    /// Receives nothing from now on. What the primary writes after this is lost when the standby is promoted.
    pub(crate) fn stop_receiving(&self) {
        let mut client = client(&self.0);
        client.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").unwrap();
        client.batch_execute("SELECT pg_reload_conf()").unwrap();
        self.until("stopped receiving", "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)");
    }

    /// Promotes the standby, and waits until it accepts writes.
    pub(crate) fn promote(self) -> Server {
        self.0.control(&["promote", "--wait"]);
        self.until("been promoted", "SELECT NOT pg_is_in_recovery()");
        self.0
    }

    fn until(&self, what: &str, holds: &str) {
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut client = client(&self.0);
        while !client.query_one(holds, &[]).unwrap().get::<_, Option<bool>>(0).unwrap_or(false) {
            assert!(Instant::now() < deadline, "the standby has not {what}:\n{}", self.0.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn client(server: &Server) -> Client {
    server.client().unwrap()
}
