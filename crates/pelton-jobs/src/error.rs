//! What can go wrong at a broker.

use thiserror::Error;

/// The broker could not do it. Each message names the store and says what to do.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The caller's fault: the request contradicts itself or what is stored.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot be opened, or is not one of ours.
    #[error("{0}")]
    Open(String),
    /// The store was written by a newer release.
    #[error("{0}")]
    Newer(String),
    /// The store refused a read or a write; what was asked did not happen.
    #[error("{0}")]
    Store(String),
    /// The connection broke: what was asked may or may not have happened.
    #[error("{0}")]
    Lost(String),
    /// The engine has been closed, or belongs to another process.
    #[error("{0}")]
    Closed(String),
}
