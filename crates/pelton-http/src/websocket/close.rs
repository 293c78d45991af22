//! How a WebSocket ends.

/// A close: its code and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code; [`CloseCode::NO_STATUS`] and [`CloseCode::ABNORMAL`] never travel.
    pub code: CloseCode,
    /// At most 123 bytes of UTF-8.
    pub reason: String,
}

/// A close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// The close frame had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// There was no close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// Text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// A message above the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// The server failed.
    pub const INTERNAL: Self = Self(1011);
    /// The server stops and will come back.
    pub const RESTART: Self = Self(1012);

    /// Whether a close frame may carry it.
    #[must_use]
    pub fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl Close {
    /// A close with a reason, shortened at a character's end where it is too long.
    #[must_use]
    pub fn new(code: CloseCode, reason: &str) -> Self {
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self { code, reason: reason[..end].to_owned() }
    }

    /// The payload of its frame; empty for [`CloseCode::NO_STATUS`].
    pub(super) fn payload(&self) -> Vec<u8> {
        if self.code == CloseCode::NO_STATUS {
            return Vec::new();
        }
        let mut payload = self.code.0.to_be_bytes().to_vec();
        payload.extend_from_slice(self.reason.as_bytes());
        payload
    }

    /// Reads a close frame's payload; an error is the close that answers it.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Self> {
        match payload {
            [] => Ok(Self::new(CloseCode::NO_STATUS, "")),
            [high, low, reason @ ..] => {
                let code = CloseCode(u16::from_be_bytes([*high, *low]));
                if !code.is_sendable() {
                    return Err(Self::new(CloseCode::PROTOCOL, "invalid close code"));
                }
                match std::str::from_utf8(reason) {
                    Ok(reason) => Ok(Self::new(code, reason)),
                    Err(_) => Err(Self::new(CloseCode::INVALID_DATA, "invalid close reason")),
                }
            }
            [_] => Err(Self::new(CloseCode::PROTOCOL, "invalid close frame")),
        }
    }
}
