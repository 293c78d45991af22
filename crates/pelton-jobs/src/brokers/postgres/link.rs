//! A connection to PostgreSQL, made again when it is lost.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::TRIES_MAX;
use super::fault::Fault;
use super::location::Location;
use crate::error::BrokerError;

/// Between two tries to reach a server that is away.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// For a while after a wait for a lock was in vain, those that follow are this long: the same
/// transaction is probably still open.
pub(super) const SHORT_WAIT: &str = "SET LOCAL lock_timeout = '50ms'";

/// As long as the session's.
pub(super) const LONG_WAIT: &str = "SET LOCAL lock_timeout = '2s'";

/// A connection with its prepared statements.
pub(super) struct Link {
    pub(super) location: Location,
    client: Option<Client>,
    statements: HashMap<String, Statement>,
    /// Sent together with the next statement: nobody waits for its answer alone.
    ahead: String,
    /// What the transaction begins with, while nothing else of it was sent: then it can begin again
    /// on another connection.
    unbegun: Option<String>,
    runtime: Option<Runtime>,
    /// Since when the server is away, and when to try again.
    outage: Option<(Instant, Instant)>,
}

impl Link {
    pub(super) fn new(location: Location) -> Self {
        Self {
            location,
            client: None,
            statements: HashMap::new(),
            ahead: String::new(),
            unbegun: None,
            runtime: None,
            outage: None,
        }
    }

    /// A live connection; waits for a server that is away, as long as the URL allows.
    pub(super) fn ready(&mut self) -> Result<(), BrokerError> {
        let mut pause = PAUSE_MIN;
        loop {
            if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
                return Ok(());
            }
            self.drop_connection();
            let now = Instant::now();
            let (began, next_try) = self.outage.unwrap_or((now, now));
            let gave_up = now - began >= self.location.patience;
            let why = if gave_up && now < next_try {
                "and did not come back".to_owned()
            } else {
                match self.connect() {
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
                    Err(Fault::Ours(error) | Fault::Away(error)) => return Err(error),
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

    fn connect(&mut self) -> Result<Client, Fault> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Builder::new_current_thread().enable_all().build().map_err(|error| {
                BrokerError::Store(format!("no connections to PostgreSQL: {error}"))
            })?,
        };
        let client = self.location.connect(&runtime);
        self.runtime = Some(runtime);
        client
    }

    /// Begins a transaction, with the first statement that follows.
    pub(super) fn begin(&mut self, begin: &str) {
        self.ahead = begin.to_owned();
        self.unbegun = Some(begin.to_owned());
    }

    /// Whether nothing of the transaction was sent yet: there is nothing to undo, or to commit.
    pub(super) fn is_unbegun(&self) -> bool {
        self.unbegun.is_some()
    }

    /// Has this sent before the next statement, and together with it.
    pub(super) fn send_ahead(&mut self, sql: &str) {
        if !self.ahead.is_empty() {
            self.ahead.push_str("; ");
        }
        self.ahead.push_str(sql);
    }

    /// Runs statements without parameters and answers.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Fault> {
        self.send_ahead(sql);
        let all = std::mem::take(&mut self.ahead);
        self.unbegun = None;
        let (client, runtime) = self.connection()?;
        Ok(runtime.block_on(client.batch_execute(&all))?)
    }

    /// Runs a statement, which is prepared when it is met first.
    pub(super) fn query(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        self.send(sql, |link, statement, ahead| {
            let (client, runtime) = link.connection()?;
            runtime.block_on(async {
                let query = client.query(statement, values);
                if ahead.is_empty() {
                    return Ok(query.await?);
                }
                let (before, rows) = both(client.batch_execute(ahead), query).await;
                before?;
                Ok(rows?)
            })
        })
    }

    /// Runs a statement that answers nothing; the number of rows it changed.
    pub(super) fn execute(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fault> {
        self.send(sql, |link, statement, ahead| {
            let (client, runtime) = link.connection()?;
            runtime.block_on(async {
                let execute = client.execute(statement, values);
                if ahead.is_empty() {
                    return Ok(execute.await?);
                }
                let (before, changed) = both(client.batch_execute(ahead), execute).await;
                before?;
                Ok(changed?)
            })
        })
    }

    /// The last statement of a transaction, and its end. If it fails, so does the transaction.
    pub(super) fn query_and_commit(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(), Fault> {
        // What was committed must not be done again, even if nobody heard of it.
        self.unbegun = None;
        self.send(sql, |link, statement, ahead| {
            let (client, runtime) = link.connection()?;
            runtime.block_on(async {
                let end = both(client.query(statement, values), client.batch_execute("COMMIT"));
                let (before, (rows, committed)) = match ahead {
                    "" => (Ok(()), end.await),
                    _ => both(client.batch_execute(ahead), end).await,
                };
                before?;
                rows?;
                // After an error it has rolled back, and says that this went well.
                Ok(committed?)
            })
        })
    }

    /// Has a prepared statement run, with what is to be sent ahead of it. A connection that broke
    /// while nobody looked is made again where nothing of a transaction was under way on it.
    fn send<T>(
        &mut self,
        sql: &str,
        run: impl Fn(&Self, &Statement, &str) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut tries = 0;
        loop {
            let unbegun = self.unbegun.take();
            let ahead = std::mem::take(&mut self.ahead);
            let done = match self.prepared(sql) {
                Ok(statement) => run(self, &statement, &ahead),
                Err(fault) => Err(fault),
            };
            match (done, unbegun) {
                (Err(Fault::Lost(_)), Some(begin)) if tries < TRIES_MAX => {
                    self.drop_connection();
                    self.ready().map_err(Fault::Away)?;
                    self.ahead = ahead;
                    self.unbegun = Some(begin);
                }
                (done, _) => return done,
            }
            tries += 1;
        }
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let (client, runtime) = self.connection()?;
        let statement = runtime.block_on(client.prepare(sql))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn connection(&self) -> Result<(&Client, &Runtime), Fault> {
        let both = self.client.as_ref().zip(self.runtime.as_ref());
        both.ok_or_else(|| Fault::Lost("not connected".into()))
    }

    /// Gives up the connection: what is under way on it is rolled back.
    pub(super) fn drop_connection(&mut self) {
        self.client = None;
        self.statements.clear();
        self.ahead.clear();
        self.unbegun = None;
    }
}

/// Both answers. What is asked for by the first is sent before what is by the second.
async fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut two) = (None, None);
    poll_fn(|context| {
        if one.is_none()
            && let Poll::Ready(answer) = first.as_mut().poll(context)
        {
            one = Some(answer);
        }
        if two.is_none()
            && let Poll::Ready(answer) = second.as_mut().poll(context)
        {
            two = Some(answer);
        }
        match (one.take(), two.take()) {
            (Some(one), Some(two)) => Poll::Ready((one, two)),
            (early, late) => {
                (one, two) = (early, late);
                Poll::Pending
            }
        }
    })
    .await
}
