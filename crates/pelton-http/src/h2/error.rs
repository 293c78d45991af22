//! What can be wrong with a connection or a stream.

/// An error code of RFC 9113, section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// Nothing is wrong.
    NoError = 0x0,
    /// The protocol was not followed.
    Protocol = 0x1,
    /// Something failed here.
    Internal = 0x2,
    /// More data than the window allows.
    FlowControl = 0x3,
    /// A frame for a stream that is closed or half-closed.
    StreamClosed = 0x5,
    /// A frame of a size that it cannot have.
    FrameSize = 0x6,
    /// Not processed: it can be sent again.
    RefusedStream = 0x7,
    /// Not wanted any more.
    Cancel = 0x8,
    /// A header block that cannot be read.
    Compression = 0x9,
    /// Behaviour that costs us more than it should.
    EnhanceYourCalm = 0xb,
}

/// Why a connection ended: the client's fault, and the last thing that it hears of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What `GOAWAY` says.
    pub code: Code,
    /// For people; the debug data of `GOAWAY`.
    pub reason: &'static str,
}

impl Fault {
    pub(super) const fn new(code: Code, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self::new(Code::Protocol, reason)
    }
}
