//! `redis://user:password@host:6379/0?namespace=pelton&timeout=10`, taken apart.

use std::time::Duration;

use crate::brokers::unquote::unquote;
use crate::error::BrokerError;

/// What a URL says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Location {
    /// Host and port: of the server, or of its Sentinels.
    pub(super) hosts: Vec<(String, u16)>,
    /// The name by which the Sentinels know the server.
    pub(super) master: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
    /// The first part of all keys.
    pub(super) namespace: String,
    /// How long a call waits for a server that is away.
    pub(super) patience: Duration,
}

const EXAMPLES: &str = "a Redis broker is redis://host:6379/0, redis://user:password@host:6379/0 \
    or redis+sentinel://host:26379,host:26379/master/0, with ?namespace=pelton and \
    ?timeout=10 (seconds to wait for a server that is away)";

impl Location {
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        // The password is nobody's business in an error's text.
        let shown = match (url.find("://"), url.rfind('@')) {
            (Some(start), Some(end)) if start < end => {
                format!("{}://…{}", &url[..start], &url[end..])
            }
            _ => url.to_owned(),
        };
        let bad = |why: &str| BrokerError::Open(format!("{shown:?}: {why}; {EXAMPLES}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("not a URL"))?;
        let sentinel = match scheme {
            "redis" => false,
            "redis+sentinel" => true,
            "rediss" | "rediss+sentinel" => {
                return Err(bad("TLS to Redis is not there yet; put a tunnel before it"));
            }
            _ => return Err(bad("not a Redis URL")),
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let given = |text: &str| (!text.is_empty()).then(|| unquote(text));
        let port = if sentinel { 26379 } else { 6379 };
        let hosts = hosts
            .split(',')
            .map(|host| host_and_port(host, port))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| bad("host and port are not clear"))?;
        if hosts.len() > 1 && !sentinel {
            return Err(bad("one host, unless it is redis+sentinel://"));
        }
        let (master, database) = match (sentinel, path.split_once('/')) {
            (false, _) => (None, path),
            (true, Some((master, database))) => (given(master), database),
            (true, None) => (given(path), ""),
        };
        if sentinel && master.is_none() {
            return Err(bad("the name that the Sentinels know the server by is missing"));
        }
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| bad("the database is a number"))?,
        };
        let mut location = Self {
            hosts,
            master,
            user: given(user),
            password: given(password),
            database,
            namespace: "pelton".into(),
            patience: Duration::from_secs(10),
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("namespace", name)) if !name.is_empty() && !name.contains(['{', '}']) => {
                    location.namespace = unquote(name);
                }
                Some(("timeout", seconds)) => {
                    let seconds = seconds.parse().ok().filter(|s| (0.1..=3600.0).contains(s));
                    let seconds = seconds.ok_or_else(|| bad("a timeout is 0.1 to 3600 seconds"))?;
                    location.patience = Duration::from_secs_f64(seconds);
                }
                _ => return Err(bad(&format!("unknown option {option:?}"))),
            }
        }
        Ok(location)
    }

    /// For people: where it is, without the password.
    pub(super) fn name(&self) -> String {
        let hosts: Vec<_> =
            self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let master = self.master.iter().map(|master| format!("{master} of ")).collect::<String>();
        format!("Redis at {master}{}/{}", hosts.join(","), self.database)
    }
}

fn host_and_port(text: &str, port: u16) -> Option<(String, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { port } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some((host.to_owned(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, port),
    };
    Some((if host.is_empty() { "localhost" } else { host }.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found() {
        let plain = Location::parse("redis://").unwrap();
        assert_eq!((plain.hosts, plain.database), (vec![("localhost".into(), 6379)], 0));
        let full = "redis://me:p%40ss@[::1]:7000/3?namespace=shop&timeout=2.5";
        let full = Location::parse(full).unwrap();
        assert_eq!(full.hosts, [("::1".to_owned(), 7000)]);
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!((full.database, full.namespace.as_str()), (3, "shop"));
        assert_eq!(full.patience, Duration::from_millis(2500));
        let sentinel = Location::parse("redis+sentinel://:pw@a,b:1/main/2").unwrap();
        assert_eq!(sentinel.hosts, [("a".to_owned(), 26379), ("b".to_owned(), 1)]);
        assert_eq!((sentinel.master.as_deref(), sentinel.database), (Some("main"), 2));
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
            "rediss://:secret@a",
        ] {
            let error = Location::parse(url).unwrap_err().to_string();
            assert!(error.contains("redis://host:6379/0") && !error.contains("secret"), "{error}");
        }
    }
}
