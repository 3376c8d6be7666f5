//! Connection strings, files and variables. Each must lead this library to the same place as `psql`.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use crate::authority::signs_itself;
use crate::common::child::{Child, until_told};
use crate::common::{LONG, eventually};
use crate::secure::{Secure, write};

/// Who is connected, and how.
const WHO: &str = "SELECT usename || '|' || datname || '|' || coalesce(host(client_addr), 'socket') || '|' || ssl \
     || '|' || CASE WHEN application_name IN ('psql', 'readside') THEN '' ELSE application_name END \
     FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE backend_type = 'client backend' AND ";

/// A process that connects with a string and its own environment variables.
#[test]
#[ignore = "run as a process of its own by the test that follows"]
fn connects() {
    let options = readside::PostgresOptions::from_env().connect_timeout(LONG);
    let store = readside::PostgresStore::connect_with(&std::env::var("READSIDE_TEST_STRING").unwrap(), options);
    match &store {
        Ok(_) => println!("is in"),
        Err(error) => println!("is not in: {}", readside::error::chain(error)),
    }
    until_told();
}

/// How this library gets in, or the error.
fn ours(secure: &Secure, text: &str, env: &[(&str, &str)]) -> Result<String, String> {
    let (sender, receiver) = mpsc::channel();
    let mut all = env.to_vec();
    all.push(("READSIDE_TEST_STRING", text));
    let child = Child::start("strings::connects", &all, move |line| {
        if let Some((_, told)) = line.split_once("is ") {
            let _ = sender.send(told.to_owned());
        }
    });
    let told = receiver.recv_timeout(LONG).expect("it tells how it went");
    if told != "in" {
        assert!(!told.contains("zecret"), "{told}");
        return Err(told);
    }
    let mut admin = secure.admin();
    let others = format!("{WHO} pid <> pg_backend_pid()");
    let found: Vec<String> = admin.query(&others, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    child.kill();
    eventually("its end", || admin.query(&others, &[]).unwrap().is_empty());
    assert_eq!(found.len(), 1, "{found:?}");
    Ok(found[0].clone())
}

/// A string, the variables, and how a client gets in with them, if at all.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], Option<&'c str>);

fn psql(secure: &Secure, text: &str, env: &[(&str, &str)]) -> Option<String> {
    let mut psql = Command::new(secure.server.program("psql"));
    psql.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(env.iter().copied());
    let output = psql.args(["-d", text, "-XAtwc", &format!("{WHO} pid = pg_backend_pid()")]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
}

/// All visible ASCII characters, and some others.
fn password() -> String {
    (' '..='~').chain("äß 日本".chars()).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
}

fn escaped(text: &str, letters: &[char]) -> String {
    text.chars().map(|letter| if letters.contains(&letter) { format!("\\{letter}") } else { letter.into() }).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn each_string_leads_where_it_leads_psql() {
    let mut secure = Secure::new(&signs_itself("db", &["localhost"]));
    let word = password();
    let mut admin = secure.admin();
    admin.batch_execute("CREATE DATABASE tester").unwrap();
    admin.batch_execute("CREATE ROLE keyed LOGIN; CREATE ROLE \"ö d\" LOGIN").unwrap();
    admin.batch_execute(&format!("ALTER ROLE keyed PASSWORD '{}'", word.replace('\'', "''"))).unwrap();
    drop(admin);
    let rules =
        "host all keyed 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust";
    secure.rules(rules);
    let homes = tempfile::tempdir().unwrap();
    let home = |name: &str| {
        let home = homes.path().join(name);
        std::fs::create_dir_all(&home).unwrap();
        home
    };
    let port = secure.server.port();
    let (bare, right, open, wrong) = (home("bare"), home("right"), home("open"), home("wrong"));
    let services = format!(
        "# services\n\n[mine]\nhost=127.0.0.1\nport={port}\nuser=tester\ndbname=postgres\nsslmode=disable\n\
         [spaces]\nhost = 127.0.0.1\n[keyed]\nhost=127.0.0.1\nport={port}\nuser=keyed\ndbname=postgres\npassword={word}\n"
    );
    for (home, mode) in [(&right, 0o600), (&open, 0o644)] {
        write(&home.join(".pg_service.conf"), &services, mode);
        let line = escaped(&word, &[':', '\\']);
        let lines = format!("# passwords\nelsewhere:*:*:*:zecret\n127.0.0.1:{port}:postgres:keyed:{line}\n");
        write(&home.join(".pgpass"), &lines, mode);
    }
    write(&wrong.join(".pgpass"), "*:*:*:*:zecret\n", 0o600);
    write(&wrong.join("pg_service.conf"), &services, 0o644);
    let shown = |path: &Path| path.display().to_string();
    let (bare, right, open, wrong) = (shown(&bare), shown(&right), shown(&open), shown(&wrong));
    let (at, socket) = (format!("127.0.0.1:{port}"), shown(&secure.server.socket()));
    let (port_text, pgpass, service_file) =
        (port.to_string(), format!("{right}/.pgpass"), format!("{right}/.pg_service.conf"));
    let quoted = escaped(&word, &['\'', '\\']);
    let plain = "tester|postgres|127.0.0.1|true|";
    let (keyed, unsafe_) = ("keyed|postgres|127.0.0.1|true|", "tester|postgres|127.0.0.1|false|");
    let owner = format!("host=127.0.0.1 port={port} user=keyed dbname=postgres");
    let cases: &[Case<'_>] = &[
        (&format!("postgres://tester@{at}/postgres"), &[], Some(plain)),
        (&format!("postgresql://{at}/postgres?user=tester&application_name=a%20b"), &[], Some(&format!("{plain}a b"))),
        (&format!("host=127.0.0.1 port={port} user=tester dbname=postgres"), &[], Some(plain)),
        (&format!("postgres://{}@{at}/postgres", encoded("ö d")), &[], Some("ö d|postgres|127.0.0.1|true|")),
        // The default database has the user's name.
        (&format!("postgres://tester@{at}"), &[], Some("tester|tester|127.0.0.1|true|")),
        (
            &format!("postgres:///postgres?host={socket}&port={port}&user=tester"),
            &[],
            Some("tester|postgres|socket|false|"),
        ),
        (
            &format!("postgres://tester@{}:{port}/postgres", encoded(&socket)),
            &[],
            Some("tester|postgres|socket|false|"),
        ),
        (&format!("host=nobody.invalid hostaddr=127.0.0.1 port={port} user=tester dbname=postgres"), &[], Some(plain)),
        (&format!("postgres://tester@127.0.0.1:1,{at}/postgres"), &[], Some(plain)),
        (&format!("postgres://tester@{at},{at}/postgres?target_session_attrs=standby"), &[], None),
        (&format!("postgres://tester@{at}/postgres?target_session_attrs=prefer-standby"), &[], Some(plain)),
        (&format!("postgres://tester@{at}/postgres?connect_timeout=soon"), &[], None),
        (&format!("postgres://tester@{at}/postgres?conect_timeout=3"), &[], None),
        (&format!("postgres://tester@{at}/no_such_database"), &[], None),
        // Services.
        ("service=mine", &[("HOME", &right)], Some(unsafe_)),
        ("service=mine sslmode=require", &[("HOME", &right)], Some(plain)),
        ("postgres://%C3%B6%20d@?service=mine", &[("HOME", &right)], Some("ö d|postgres|127.0.0.1|false|")),
        ("postgres://", &[("HOME", &right), ("PGSERVICE", "mine")], Some(unsafe_)),
        ("service=mine", &[("HOME", &right), ("PGSSLMODE", "require")], Some(unsafe_)),
        ("service=mine", &[("HOME", &open)], Some(unsafe_)),
        ("service=keyed", &[("HOME", &open)], Some(keyed)),
        ("service=mine", &[("HOME", &bare)], None),
        ("service=mine", &[("HOME", &bare), ("PGSERVICEFILE", &service_file)], Some(unsafe_)),
        ("service=mine", &[("HOME", &right), ("PGSERVICEFILE", "/no/such/file")], None),
        ("service=mine", &[("HOME", &bare), ("PGSYSCONFDIR", &wrong)], Some(unsafe_)),
        ("service=spaces", &[("HOME", &right)], None),
        ("service=nobodys", &[("HOME", &right)], None),
        // Passwords.
        (&format!("postgres://keyed:{}@{at}/postgres", encoded(&word)), &[], Some(keyed)),
        (&format!("{owner} password='{quoted}'"), &[], Some(keyed)),
        (&owner, &[("PGPASSWORD", &word)], Some(keyed)),
        (&owner, &[("HOME", &right)], Some(keyed)),
        (&owner, &[("HOME", &open)], None),
        (&owner, &[("HOME", &wrong)], None),
        (&owner, &[("HOME", &bare)], None),
        (&owner, &[("HOME", &bare), ("PGPASSFILE", &pgpass)], Some(keyed)),
        (&format!("{owner} passfile={pgpass}"), &[("HOME", &bare)], Some(keyed)),
        (&format!("{owner} passfile=/no/such/file"), &[("HOME", &right)], None),
        (&format!("{owner} password=zecret"), &[("HOME", &right)], None),
        (&owner.replace("127.0.0.1", "localhost"), &[("HOME", &right)], None),
        (&owner.replace("host=", "host=nobody.invalid hostaddr="), &[("HOME", &right)], None),
        (&owner.replace("host=", "hostaddr="), &[("HOME", &right)], Some(keyed)),
        // Variables.
        (
            "postgres://",
            &[("PGHOST", "127.0.0.1"), ("PGPORT", &port_text), ("PGUSER", "tester"), ("PGDATABASE", "postgres")],
            Some(plain),
        ),
        (
            "postgres://tester@/postgres",
            &[("PGHOST", "127.0.0.1,127.0.0.1"), ("PGPORT", &format!("1,{port}"))],
            Some(plain),
        ),
        ("user=tester dbname=postgres", &[("PGHOSTADDR", "127.0.0.1"), ("PGPORT", &port_text)], Some(plain)),
        (
            &format!("postgres://tester@{at}/postgres"),
            &[("PGHOST", "nobody.invalid"), ("PGUSER", "nobody")],
            Some(plain),
        ),
        (
            &format!("postgres://tester@{at}/postgres"),
            &[("PGSSLMODE", "disable"), ("PGAPPNAME", "x")],
            Some(&format!("{unsafe_}x")),
        ),
        (&format!("postgres://tester@{at}/postgres"), &[("PGTARGETSESSIONATTRS", "standby")], None),
        (&format!("postgres://tester@{at}/postgres"), &[("PGSSLMODE", "verify-full"), ("HOME", &bare)], None),
        ("host='' user=tester dbname=postgres", &[("PGHOST", "127.0.0.1"), ("PGPORT", &port_text)], None),
    ];
    for (text, env, wanted) in cases {
        let wanted = wanted.map(str::to_owned);
        assert_eq!(psql(&secure, text, env), wanted, "psql: {text} {env:?}");
        let found = ours(&secure, text, env);
        assert_eq!(found.as_ref().ok(), wanted.as_ref(), "{text} {env:?}: {found:?}");
    }
    // What is wrong is named.
    for (text, env, words) in [
        (&*owner, ("HOME", &*open), "others than its owner may read it: chmod 600"),
        (&owner, ("HOME", &bare), "the server asks for a password, and none is known"),
        ("service=spaces", ("HOME", &right), "line 10 of ~/.pg_service.conf"),
        ("service=mine", ("PGSERVICEFILE", "/no/such/file"), "the file of PGSERVICEFILE"),
        ("service=mine conect_timeout=3", ("HOME", &right), "`connect_timeout` may be meant"),
    ] {
        let told = ours(&secure, text, &[env]).unwrap_err();
        assert!(told.contains(words), "{text}: {told}");
    }
}
