//! A server that speaks TLS, and what the server knows of its links.

use std::path::{Path, PathBuf};
use std::process::Command;

use readside::postgres_driver::{Client, Config, NoTls};

use crate::authority::Issued;
use crate::common::server::Server;

pub(crate) struct Secure {
    pub(crate) server: Server,
    files: tempfile::TempDir,
}

/// How a client got in, or that it did not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum In {
    Plain,
    Tls,
    Not,
}

/// Who may connect over the network. Everybody may connect through the socket.
pub(crate) const ANYHOW: &str = "host all all 127.0.0.1/32 trust";

impl Secure {
    pub(crate) fn new(issued: &Issued) -> Self {
        let mut secure = Self { server: Server::start(), files: tempfile::tempdir().unwrap() };
        secure.show(issued);
        let mut admin = secure.admin();
        for setting in ["ssl = on", "ssl_cert_file = 'own.crt'", "ssl_key_file = 'own.key'"] {
            admin.batch_execute(&format!("ALTER SYSTEM SET {setting}")).unwrap();
        }
        drop(admin);
        secure.rules(ANYHOW);
        secure
    }

    /// A client through the socket, where TLS does not matter.
    pub(crate) fn admin(&self) -> Client {
        let mut config = Config::new();
        config.host_path(self.server.socket()).port(self.server.port()).user("tester").dbname("postgres");
        config.connect(NoTls).unwrap()
    }

    /// Makes the server show this certificate from its next start on.
    pub(crate) fn show(&self, issued: &Issued) {
        self.server.give("own.crt", &issued.certificate);
        self.server.give("own.key", &issued.key);
    }

    /// Allows the clients that these lines name, and restarts the server.
    pub(crate) fn rules(&mut self, lines: &str) {
        self.server.give("pg_hba.conf", &format!("local all all trust\n{lines}\n"));
        self.again();
    }

    /// Restarts the server with its current files.
    pub(crate) fn again(&mut self) {
        self.server.stop();
        self.server.start_again_by(|server| {
            let mut config = Config::new();
            config.host_path(server.socket()).port(server.port()).user("tester").dbname("postgres");
            config.connect(NoTls).is_ok()
        });
    }

    /// A file of the client that only this user may read.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        write(&path, text, 0o600);
        path
    }

    /// `postgres://tester@HOST:PORT/postgres?PARAMETERS`.
    pub(crate) fn url(&self, host: &str, parameters: &str) -> String {
        let (port, and) = (self.server.port(), if parameters.is_empty() { "" } else { "&" });
        format!("postgres://tester:zecret@{host}:{port}/postgres?application_name=looked_at{and}{parameters}")
    }

    /// How this library gets in.
    pub(crate) fn ours(&self, url: &str) -> In {
        let Ok(store) = crate::open(url) else { return In::Not };
        let links = self.links();
        drop(store);
        assert!(!links.is_empty() && links.iter().all(|link| *link == links[0]), "{links:?}");
        if links[0] { In::Tls } else { In::Plain }
    }

    /// For each link under test, whether TLS protects it.
    pub(crate) fn links(&self) -> Vec<bool> {
        let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'looked_at'";
        self.admin().query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// How psql gets in.
    pub(crate) fn psql(&self, url: &str) -> In {
        let mut psql = Command::new(self.server.program("psql"));
        psql.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.files.path());
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let output = psql.args([url, "-XAtwc", sql]).output().expect("psql is installed, with the server");
        match (output.status.success(), output.stdout.as_slice()) {
            (true, b"t\n") => In::Tls,
            (true, b"f\n") => In::Plain,
            (false, _) => In::Not,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}
