//! `redis-server`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Child, free_port, wait_until};
use crate::TemporaryDirectory;

/// A Redis that keeps what it answered through its own death, as a production one should.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    directory: TemporaryDirectory,
    child: Child,
}

impl RedisServer {
    /// A new one.
    #[must_use]
    pub fn start() -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        loop {
            let port = free_port();
            let child = Self::spawn(port, &directory);
            if is_up(port, &child) {
                return Self { port, directory, child };
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has it run a command of words without spaces in them.
    pub fn command(&self, words: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{words}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 1];
        stream.read_exact(&mut answer).unwrap();
        assert_ne!(&answer, b"-", "{words}");
    }

    /// Kills it.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// Starts it again, after `kill`, with the same data at the same port.
    pub fn restart(&mut self) {
        self.child = Self::spawn(self.port, &self.directory);
        assert!(is_up(self.port, &self.child), "redis-server does not start again");
    }

    fn spawn(port: u16, directory: &TemporaryDirectory) -> Child {
        let path = directory.path().to_string_lossy().into_owned();
        let port = port.to_string();
        let arguments = [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--dir",
            &path,
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "no",
            "--daemonize",
            "no",
        ];
        Child::start("redis-server", arguments.iter().map(Into::into).collect(), Vec::new())
    }
}

/// Whether it answers; `false` if it ended, since the port was taken.
fn is_up(port: u16, child: &Child) -> bool {
    let mut up = false;
    wait_until("redis-server", || {
        up = ping(port).unwrap_or(false);
        up || child.has_ended()
    });
    up
}

fn ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
