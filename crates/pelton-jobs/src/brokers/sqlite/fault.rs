//! What SQLite's errors mean to the person who meets them.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::BrokerError;

/// Why a statement, or what is built of statements, failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite's own reason.
    Sqlite(rusqlite::Error),
    /// Ours.
    Ours(BrokerError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<BrokerError> for Fault {
    fn from(error: BrokerError) -> Self {
        Self::Ours(error)
    }
}

impl Fault {
    /// For people: the file, what is wrong with it, what to do.
    pub(super) fn explain(self, path: &Path) -> BrokerError {
        match self {
            Self::Sqlite(error) => explain(path, &error),
            Self::Ours(BrokerError::Newer(why)) => {
                BrokerError::Newer(format!("{}: {why}", path.display()))
            }
            Self::Ours(error) => error,
        }
    }
}

fn explain(path: &Path, error: &rusqlite::Error) -> BrokerError {
    let file = path.display();
    let code = error.sqlite_error_code();
    let advice = match code {
        Some(ErrorCode::NotADatabase) => {
            return BrokerError::Open(format!(
                "{file} is not a SQLite database: move it away, or use another path"
            ));
        }
        Some(ErrorCode::CannotOpen) => {
            return BrokerError::Open(format!(
                "{file} cannot be opened: its directory must exist and be writable ({error})"
            ));
        }
        Some(ErrorCode::PermissionDenied) => {
            return BrokerError::Open(format!("{file}: permission denied ({error})"));
        }
        Some(ErrorCode::ReadOnly) => {
            "it cannot be written: make the file and its directory writable for this user"
        }
        Some(ErrorCode::DiskFull) => "the disk is full: free some space; nothing was written",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds its lock for too long: find out which, or try again"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "the file is damaged: stop all that use it and restore it (`sqlite3 FILE .recover`)"
        }
        Some(ErrorCode::SystemIoFailure) => "reading or writing it failed: check the disk",
        Some(ErrorCode::TooBig) => "a value is too large for it",
        _ => "the broker's store failed",
    };
    BrokerError::Store(format!("{file}: {advice} ({error})"))
}
