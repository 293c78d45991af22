//! The tables, and how a database gets them.

use super::fault::Fault;
use super::link::Link;
use crate::error::BrokerError;

/// The version that this release reads and writes.
const VERSION: i32 = 1;

const TABLES: &str = include_str!("schema.sql");

/// Two processes that open a new database at once must not both make the tables.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7351460921)";

/// Creates or migrates the tables; refuses those of a newer release.
pub(super) fn prepare(link: &mut Link) -> Result<(), Fault> {
    if version(link)? == Some(VERSION) {
        return Ok(());
    }
    link.batch("BEGIN")?;
    let made = make(link);
    link.batch(if made.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    made
}

fn make(link: &mut Link) -> Result<(), Fault> {
    link.query(LOCK, &[])?;
    // Looked at again, under the lock: another process may have been faster.
    match version(link)? {
        None => link.batch(TABLES),
        Some(VERSION) => Ok(()),
        Some(newer) => Err(Fault::Ours(BrokerError::Newer(format!(
            "{}: its tables were written by a newer Pelton (schema {newer}; this one knows \
             {VERSION}): upgrade Pelton, or use another database",
            link.location.name
        )))),
    }
}

fn version(link: &mut Link) -> Result<Option<i32>, Fault> {
    let there = link.query("SELECT to_regclass('pelton_schema') IS NOT NULL", &[])?;
    if !there.first().is_some_and(|row| row.get(0)) {
        return Ok(None);
    }
    let rows = link.query("SELECT version FROM pelton_schema ORDER BY version DESC", &[])?;
    Ok(rows.first().map(|row| row.get(0)))
}
