//! PgBouncer in transaction mode, in front of the server that the tests use.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use readside::postgres_driver::config::Host;
use readside::postgres_driver::{Client, Config, NoTls};

use super::server::{run_as, user};

/// A test's own pooler. Each transaction gets any free session of the server.
#[derive(Debug)]
pub(crate) struct Pooler {
    folder: tempfile::TempDir,
    url: String,
    process: Child,
}

impl Pooler {
    /// A pooler in front of the database that a URL names.
    pub(crate) fn before(url: &str) -> Self {
        Self::in_mode("transaction", url)
    }

    /// As [`before`](Self::before), in another pool mode.
    pub(crate) fn in_mode(mode: &str, url: &str) -> Self {
        let (folder, user) = (tempfile::tempdir().unwrap(), user());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = folder.path().join("pgbouncer.ini");
        let (database, line) = target(url);
        // With `any`, the pooler ignores the client's user. All sessions are those of the user named here. It asks a
        // server that was away again after one second, not after 15.
        std::fs::write(
            &settings,
            format!(
                "[databases]\n{line}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = any\npool_mode = {mode}\nserver_login_retry = 1\nlogfile = pooler.log\n"
            ),
        )
        .unwrap();
        if let Some((uid, gid)) = user {
            std::fs::set_permissions(&settings, PermissionsExt::from_mode(0o644)).unwrap();
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let mut command = run_as(user, &binary());
        command.current_dir(&folder).arg("pgbouncer.ini").stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        let pooler = Self { url: format!("postgres://tester@127.0.0.1:{port}/{database}"), folder, process };
        let deadline = Instant::now() + Duration::from_mins(1);
        while Client::connect(&pooler.url, NoTls).is_err() {
            assert!(Instant::now() < deadline, "the pooler does not answer:\n{}", pooler.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }

    /// The URL of the database through this pooler.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pooler.log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The name of the database, and the line that says where the pooler finds it.
fn target(url: &str) -> (String, String) {
    let config: Config = url.parse().unwrap();
    let host = match &config.get_hosts()[0] {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let database = config.get_dbname().unwrap().to_owned();
    let port = config.get_ports().first().unwrap_or(&5432);
    let password = config
        .get_password()
        .map_or(String::new(), |word| format!(" password='{}'", String::from_utf8_lossy(word).replace('\'', "''")));
    let user = config.get_user().unwrap();
    (database.clone(), format!("{database} = host={host} port={port} dbname={database} user={user}{password}"))
}

fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.exists()).unwrap_or_else(|| {
        panic!("there is no PgBouncer here: install the package pgbouncer, as tests/run does where it can")
    })
}
