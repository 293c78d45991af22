//! What can be wrong with a request, and with a response.

use thiserror::Error;

/// Why a request was refused: the client's fault, each with its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not HTTP, or HTTP that two readers could understand differently.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// Longer than [`Limits::request_line`](crate::Limits::request_line).
    #[error("the request line is too long")]
    RequestLineTooLong,
    /// Longer than [`Limits::head`](crate::Limits::head).
    #[error("the request's header fields are too large")]
    HeadTooLarge,
    /// More than [`Limits::headers`](crate::Limits::headers).
    #[error("the request has too many header fields")]
    TooManyHeaders,
    /// Longer than [`Limits::body`](crate::Limits::body).
    #[error("the request's body is too large")]
    BodyTooLarge,
    /// Not complete within [`Limits::head_timeout`](crate::Limits::head_timeout).
    #[error("the request's head did not arrive in time")]
    HeadTimeout,
    /// Nothing for [`Limits::body_timeout`](crate::Limits::body_timeout).
    #[error("the request's body did not arrive in time")]
    BodyTimeout,
    /// An `expect` other than `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
    /// A transfer coding other than `chunked`.
    #[error("the transfer coding is not supported")]
    TransferCoding,
    /// `CONNECT`: this is no proxy.
    #[error("the method is not supported")]
    Method,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("the HTTP version is not supported")]
    Version,
}

impl RequestError {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::RequestLineTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::TransferCoding | Self::Method => 501,
            Self::Version => 505,
        }
    }
}

/// Why a response was refused: the application's fault. Nothing of it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// A status outside 200 to 999.
    #[error("a response's status is between 200 and 999, not {0}")]
    Status(u16),
    /// A header name that is empty or holds more than token characters.
    #[error("a header name is invalid: only letters, digits and !#$%&'*+-.^_`|~ may be in it")]
    HeaderName,
    /// A header value with a line break or another control character: it could split the response.
    #[error("a header value is invalid: control characters may not be in it")]
    HeaderValue,
    /// A `content-length` that is no plain number, or two of them that differ.
    #[error("the response's content-length is invalid")]
    ContentLength,
    /// More body than `content-length` says.
    #[error("the response's body is longer than its content-length")]
    BodyTooLong,
    /// Less body than `content-length` says; the connection is closed.
    #[error("the response's body is shorter than its content-length")]
    BodyTooShort,
    /// A trailer whose name means something only before a body.
    #[error("this field cannot be a trailer: it frames, routes or describes the body before it")]
    Trailer,
    /// Head, body and end did not come in this order, once each.
    #[error("out of order: {0}")]
    OutOfOrder(&'static str),
}
