//! AMQP 0-9-1 on the wire: frames, and the types that stand in them.

/// Ends each frame.
const END: u8 = 0xce;

/// What a frame carries.
pub(super) const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
pub(super) const HEARTBEAT: u8 = 8;

/// Before the payload: type, channel, length. After it: the end.
pub(super) const OVERHEAD: usize = 8;

/// A frame, as it stands in what was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) channel: u16,
    pub(super) payload: &'a [u8],
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unread {
    /// The rest has not come yet.
    More,
    /// This is not AMQP, or above what was agreed on.
    Malformed,
}

/// The first frame of `bytes`, of at most `max` bytes, and its length.
pub(super) fn parse(bytes: &[u8], max: usize) -> Result<(Frame<'_>, usize), Unread> {
    let Some((head, rest)) = bytes.split_first_chunk::<7>() else { return Err(Unread::More) };
    let [kind, c0, c1, l0, l1, l2, l3] = *head;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) || length > max - OVERHEAD {
        return Err(Unread::Malformed);
    }
    match rest.get(length) {
        None => Err(Unread::More),
        Some(&END) => {
            let channel = u16::from_be_bytes([c0, c1]);
            Ok((Frame { kind, channel, payload: &rest[..length] }, length + OVERHEAD))
        }
        Some(_) => Err(Unread::Malformed),
    }
}

/// Writes frames.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
}

impl Out {
    /// A frame whose payload `fill` writes.
    pub(super) fn frame(&mut self, kind: u8, channel: u16, fill: impl FnOnce(&mut Self)) {
        self.octet(kind).short(channel);
        let length_at = self.bytes.len();
        self.long(0);
        fill(self);
        let length = (self.bytes.len() - length_at - 4) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        self.octet(END);
    }

    /// A method, and its arguments.
    pub(super) fn method(
        &mut self,
        channel: u16,
        (class, method): (u16, u16),
        fill: impl FnOnce(&mut Self),
    ) {
        self.frame(METHOD, channel, |out| {
            out.short(class).short(method);
            fill(out);
        });
    }

    pub(super) fn octet(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(super) fn short(&mut self, value: u16) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn long(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn longlong(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Up to 255 bytes; what is longer is cut at a character.
    pub(super) fn shortstr(&mut self, text: &str) -> &mut Self {
        let fits = |end: &usize| text.is_char_boundary(*end);
        let end = (0..=text.len().min(255)).rev().find(fits).unwrap_or(0);
        let text = &text[..end];
        self.octet(text.len() as u8);
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn longstr(&mut self, bytes: &[u8]) -> &mut Self {
        self.long(bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A table of names and values.
    pub(super) fn table(&mut self, fields: &[(&str, Field<'_>)]) -> &mut Self {
        let length_at = self.bytes.len();
        self.long(0);
        for (name, field) in fields {
            self.shortstr(name);
            match field {
                Field::Text(text) => self.octet(b'S').longstr(text.as_bytes()),
                Field::Yes => self.octet(b't').octet(1),
                Field::Table(fields) => self.octet(b'F').table(fields),
            };
        }
        let length = (self.bytes.len() - length_at - 4) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        self
    }
}

/// A value of a table that we write.
pub(super) enum Field<'a> {
    Text(&'a str),
    Yes,
    Table(&'a [(&'a str, Field<'a>)]),
}

/// Reads the types of a payload, front to back; `None` where it ends too early.
#[derive(Debug)]
pub(super) struct In<'a>(pub(super) &'a [u8]);

impl<'a> In<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn long(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn longlong(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn shortstr(&mut self) -> Option<String> {
        let length = self.octet()?;
        self.take(length.into()).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub(super) fn longstr(&mut self) -> Option<&'a [u8]> {
        let length = self.long()?;
        self.take(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_at_every_cut() {
        let mut out = Out::default();
        out.method(7, (60, 80), |out| {
            out.longlong(9).octet(1);
        });
        out.frame(HEARTBEAT, 0, |_| {});
        let (frame, length) = parse(&out.bytes, 4096).unwrap();
        assert_eq!((frame.kind, frame.channel, length), (METHOD, 7, 21));
        assert_eq!(frame.payload, [0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 9, 1]);
        for cut in 0..length {
            assert_eq!(parse(&out.bytes[..cut], 4096), Err(Unread::More), "{cut}");
        }
        let (frame, length) = parse(&out.bytes[length..], 4096).unwrap();
        assert_eq!((frame.kind, frame.payload.len(), length), (HEARTBEAT, 0, 8));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let frame = [1, 0, 0, 0, 0, 0, 1, 9, END];
        assert!(parse(&frame, 4096).is_ok());
        for (at, byte) in [(0, 4), (0, b'H'), (3, 1), (8, 0)] {
            let mut bad = frame;
            bad[at] = byte;
            assert_eq!(parse(&bad, 4096), Err(Unread::Malformed), "{at}");
        }
        assert_eq!(parse(b"AMQP\0\0\x09\x01", 4096), Err(Unread::Malformed));
        assert_eq!(parse(&frame, OVERHEAD), Err(Unread::Malformed), "above what was agreed on");
    }

    #[test]
    fn types_come_back() {
        let mut out = Out::default();
        out.octet(1).short(2).long(3).longlong(4).shortstr("ö").longstr(b"xyz");
        out.table(&[("a", Field::Yes), ("b", Field::Table(&[("c", Field::Text("d"))]))]);
        let mut read = In(&out.bytes);
        assert_eq!((read.octet(), read.short(), read.long()), (Some(1), Some(2), Some(3)));
        assert_eq!((read.longlong(), read.shortstr().as_deref()), (Some(4), Some("ö")));
        assert_eq!(read.longstr(), Some(&b"xyz"[..]));
        let table = read.longstr().unwrap();
        assert_eq!(table, b"\x01at\x01\x01bF\0\0\0\x08\x01cS\0\0\0\x01d");
        assert_eq!((read.0.len(), read.octet()), (0, None));
        let long = "ü".repeat(200);
        let mut out = Out::default();
        out.shortstr(&long);
        assert_eq!((out.bytes[0], out.bytes.len()), (254, 255));
    }
}
