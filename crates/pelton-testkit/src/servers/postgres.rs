//! PostgreSQL.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::child::find;
use super::{Child, free_port, unique_name, wait_until};
use crate::TemporaryDirectory;

/// A PostgreSQL, as Debian's unprivileged user where we are root.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    directory: TemporaryDirectory,
    child: Child,
}

impl PostgresServer {
    /// A new one.
    #[must_use]
    pub fn start() -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        let data = directory.path().join("data");
        let mut initdb = Command::new("setpriv");
        if is_root() {
            run(Command::new("chown").arg("postgres:postgres").arg(directory.path()));
        }
        initdb.args(user()).arg("--").arg(find("initdb")).arg("--pgdata").arg(&data);
        initdb.args(["--username", "pelton", "--no-sync", "--auth", "trust"]);
        initdb.args(["--encoding", "UTF8", "--locale", "C"]).current_dir(directory.path());
        run(&mut initdb);
        loop {
            let port = free_port();
            let child = Self::spawn(port, &directory);
            let mut up = false;
            wait_until("postgres", || {
                up = psql(port, "postgres", "SELECT 1");
                up || child.has_ended()
            });
            if up {
                return Self { port, directory, child };
            }
        }
    }

    /// A new, empty database.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// A new, empty database, by way of another port.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        let name = unique_name();
        let create = format!("CREATE DATABASE {name} STRATEGY file_copy");
        assert!(psql(self.port, "postgres", &create), "{create}");
        format!("postgresql://pelton@127.0.0.1:{port}/{name}")
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a statement in the database of `url`.
    pub fn run(&self, url: &str, sql: &str) {
        let name = url.rsplit('/').next().unwrap_or_default();
        assert!(psql(self.port, name.split('?').next().unwrap_or_default(), sql), "{sql}");
    }

    /// Kills it.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// Starts it again, after `kill`, with the same data at the same port.
    pub fn restart(&mut self) {
        // Its children hold the shared memory until they see that their parent is gone.
        wait_until("postgres to start again", || {
            self.child = Self::spawn(self.port, &self.directory);
            let mut up = false;
            wait_until("postgres", || {
                up = psql(self.port, "postgres", "SELECT 1");
                up || self.child.has_ended()
            });
            up
        });
    }

    fn spawn(port: u16, directory: &TemporaryDirectory) -> Child {
        let data = directory.path().join("data");
        let port = format!("--port={port}");
        let mut arguments = vec!["-D".into(), data.into()];
        for setting in [
            port.as_str(),
            "--listen_addresses=127.0.0.1",
            "--unix_socket_directories=",
            "--fsync=off",
            "--shared_buffers=64MB",
        ] {
            arguments.push(setting.into());
        }
        let settings = user().iter().map(Into::into).collect();
        Child::start("postgres", arguments, settings)
    }
}

fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        let id = Command::new("id").arg("-u").output().unwrap();
        id.stdout == b"0\n"
    })
}

/// What setpriv is told.
fn user() -> &'static [&'static str] {
    if is_root() { &["--reuid=postgres", "--regid=postgres", "--clear-groups"] } else { &[] }
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn psql(port: u16, database: &str, sql: &str) -> bool {
    let port = port.to_string();
    Command::new(find("psql"))
        .args(["-qAtX", "-h", "127.0.0.1", "-p", &port, "-U", "pelton", database, "-c", sql])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
