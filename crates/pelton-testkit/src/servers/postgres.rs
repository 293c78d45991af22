//! PostgreSQL.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use postgres::{Client, NoTls};

use super::child::find;
use super::{Child, free_port, unique_name, wait_until};
use crate::TemporaryDirectory;

/// A PostgreSQL, as Debian's unprivileged user where we are root.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    directory: TemporaryDirectory,
    settings: Vec<String>,
    child: Child,
}

impl PostgresServer {
    /// A new one.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Vec::new(), |_| {})
    }

    /// A new one that speaks TLS, with the certificates of `make_certificates` in its directory. A
    /// role `certified` must come with one of that authority.
    #[must_use]
    pub fn start_with_tls() -> Self {
        let settings = ["ssl=on", "ssl_cert_file=../server.pem", "ssl_key_file=../server.key"];
        let settings = settings.into_iter().chain(["ssl_ca_file=../ca.pem"]);
        let server = Self::start_with(settings.map(str::to_owned).collect(), |directory| {
            crate::make_certificates(directory);
            let hba = directory.join("data/pg_hba.conf");
            let rest = std::fs::read_to_string(&hba).unwrap();
            let ours = "hostssl all certified all trust clientcert=verify-ca\n\
                        host all certified all reject\n";
            std::fs::write(&hba, format!("{ours}{rest}")).unwrap();
            if is_root() {
                run(Command::new("chown")
                    .args(["postgres:postgres", "server.key"])
                    .current_dir(directory));
            }
        });
        sql(server.port, "CREATE ROLE certified SUPERUSER LOGIN").unwrap();
        server
    }

    fn start_with(settings: Vec<String>, prepare: impl FnOnce(&Path)) -> Self {
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
        prepare(directory.path());
        loop {
            let port = free_port();
            let child = Self::spawn(port, &directory, &settings);
            let mut up = false;
            wait_until("postgres", || {
                up = sql(port, "SELECT 1").is_ok();
                up || child.has_ended()
            });
            if up {
                return Self { port, directory, settings, child };
            }
        }
    }

    /// A new, empty place: a schema, which takes no time to make, where a database takes a while. The
    /// URL has an option already, so that others are added with `&`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// A new, empty place, by way of another port.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        let name = unique_name();
        sql(self.port, &format!("CREATE SCHEMA {name}")).unwrap();
        format!("postgresql://pelton@127.0.0.1:{port}/postgres?options=-csearch_path%3D{name}")
    }

    /// Where its files are, and its certificates, if it has some.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements in the place that `url` names.
    pub fn run(&self, url: &str, statements: &str) {
        let name = url.split("%3D").nth(1).and_then(|rest| rest.split('&').next());
        let name = name.unwrap_or("public");
        sql(self.port, &format!("SET search_path = {name}; {statements}")).unwrap();
    }

    /// Kills it.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// Starts it again, after `kill`, with the same data at the same port.
    pub fn restart(&mut self) {
        // Its children hold the shared memory until they see that their parent is gone.
        wait_until("postgres to start again", || {
            self.child = Self::spawn(self.port, &self.directory, &self.settings);
            let mut up = false;
            wait_until("postgres", || {
                up = sql(self.port, "SELECT 1").is_ok();
                up || self.child.has_ended()
            });
            up
        });
    }

    fn spawn(port: u16, directory: &TemporaryDirectory, settings: &[String]) -> Child {
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
        arguments.extend(settings.iter().map(|setting| format!("--{setting}").into()));
        let user = user().iter().map(Into::into).collect();
        Child::start("postgres", arguments, user)
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

fn sql(port: u16, statements: &str) -> Result<(), postgres::Error> {
    let url = format!("postgresql://pelton@127.0.0.1:{port}/postgres?connect_timeout=5");
    Client::connect(&url, NoTls)?.batch_execute(statements)
}
