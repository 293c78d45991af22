//! The tables, and how a database gets them.

use super::fault::Fault;
use super::link::Link;
use crate::error::BrokerError;

/// The version that this release reads and writes.
const VERSION: i32 = 2;

const TABLES: &str = include_str!("schema.sql");

/// What made each later version of the one before. A new database goes through all of them, so that
/// there is one way to a version.
const MIGRATIONS: &[(i32, &str)] = &[(2, include_str!("schema_2.sql"))];

/// Two processes that open a new database at once must not both make the tables.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7351460921)";

/// Creates or migrates the tables; refuses those of a newer release.
pub(super) fn prepare(link: &mut Link) -> Result<(), Fault> {
    if version(link)? == Some(VERSION) {
        return Ok(());
    }
    // Another process may be migrating a large table: that is worth waiting for.
    link.batch("BEGIN; SET LOCAL lock_timeout = 0")?;
    let made = make(link);
    link.batch(if made.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    made
}

fn make(link: &mut Link) -> Result<(), Fault> {
    link.query(LOCK, &[])?;
    // Looked at again, under the lock: another process may have been faster.
    let found = version(link)?;
    match found {
        None => link.batch(TABLES)?,
        Some(..=VERSION) => {}
        Some(newer) => {
            return Err(Fault::Ours(BrokerError::Newer(format!(
                "{}: its tables were written by a newer Pelton (schema {newer}; this one knows \
                 {VERSION}): upgrade Pelton, or use another database",
                link.location.name
            ))));
        }
    }
    for (_, statements) in MIGRATIONS.iter().filter(|(to, _)| *to > found.unwrap_or(1)) {
        link.batch(statements)?;
    }
    Ok(())
}

fn version(link: &mut Link) -> Result<Option<i32>, Fault> {
    let there = link.query("SELECT to_regclass('pelton_schema') IS NOT NULL", &[])?;
    if !there.first().is_some_and(|row| row.get(0)) {
        return Ok(None);
    }
    let rows = link.query("SELECT version FROM pelton_schema ORDER BY version DESC", &[])?;
    Ok(rows.first().map(|row| row.get(0)))
}
