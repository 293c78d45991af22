//! `amqp://user:password@host:5672/vhost?store=sqlite:///jobs.db`, taken apart.

use std::time::Duration;

use crate::brokers::unquote::unquote;
use crate::error::BrokerError;

/// What a URL says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Location {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) vhost: String,
    /// The broker that keeps the records.
    pub(super) store: String,
    /// The first part of the queues' names.
    pub(super) namespace: String,
    /// How long a server may take to answer before the connection counts as lost.
    pub(super) patience: Duration,
    /// Jobs of one queue and band that a worker is sent ahead; `None`: by its concurrency.
    pub(super) prefetch: Option<u16>,
}

const EXAMPLES: &str = "a RabbitMQ broker is amqp://user:password@host:5672/vhost, with \
    ?store=URL (the SQLite, Redis or PostgreSQL broker that keeps the records, its own options \
    percent-encoded), ?namespace=pelton, ?prefetch=16 and ?timeout=3 (seconds that the server \
    may take to answer)";

impl Location {
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        let bad = |why: &str| BrokerError::Open(format!("{:?}: {why}; {EXAMPLES}", shown(url)));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("not a URL"))?;
        match scheme {
            "amqp" => {}
            "amqps" => return Err(bad("TLS to RabbitMQ is not there yet; put a tunnel before it")),
            _ => return Err(bad("not a RabbitMQ URL")),
        }
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, vhost) = match rest.split_once('/') {
            // `amqp://host/` names the vhost of no name to some, and the usual one to most.
            Some((authority, "")) => (authority, "/".to_owned()),
            Some((authority, vhost)) => (authority, unquote(vhost)),
            None => (rest, "/".to_owned()),
        };
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = host_and_port(host).ok_or_else(|| bad("host and port are not clear"))?;
        let or_guest = |text: &str| if text.is_empty() { "guest".into() } else { unquote(text) };
        let mut location = Self {
            host,
            port,
            user: or_guest(user),
            password: or_guest(password),
            vhost,
            store: String::new(),
            namespace: "pelton".into(),
            patience: Duration::from_secs(3),
            prefetch: None,
        };
        if location.vhost.len() > 255 {
            return Err(bad("the name of a vhost has 255 bytes at most"));
        }
        for option in options.split('&').filter(|option| !option.is_empty()) {
            location.set(option).map_err(|why| bad(&why))?;
        }
        if location.store.is_empty() {
            return Err(bad(
                "RabbitMQ hands out jobs, and something must keep their records: say \
                 ?store=sqlite:////path/jobs.db for one machine, ?store=redis://host:6379/0 or \
                 ?store=postgresql://user@host/database for several",
            ));
        }
        Ok(location)
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=') {
            Some(("store", store)) => {
                self.store = unquote(store);
                if self.store.starts_with("amqp") {
                    return Err("a store is a SQLite, Redis or PostgreSQL broker".into());
                }
            }
            Some(("namespace", name)) if is_namespace(name) => self.namespace = name.into(),
            Some(("namespace", _)) => {
                return Err("a namespace is 1 to 64 letters, digits and \"_\"".into());
            }
            Some(("prefetch", count)) => {
                let count = count.parse().ok().filter(|count| *count > 0);
                self.prefetch = Some(count.ok_or("a prefetch is 1 to 65535 jobs")?);
            }
            Some(("timeout", seconds)) => {
                let seconds = seconds.parse().ok().filter(|s| (0.1..=60.0).contains(s));
                let seconds: f64 = seconds.ok_or("a timeout is 0.1 to 60 seconds")?;
                self.patience = Duration::from_secs_f64(seconds);
            }
            _ => return Err(format!("unknown option {:?}", option.split('=').next())),
        }
        Ok(())
    }

    /// For people: where it is, without the password.
    pub(super) fn name(&self) -> String {
        format!("RabbitMQ at {}:{}, vhost {:?}", self.host, self.port, self.vhost)
    }
}

/// The URL as others may see it: passwords, also the store's, are nobody's business.
fn shown(url: &str) -> String {
    let (front, _) = url.split_once('?').unwrap_or((url, ""));
    match (front.find("://"), front.rfind('@')) {
        (Some(start), Some(end)) if start < end => {
            format!("{}://…{}", &front[..start], &front[end..])
        }
        _ => front.to_owned(),
    }
}

fn is_namespace(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    const PORT: u16 = 5672;
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { PORT } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some((host.to_owned(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, PORT),
    };
    Some((if host.is_empty() { "localhost" } else { host }.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found() {
        let url = "amqp://me:p%40ss@[::1]:7000/my%2Fhost?store=redis://:x@h/0%3Fnamespace%3Db\
                   &namespace=shop&prefetch=9&timeout=2.5";
        let full = Location::parse(url).unwrap();
        assert_eq!((full.host.as_str(), full.port), ("::1", 7000));
        assert_eq!((full.user.as_str(), full.password.as_str()), ("me", "p@ss"));
        assert_eq!((full.vhost.as_str(), full.namespace.as_str()), ("my/host", "shop"));
        assert_eq!(full.store, "redis://:x@h/0?namespace=b");
        assert_eq!((full.prefetch, full.patience), (Some(9), Duration::from_millis(2500)));
        for plain in ["amqp://?store=memory://", "amqp://localhost/?store=memory://"] {
            let plain = Location::parse(plain).unwrap();
            assert_eq!((plain.host.as_str(), plain.port), ("localhost", 5672));
            assert_eq!((plain.user.as_str(), plain.vhost.as_str()), ("guest", "/"));
        }
    }

    #[test]
    fn others_are_refused_without_telling_passwords() {
        for url in [
            "amqp://host",
            "amqp://:secret@host:x?store=memory://",
            "amqps://a:secret@host?store=memory://",
            "amqp://host?store=amqp://a:secret@b",
            "amqp://host?store=redis://:secret@b&colour=red",
            "amqp://host?store=memory://&namespace=a.b",
            "amqp://host?store=memory://&prefetch=0",
            "amqp://host?store=memory://&timeout=never",
        ] {
            let error = Location::parse(url).unwrap_err().to_string();
            assert!(error.contains("amqp://user:password@host:5672"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
