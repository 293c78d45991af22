//! Where a PostgreSQL is, and how it is spoken to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};

use super::encrypted::Tls;
use super::fault::{Fault, reason};
use crate::brokers::tls::{TlsOptions, Verify};
use crate::brokers::unquote::unquote;
use crate::error::BrokerError;

/// Every statement of ours has one good plan, by an index; statistics of a young or fast-changing
/// table must not talk the planner out of it. The wait for a lock is bounded, since the thread that
/// waits renews leases, too; it is longer than PostgreSQL waits before it looks for deadlocks.
const SESSION: &str = "SET application_name = 'pelton'; SET enable_seqscan = off; \
    SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
    SET jit = off; SET plan_cache_mode = force_generic_plan; SET client_min_messages = warning; \
    SET default_transaction_isolation = 'read committed'; SET lock_timeout = '2s'";

/// Where the server is, and how long it is waited for.
#[derive(Clone)]
pub(super) struct Location {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
    pub(super) patience: Duration,
    /// For people, without the password.
    pub(super) name: String,
}

impl Location {
    /// A URL of libpq, with `timeout` (seconds to wait for a server that is away) besides.
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        let bad = |why: &str| {
            BrokerError::Open(format!(
                "not a PostgreSQL URL ({why}): postgresql://user:password@host:5432/database, with \
                 ?timeout=10 (seconds to wait for a server that is away), sslmode=, sslrootcert=, \
                 sslcert=, sslkey= and what else libpq knows"
            ))
        };
        let (base, options) = url.split_once('?').unwrap_or((url, ""));
        let mut patience = Duration::from_secs(10);
        let mut ssl = Ssl::default();
        let mut kept = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = unquote(value);
            if name == "timeout" {
                let seconds = value.parse().ok().filter(|s| (0.1..=3600.0).contains(s));
                let seconds = seconds.ok_or_else(|| bad("a timeout is 0.1 to 3600 seconds"))?;
                patience = Duration::from_secs_f64(seconds);
            } else if !ssl.take(name, &value).map_err(|why| bad(&why))? {
                kept.push(option);
            }
        }
        let url =
            if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        let mut config: Config = url.parse().map_err(|error| bad(&reason(&error)))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(patience.min(Duration::from_secs(5)));
        }
        config.tcp_user_timeout(patience);
        if !options.contains("keepalives") {
            // A connection that only listens has nothing unsent: without these it would not notice
            // for hours that its server is gone without a word.
            config.keepalives_idle(Duration::from_secs(5));
            config.keepalives_interval(Duration::from_secs(2));
            config.keepalives_retries(3);
        }
        let hosts = config.get_hosts();
        // An address goes before the host's name, a socket's too: then it is a network all the same.
        let local = config.get_hostaddrs().is_empty()
            && !hosts.is_empty()
            && hosts.iter().all(|host| matches!(host, Host::Unix(_)));
        let tls = ssl.apply(&mut config, local).map_err(|why| bad(&why))?;
        let name = name_of(&config);
        Ok(Self { config, tls, patience, name })
    }

    /// A connection, which lives while `runtime` is driven.
    pub(super) fn connect(&self, runtime: &Runtime) -> Result<Client, Fault> {
        runtime.block_on(async {
            let client = match &self.tls {
                Some(tls) => {
                    let (client, connection) = self.config.connect(Tls(Arc::clone(tls))).await?;
                    // How it ends, those who wait for answers are told.
                    drop(runtime.spawn(async move { drop(connection.await) }));
                    client
                }
                None => {
                    let (client, connection) = self.config.connect(NoTls).await?;
                    drop(runtime.spawn(async move { drop(connection.await) }));
                    client
                }
            };
            client.batch_execute(SESSION).await?;
            Ok(client)
        })
    }

    /// A connection that drives itself while it is asked for what it was told.
    pub(super) fn connect_to_listen(&self) -> Result<postgres::Client, Fault> {
        let config = postgres::Config::from(self.config.clone());
        let mut client = match &self.tls {
            Some(tls) => config.connect(Tls(Arc::clone(tls)))?,
            None => config.connect(NoTls)?,
        };
        client.batch_execute(SESSION)?;
        Ok(client)
    }
}

fn name_of(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    format!(
        "PostgreSQL at {}/{}",
        hosts.join(","),
        config.get_dbname().or(config.get_user()).unwrap_or_default()
    )
}

/// What a URL says of TLS, in libpq's words.
#[derive(Default)]
struct Ssl {
    mode: Option<String>,
    options: TlsOptions,
    /// Whether the system's list of authorities is asked for.
    system: bool,
}

impl Ssl {
    /// Takes an option, if it is one of these.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let file = Some(PathBuf::from(value)).filter(|_| !value.is_empty());
        match name {
            "sslmode" => {
                const KNOWN: [&str; 5] =
                    ["disable", "prefer", "require", "verify-ca", "verify-full"];
                if !KNOWN.contains(&value) {
                    return Err(format!("sslmode is one of {}, not {value:?}", KNOWN.join(", ")));
                }
                self.mode = Some(value.to_owned());
            }
            "sslrootcert" if value == "system" => self.system = true,
            "sslrootcert" => self.options.authorities = file,
            "sslcert" => self.options.certificate = file,
            "sslkey" => self.options.key = file,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// As with libpq, a file of certificates to trust makes `require` check who signed; and since
    /// the system's authorities sign for anybody, with them only a check of the name is one.
    fn apply(
        mut self,
        config: &mut Config,
        local: bool,
    ) -> Result<Option<Arc<ClientConfig>>, String> {
        let usual = if self.system { "verify-full" } else { "prefer" };
        let mode = self.mode.as_deref().unwrap_or(usual);
        if self.system && mode != "verify-full" {
            return Err(format!("sslrootcert=system needs sslmode=verify-full, not {mode}"));
        }
        let trusted = self.options.authorities.is_some();
        let (mode, verify) = match mode {
            _ if local => (SslMode::Disable, Verify::Nothing),
            "disable" => (SslMode::Disable, Verify::Nothing),
            "verify-full" => (SslMode::Require, Verify::Full),
            "verify-ca" => (SslMode::Require, Verify::Authority),
            "require" if trusted => (SslMode::Require, Verify::Authority),
            "require" => (SslMode::Require, Verify::Nothing),
            _ => (SslMode::Prefer, Verify::Nothing),
        };
        config.ssl_mode(mode);
        if mode == SslMode::Disable {
            return Ok(None);
        }
        let hosts = config.get_hosts();
        let named = !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Tcp(_)));
        if !named && !config.get_hostaddrs().is_empty() {
            return Err("hostaddr needs a host besides, whose certificate is asked for; or \
                        sslmode=disable"
                .into());
        }
        self.options.verify = verify;
        self.options.config().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(options: &str) -> SslMode {
        let url = format!("postgresql://me:secret@db.example/shop{options}");
        Location::parse(&url).map(|location| location.config.get_ssl_mode()).unwrap()
    }

    #[test]
    fn ssl_is_asked_for_as_libpq_does() {
        assert_eq!(mode(""), SslMode::Prefer);
        assert_eq!(mode("?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("?sslmode=require&timeout=3&connect_timeout=2"), SslMode::Require);
        let local = Location::parse("postgresql:///shop?host=%2Frun%2Fpostgresql&sslmode=require");
        assert_eq!(local.unwrap().config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(mode("?sslrootcert=system"), SslMode::Require);
    }

    #[test]
    fn an_address_is_no_socket() {
        let parse = |options: &str| {
            Location::parse(&format!("postgresql:///shop?hostaddr=10.0.0.5&{options}"))
        };
        let named = parse("host=db.example&sslmode=verify-full").unwrap();
        assert_eq!(named.config.get_ssl_mode(), SslMode::Require);
        assert!(named.tls.is_some());
        for options in ["sslmode=verify-full", "host=%2Frun%2Fpostgresql&sslmode=verify-full", ""] {
            let error = parse(options).err().unwrap().to_string();
            assert!(error.contains("hostaddr needs a host"), "{options}: {error}");
        }
        let plain = parse("sslmode=disable").unwrap();
        assert_eq!(plain.config.get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn what_is_of_no_use_is_told_without_the_password() {
        for (options, words) in [
            ("?sslmode=yes", "sslmode is one of disable, prefer"),
            ("?sslmode=verify-full&sslrootcert=%2Fnowhere%2Fca.pem", "/nowhere/ca.pem"),
            ("?sslrootcert=system&sslmode=require", "needs sslmode=verify-full, not require"),
            ("?timeout=0", "a timeout is"),
            ("?zebra=1", "zebra"),
        ] {
            let url = format!("postgresql://me:secret@db.example/shop{options}");
            let error = Location::parse(&url).err().unwrap().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }
}
