//! A connection to PostgreSQL, made again when it is lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use postgres::types::ToSql;
use postgres::{Client, Config, NoTls, Row, Statement};

use super::fault::{Fault, reason};
use crate::brokers::unquote::unquote;
use crate::error::BrokerError;

/// Between two tries to reach a server that is away.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Every statement of ours has one good plan, by an index; statistics of a young or fast-changing
/// table must not talk the planner out of it.
const SESSION: &str = "SET application_name = 'pelton'; SET enable_seqscan = off; \
    SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
    SET jit = off; SET plan_cache_mode = force_generic_plan; SET client_min_messages = warning; \
    SET default_transaction_isolation = 'read committed'; SET lock_timeout = '2s'";

/// The wait for a lock is bounded: the thread that waits renews leases, too. It is longer than
/// PostgreSQL waits before it looks for deadlocks. For a while after such a wait was in vain, those
/// that follow are this long, for the same transaction is probably still open.
pub(super) const SHORT_WAIT: &str = "SET LOCAL lock_timeout = '50ms'";

/// Where the server is, and how long it is waited for.
#[derive(Clone, Debug)]
pub(super) struct Location {
    config: Config,
    patience: Duration,
    /// For people, without the password.
    pub(super) name: String,
}

impl Location {
    /// A URL of libpq, with `timeout` (seconds to wait for a server that is away) besides.
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        let bad = |why: &str| {
            BrokerError::Open(format!(
                "not a PostgreSQL URL ({why}): postgresql://user:password@host:5432/database, with \
                 ?timeout=10 (seconds to wait for a server that is away) and what libpq knows"
            ))
        };
        let (base, options) = url.split_once('?').unwrap_or((url, ""));
        let mut patience = Duration::from_secs(10);
        let mut kept = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            if let Some(seconds) = option.strip_prefix("timeout=") {
                let seconds = unquote(seconds).parse().ok().filter(|s| (0.1..=3600.0).contains(s));
                let seconds = seconds.ok_or_else(|| bad("a timeout is 0.1 to 3600 seconds"))?;
                patience = Duration::from_secs_f64(seconds);
            } else {
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
        let hosts: Vec<String> = config
            .get_hosts()
            .iter()
            .map(|host| match host {
                postgres::config::Host::Tcp(host) => host.clone(),
                postgres::config::Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let name = format!(
            "PostgreSQL at {}/{}",
            hosts.join(","),
            config.get_dbname().or(config.get_user()).unwrap_or_default()
        );
        Ok(Self { config, patience, name })
    }

    pub(super) fn connect(&self) -> Result<Client, Fault> {
        let mut client = self.config.connect(NoTls)?;
        client.batch_execute(SESSION)?;
        Ok(client)
    }
}

/// A connection with its prepared statements.
pub(super) struct Link {
    pub(super) location: Location,
    client: Option<Client>,
    statements: HashMap<String, Statement>,
    /// Since when the server is away, and when to try again.
    outage: Option<(Instant, Instant)>,
}

impl Link {
    pub(super) fn new(location: Location) -> Self {
        Self { location, client: None, statements: HashMap::new(), outage: None }
    }

    /// A live connection; waits for a server that is away, as long as the URL allows.
    pub(super) fn ready(&mut self) -> Result<(), BrokerError> {
        let mut pause = PAUSE_MIN;
        loop {
            if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
                return Ok(());
            }
            self.client = None;
            self.statements.clear();
            let now = Instant::now();
            let (began, next_try) = self.outage.unwrap_or((now, now));
            let gave_up = now - began >= self.location.patience;
            let why = if gave_up && now < next_try {
                "and did not come back".to_owned()
            } else {
                match self.location.connect() {
                    Ok(client) => {
                        self.client = Some(client);
                        self.outage = None;
                        return Ok(());
                    }
                    Err(Fault::Lost(why)) => {
                        // Only a try puts the next one off: callers may come faster than that.
                        self.outage = Some((began, Instant::now() + PAUSE_MAX));
                        why
                    }
                    Err(Fault::Sql(why) | Fault::Blocked(why)) => {
                        return Err(BrokerError::Open(format!("{}: {why}", self.location.name)));
                    }
                    Err(Fault::Ours(error)) => return Err(error),
                }
            };
            if began.elapsed() + pause >= self.location.patience {
                return Err(BrokerError::Store(format!(
                    "{} has been away for {:.1} s ({why}): start it, or see that it can be reached; \
                     nothing was done",
                    self.location.name,
                    began.elapsed().as_secs_f64(),
                )));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn client(&mut self) -> Result<&mut Client, Fault> {
        self.client.as_mut().ok_or_else(|| Fault::Lost("not connected".into()))
    }

    /// Runs statements without parameters and answers.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Fault> {
        Ok(self.client()?.batch_execute(sql)?)
    }

    /// Runs a statement, which is prepared when it is met first.
    pub(super) fn query(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let client = self.client.as_mut().ok_or_else(|| Fault::Lost("not connected".into()))?;
        let statement = match self.statements.get(sql) {
            Some(statement) => statement,
            None => {
                let statement = client.prepare(sql)?;
                self.statements.entry(sql.to_owned()).or_insert(statement)
            }
        };
        Ok(client.query(statement, values)?)
    }

    /// Runs a statement that answers nothing; the number of rows it changed.
    pub(super) fn execute(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fault> {
        let client = self.client.as_mut().ok_or_else(|| Fault::Lost("not connected".into()))?;
        let statement = match self.statements.get(sql) {
            Some(statement) => statement,
            None => {
                let statement = client.prepare(sql)?;
                self.statements.entry(sql.to_owned()).or_insert(statement)
            }
        };
        Ok(client.execute(statement, values)?)
    }

    /// Gives up the connection: what is under way on it is rolled back.
    pub(super) fn drop_connection(&mut self) {
        self.client = None;
        self.statements.clear();
    }
}
