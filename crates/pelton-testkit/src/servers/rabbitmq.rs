//! `rabbitmq-server`.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Child, free_port, unique_name, wait_until};
use crate::TemporaryDirectory;

/// Debian's own script in `PATH` changes to another user and other folders; this is the original.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// A RabbitMQ with its distribution on loopback, and a name server of its own for that.
#[derive(Debug)]
pub struct RabbitServer {
    ports: Ports,
    directory: TemporaryDirectory,
    child: Child,
    _names: Child,
}

/// Where it and its parts listen.
#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    distribution: u16,
    names: u16,
}

impl RabbitServer {
    /// A new one.
    #[must_use]
    pub fn start() -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        std::fs::write(directory.path().join("plugins"), "[].").unwrap();
        // What is written is not what the suite is about: no need to be asked by an alarm.
        let settings = "loopback_users = none\ndisk_free_limit.absolute = 1MB\n";
        std::fs::write(directory.path().join("rabbitmq.conf"), settings).unwrap();
        loop {
            let ports = Ports { amqp: free_port(), distribution: free_port(), names: free_port() };
            let names = Child::start("epmd", epmd(ports), Vec::new());
            // Erlang starts one that stays, where it finds none.
            wait_until("epmd", || {
                names.has_ended() || TcpStream::connect(("127.0.0.1", ports.names)).is_ok()
            });
            let child = spawn(ports, directory.path());
            if is_up(ports.amqp, &child) {
                return Self { ports, directory, child, _names: names };
            }
        }
    }

    /// A namespace of its own, each time, with this broker as its store.
    #[must_use]
    pub fn url(&self, store: &str) -> String {
        Self::url_at(self.ports.amqp, store)
    }

    /// A namespace of its own, by way of another port.
    #[must_use]
    pub fn url_at(port: u16, store: &str) -> String {
        let store = store.replace('%', "%25").replace('&', "%26");
        format!("amqp://127.0.0.1:{port}/?namespace={}&store={store}", unique_name())
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// Has `rabbitmqctl` do something; what it said.
    pub fn control(&self, words: &[&str]) -> String {
        let mut command = Command::new(format!("{SCRIPTS}/rabbitmqctl"));
        command.args(["-q", "-n", &node(self.ports)]).args(words).stdin(Stdio::null());
        for (name, value) in environment(self.ports, self.directory.path()) {
            command.env(name, value);
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Kills it.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// Starts it again, after `kill`, with the same data at the same port.
    pub fn restart(&mut self) {
        self.child = spawn(self.ports, self.directory.path());
        assert!(is_up(self.ports.amqp, &self.child), "rabbitmq-server does not start again");
    }

    /// Starts it again, after `kill`, with nothing in it.
    pub fn restart_empty(&mut self) {
        std::fs::remove_dir_all(self.directory.path().join("mnesia")).unwrap();
        self.restart();
    }
}

fn node(ports: Ports) -> String {
    format!("pelton{}@localhost", ports.amqp)
}

fn environment(ports: Ports, directory: &Path) -> Vec<(&'static str, OsString)> {
    let at = |name: &str| directory.join(name).into_os_string();
    vec![
        ("HOME", directory.into()),
        ("ERL_EPMD_PORT", ports.names.to_string().into()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("RABBITMQ_NODENAME", node(ports).into()),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
        ("RABBITMQ_NODE_PORT", ports.amqp.to_string().into()),
        ("RABBITMQ_DIST_PORT", ports.distribution.to_string().into()),
        ("RABBITMQ_MNESIA_BASE", at("mnesia")),
        ("RABBITMQ_LOG_BASE", at("log")),
        ("RABBITMQ_LOGS", "-".into()),
        ("RABBITMQ_PID_FILE", at("pid")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
        ("RABBITMQ_CONFIG_FILE", at("rabbitmq")),
        ("RABBITMQ_CONF_ENV_FILE", at("none")),
        // Its script becomes the server then, instead of waiting for it.
        ("RABBITMQ_ALLOW_INPUT", "1".into()),
        (
            "RABBITMQ_SERVER_START_ARGS",
            "-noinput -kernel inet_dist_use_interface {127,0,0,1}".into(),
        ),
    ]
}

fn epmd(ports: Ports) -> Vec<OsString> {
    let port = ports.names.to_string();
    ["-port", &port, "-address", "127.0.0.1"].iter().map(Into::into).collect()
}

fn spawn(ports: Ports, directory: &Path) -> Child {
    let mut arguments: Vec<OsString> = Vec::new();
    for (name, value) in environment(ports, directory) {
        let mut setting = OsString::from(name);
        setting.push("=");
        setting.push(value);
        arguments.push(setting);
    }
    arguments.push(format!("{SCRIPTS}/rabbitmq-server").into());
    Child::start("env", arguments, Vec::new())
}

/// Whether it takes connections; `false` if it ended, since a port was taken.
fn is_up(port: u16, child: &Child) -> bool {
    let mut up = false;
    wait_until("rabbitmq-server", || {
        up = greets(port).unwrap_or(false);
        up || child.has_ended()
    });
    up
}

fn greets(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"AMQP\0\0\x09\x01")?;
    let mut answer = [0; 1];
    stream.read_exact(&mut answer)?;
    Ok(answer[0] == 1)
}
