//! Where jobs are kept: one module for each kind of store.

pub mod postgres;
pub mod redis;
pub mod sqlite;
mod tls;
mod unquote;

use crate::error::BrokerError;
use crate::job::{Edge, Extra, On};

/// Refuses what only some brokers can do, where this one cannot.
fn check_plain(extra: &Extra, edges: &[Edge]) -> Result<(), BrokerError> {
    if extra.limit_key.is_some() {
        return Err(BrokerError::Unsupported("a limit for each key"));
    }
    if extra.key_ttl.is_some() {
        return Err(BrokerError::Unsupported("a key that stays taken after its job's end"));
    }
    if edges.iter().any(|edge| edge.on == On::Failure) {
        return Err(BrokerError::Unsupported("following the failure of a job"));
    }
    Ok(())
}
