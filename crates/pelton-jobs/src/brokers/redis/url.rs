//! `redis://user:password@host:6379/0?namespace=pelton&timeout=10`, taken apart.

use std::path::PathBuf;
use std::time::Duration;

use crate::brokers::tls::{TlsOptions, Verify};
use crate::brokers::unquote::unquote;
use crate::error::BrokerError;

/// Where a server is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// A host and a port.
    Host(String, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

/// What a URL says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Location {
    /// The server, some of a cluster, or its Sentinels.
    pub(super) places: Vec<Place>,
    /// The name by which the Sentinels know the server.
    pub(super) master: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) sentinel_password: Option<String>,
    pub(super) database: u32,
    /// How to speak TLS, where it is spoken.
    pub(super) tls: Option<TlsOptions>,
    /// The first part of all keys.
    pub(super) namespace: String,
    /// How long a call waits for a server that is away.
    pub(super) patience: Duration,
}

const EXAMPLES: &str = "a Redis broker is redis://host:6379/0, rediss://user:password@host:6379/0 \
    (TLS: ?ssl_ca_certs=, ssl_certfile=, ssl_keyfile=, ssl_cert_reqs=required|none, \
    ssl_check_hostname=true|false), unix:///path/to/socket?db=0, \
    redis+cluster://host:6379,host:6379 or redis+sentinel://host:26379,host:26379/master/0, with \
    ?namespace=pelton and ?timeout=10 (seconds to wait for a server that is away)";

/// What a scheme stands for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    One,
    Cluster,
    Sentinel,
    Socket,
}

impl Location {
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        // The password is nobody's business in an error's text.
        let shown = match (url.find("://"), url.rfind('@')) {
            (Some(start), Some(end)) if start < end => {
                format!("{}://…{}", &url[..start], &url[end..])
            }
            _ => url.to_owned(),
        };
        let shown = shown.split_once("password=").map_or(&shown[..], |(before, _)| before);
        let bad = |why: &str| BrokerError::Open(format!("{shown:?}: {why}; {EXAMPLES}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("not a URL"))?;
        let (kind, tls) = match scheme {
            "redis" => (Kind::One, false),
            "rediss" => (Kind::One, true),
            "redis+cluster" => (Kind::Cluster, false),
            "rediss+cluster" => (Kind::Cluster, true),
            "redis+sentinel" => (Kind::Sentinel, false),
            "rediss+sentinel" => (Kind::Sentinel, true),
            "unix" => (Kind::Socket, false),
            _ => return Err(bad("not a Redis URL")),
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match kind {
            // The path is the socket's: all that comes after the login.
            Kind::Socket => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            _ => rest.split_once('/').unwrap_or((rest, "")),
        };
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(match kind {
            Kind::Socket => (authority, ""),
            _ => ("", authority),
        });
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let mut location = Self {
            places: places(kind, hosts, path).map_err(bad)?,
            master: None,
            user: given(user),
            password: given(password),
            sentinel_password: None,
            database: 0,
            tls: tls.then(TlsOptions::default),
            namespace: "pelton".into(),
            patience: Duration::from_secs(10),
        };
        let database = match (kind, path.split_once('/')) {
            (Kind::Socket, _) => "",
            (Kind::Sentinel, Some((master, database))) => {
                location.master = given(master);
                database
            }
            (Kind::Sentinel, None) => {
                location.master = given(path);
                ""
            }
            _ => path,
        };
        if kind == Kind::Sentinel && location.master.is_none() {
            return Err(bad("the name that the Sentinels know the server by is missing"));
        }
        if !database.is_empty() {
            location.set("db", database).map_err(|why| bad(&why))?;
        }
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            location.set(name, value).map_err(|why| bad(&why))?;
        }
        if kind == Kind::Cluster && location.database != 0 {
            return Err(bad("a cluster has one database only: 0"));
        }
        Ok(location)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, &mut self.tls) {
            ("namespace", _) if !value.is_empty() && !value.contains(['{', '}']) => {
                self.namespace = unquote(value);
            }
            ("timeout", _) => {
                let seconds = value.parse().ok().filter(|s| (0.1..=3600.0).contains(s));
                let seconds = seconds.ok_or("a timeout is 0.1 to 3600 seconds")?;
                self.patience = Duration::from_secs_f64(seconds);
            }
            ("db", _) => self.database = value.parse().map_err(|_| "the database is a number")?,
            ("password", _) => self.password = given(value),
            ("username", _) => self.user = given(value),
            ("sentinel_password", _) => self.sentinel_password = given(value),
            ("ssl_ca_certs", Some(tls)) => tls.authorities = given(value).map(PathBuf::from),
            ("ssl_certfile", Some(tls)) => tls.certificate = given(value).map(PathBuf::from),
            ("ssl_keyfile", Some(tls)) => tls.key = given(value).map(PathBuf::from),
            ("ssl_cert_reqs", Some(tls)) => match value {
                "none" | "CERT_NONE" => tls.verify = Verify::Nothing,
                "required" | "CERT_REQUIRED" => {}
                _ => return Err("ssl_cert_reqs is required or none".into()),
            },
            ("ssl_check_hostname", Some(tls)) => match value {
                "true" | "True" | "1" => {}
                "false" | "False" | "0" if tls.verify == Verify::Nothing => {}
                "false" | "False" | "0" => tls.verify = Verify::Authority,
                _ => return Err("ssl_check_hostname is true or false".into()),
            },
            (ssl, None) if ssl.starts_with("ssl_") => {
                return Err(format!("{ssl} is for rediss://, which speaks TLS"));
            }
            _ => return Err(format!("unknown option {name:?}")),
        }
        Ok(())
    }

    /// For people: where it is, without the password.
    pub(super) fn name(&self) -> String {
        let places: Vec<_> = self
            .places
            .iter()
            .map(|place| match place {
                Place::Host(host, port) => format!("{host}:{port}"),
                Place::Socket(path) => path.display().to_string(),
            })
            .collect();
        let master = self.master.iter().map(|master| format!("{master} of ")).collect::<String>();
        let tls = if self.tls.is_some() { " (TLS)" } else { "" };
        format!("Redis at {master}{}/{}{tls}", places.join(","), self.database)
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| unquote(text))
}

fn places(kind: Kind, hosts: &str, path: &str) -> Result<Vec<Place>, &'static str> {
    if kind == Kind::Socket {
        if path.len() < 2 || !hosts.is_empty() {
            return Err("a Unix socket is an absolute path");
        }
        return Ok(vec![Place::Socket(PathBuf::from(unquote(path)))]);
    }
    let port = if kind == Kind::Sentinel { 26379 } else { 6379 };
    let places = hosts.split(',').map(|host| host_and_port(host, port));
    let places: Vec<_> = places.collect::<Option<_>>().ok_or("host and port are not clear")?;
    if places.len() > 1 && kind == Kind::One {
        return Err("one host, unless it is redis+cluster:// or redis+sentinel://");
    }
    Ok(places)
}

fn host_and_port(text: &str, port: u16) -> Option<Place> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { port } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some(Place::Host(host.to_owned(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, port),
    };
    Some(Place::Host(if host.is_empty() { "localhost" } else { host }.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Place {
        Place::Host(name.into(), port)
    }

    #[test]
    fn every_part_is_found() {
        let plain = Location::parse("redis://").unwrap();
        assert_eq!((plain.places, plain.database), (vec![host("localhost", 6379)], 0));
        let full = "redis://me:p%40ss@[::1]:7000/3?namespace=shop&timeout=2.5";
        let full = Location::parse(full).unwrap();
        assert_eq!(full.places, [host("::1", 7000)]);
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!((full.database, full.namespace.as_str()), (3, "shop"));
        assert_eq!(full.patience, Duration::from_millis(2500));
        let sentinel = Location::parse("redis+sentinel://:pw@a,b:1/main/2").unwrap();
        assert_eq!(sentinel.places, [host("a", 26379), host("b", 1)]);
        assert_eq!((sentinel.master.as_deref(), sentinel.database), (Some("main"), 2));
        let cluster = Location::parse("redis+cluster://a:1,b").unwrap();
        assert_eq!(cluster.places, [host("a", 1), host("b", 6379)]);
        let socket = Location::parse("unix://me:pw@/run/redis.sock?db=2&namespace=x").unwrap();
        assert_eq!(socket.places, [Place::Socket("/run/redis.sock".into())]);
        assert_eq!((socket.user.as_deref(), socket.password.as_deref()), (Some("me"), Some("pw")));
        assert_eq!(socket.database, 2);
    }

    #[test]
    fn tls_is_asked_for_as_in_other_clients() {
        let tls = |options: &str| Location::parse(&format!("rediss://h?{options}")).unwrap().tls;
        assert_eq!(tls(""), Some(TlsOptions::default()));
        let full = tls("ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&ssl_cert_reqs=required");
        let full = full.unwrap();
        assert_eq!(full.authorities, Some("/ca".into()));
        assert_eq!((full.certificate, full.key), (Some("/c".into()), Some("/k".into())));
        assert_eq!(tls("ssl_cert_reqs=none").unwrap().verify, Verify::Nothing);
        assert_eq!(tls("ssl_check_hostname=false").unwrap().verify, Verify::Authority);
    }

    #[test]
    fn others_are_refused_without_telling_the_password() {
        for url in [
            "redis://a,b",
            "redis://:secret@a:x",
            "redis://a/one",
            "redis://a?namespace=",
            "redis://a?namespace={b}",
            "redis://a?timeout=0",
            "redis://:secret@a?colour=red",
            "redis+sentinel://a",
            "redis+cluster://a/1",
            "redis://a?ssl_ca_certs=/ca",
            "rediss://:secret@a?ssl_cert_reqs=perhaps",
            "unix://socket",
            "unix:///socket?password=secret&colour=red",
            "redis://me@a?password=secret&colour=red",
        ] {
            let error = Location::parse(url).unwrap_err().to_string();
            assert!(error.contains("redis://host:6379/0") && !error.contains("secret"), "{error}");
        }
    }
}
