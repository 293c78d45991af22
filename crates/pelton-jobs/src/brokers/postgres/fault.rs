//! What PostgreSQL's errors mean to the person who meets them.

use crate::error::BrokerError;

/// Why a statement, or what is built of statements, failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is gone.
    Lost(String),
    /// PostgreSQL's own reason.
    Sql(String),
    /// Another transaction holds what is wanted here, and stays open.
    Blocked(String),
    /// There is no connection, and none could be made.
    Away(BrokerError),
    /// Ours.
    Ours(BrokerError),
}

impl From<postgres::Error> for Fault {
    fn from(error: postgres::Error) -> Self {
        use postgres::error::SqlState;
        let Some(database) = error.as_db_error() else {
            return Self::Lost(reason(&error));
        };
        let text = match database.detail() {
            Some(detail) => format!("{} ({detail})", database.message()),
            None => database.message().to_owned(),
        };
        let code = database.code();
        // The server is going, or coming, or another one leads now.
        let away = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::TOO_MANY_CONNECTIONS,
            // Two writers stood in each other's way: one of them begins again.
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ];
        if away.contains(code) {
            Self::Lost(text)
        } else if *code == SqlState::LOCK_NOT_AVAILABLE {
            Self::Blocked(text)
        } else {
            Self::Sql(text)
        }
    }
}

impl From<BrokerError> for Fault {
    fn from(error: BrokerError) -> Self {
        Self::Ours(error)
    }
}

impl Fault {
    /// For people: where, and what is wrong.
    pub(super) fn explain(self, place: &str) -> BrokerError {
        match self {
            Self::Ours(error) | Self::Away(error) => error,
            Self::Sql(why) => BrokerError::Store(format!("{place}: {why}")),
            Self::Blocked(why) => BrokerError::Store(format!(
                "{place}: nothing was done, because another transaction that is still open holds \
                 the key, the queue or the job ({why}): end it soon after its enqueue, and try again"
            )),
            Self::Lost(why) => BrokerError::Lost(format!(
                "{place}: the connection broke ({why}); what was asked may or may not have been done"
            )),
        }
    }
}

/// An error with what caused it: the first alone says little.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
