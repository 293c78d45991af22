//! Frames put together: a message comes as a method, a head, and its body in pieces.

use std::collections::HashMap;

use super::frame::{BODY, HEADER, HEARTBEAT, METHOD};
use super::method::{Head, Said, job_of};
use crate::id::JobId;

/// Bytes of a body that are kept: ours are shorter, and others' are not read.
const KEPT: usize = 64;

/// What a channel's listener is told, and what the connection keeps for itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// A method without a message.
    Method(Said),
    /// A message for a consumer.
    Message { consumer: String, tag: u64, id: Option<JobId>, priority: i8 },
    /// A message that has no queue to go to.
    Returned { id: Option<JobId> },
    /// Messages are safe, or (`ok` false) are not.
    Confirmed { tag: u64, multiple: bool, ok: bool },
    /// A consumer's queue is gone.
    Cancelled,
}

/// The messages that are coming in, one a channel.
#[derive(Debug, Default)]
pub(super) struct Content {
    partial: HashMap<u16, Partial>,
}

#[derive(Debug)]
struct Partial {
    said: Said,
    head: Option<Head>,
    read: u64,
    body: Vec<u8>,
}

impl Content {
    /// What a frame makes complete; `Err` where it cannot come now.
    pub(super) fn frame(
        &mut self,
        kind: u8,
        channel: u16,
        payload: &[u8],
    ) -> Result<Option<Event>, ()> {
        match kind {
            METHOD => self.method(channel, Said::parse(payload).ok_or(())?),
            HEADER => {
                let head = Head::parse(payload).ok_or(())?;
                let partial = self.partial.get_mut(&channel).ok_or(())?;
                if partial.head.replace(head).is_some() {
                    return Err(());
                }
                self.whole(channel)
            }
            BODY => {
                let partial = self.partial.get_mut(&channel).ok_or(())?;
                let head = partial.head.ok_or(())?;
                partial.read += payload.len() as u64;
                if partial.read > head.length {
                    return Err(());
                }
                let room = KEPT - partial.body.len();
                partial.body.extend_from_slice(&payload[..room.min(payload.len())]);
                self.whole(channel)
            }
            HEARTBEAT => Ok(None),
            _ => Err(()),
        }
    }

    fn method(&mut self, channel: u16, said: Said) -> Result<Option<Event>, ()> {
        Ok(Some(match said {
            Said::Delivery { .. } | Said::Returned => {
                let partial = Partial { said, head: None, read: 0, body: Vec::new() };
                if self.partial.insert(channel, partial).is_some() {
                    return Err(());
                }
                return Ok(None);
            }
            Said::Acked { tag, multiple } => Event::Confirmed { tag, multiple, ok: true },
            Said::Nacked { tag, multiple } => Event::Confirmed { tag, multiple, ok: false },
            Said::Cancelled => Event::Cancelled,
            Said::Close(_) | Said::ChannelClosed => {
                // A message that was coming in will not.
                self.partial.remove(&channel);
                Event::Method(said)
            }
            other => Event::Method(other),
        }))
    }

    fn whole(&mut self, channel: u16) -> Result<Option<Event>, ()> {
        let partial = self.partial.get(&channel).ok_or(())?;
        let head = partial.head.ok_or(())?;
        if partial.read < head.length {
            return Ok(None);
        }
        let partial = self.partial.remove(&channel).ok_or(())?;
        // A longer body is somebody else's.
        let id = job_of(&partial.body).filter(|_| head.length <= KEPT as u64);
        Ok(Some(match partial.said {
            Said::Delivery { consumer, tag } => {
                Event::Message { consumer, tag, id, priority: head.priority }
            }
            _ => Event::Returned { id },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Out, parse};
    use super::super::method::Message;
    use super::*;
    use crate::time::Time;

    fn delivery(channel: u16, out: &mut Out) {
        out.method(channel, (60, 60), |out| {
            out.shortstr("c").longlong(5).octet(0).shortstr("").shortstr("q");
        });
    }

    /// Gives all frames of `bytes` to `content`; what came of them.
    fn feed(content: &mut Content, mut bytes: &[u8]) -> Result<Vec<Event>, ()> {
        let mut events = Vec::new();
        while let Ok((frame, length)) = parse(bytes, 4096) {
            events.extend(content.frame(frame.kind, frame.channel, frame.payload)?);
            bytes = &bytes[length..];
        }
        Ok(events)
    }

    #[test]
    fn messages_of_two_channels_do_not_mix() {
        let id = JobId::new(Time::from_secs(1.0)).unwrap();
        let mut publish = Out::default();
        Message { queue: "q", id, task: "t", priority: 9 }.write(2, &mut publish);
        // Without the method: head and body, as they come with a delivery.
        let (_, skip) = parse(&publish.bytes, 4096).unwrap();
        let mut out = Out::default();
        delivery(2, &mut out);
        delivery(1, &mut out);
        out.frame(HEADER, 1, |out| {
            out.short(60).short(0).longlong(100).short(0);
        });
        out.bytes.extend_from_slice(&publish.bytes[skip..]);
        out.frame(BODY, 1, |out| out.bytes.extend([b'a'; 70]));
        out.frame(BODY, 1, |out| out.bytes.extend([b'a'; 30]));
        let message = |id, priority| Event::Message { consumer: "c".into(), tag: 5, id, priority };
        let events = feed(&mut Content::default(), &out.bytes).unwrap();
        assert_eq!(events, [message(Some(id), 9), message(None, 0)]);
    }

    #[test]
    fn frames_out_of_turn_are_refused() {
        let head = |length: u64| {
            let mut out = Out::default();
            out.frame(HEADER, 1, |out| {
                out.short(60).short(0).longlong(length).short(0);
            });
            out.bytes
        };
        let mut started = Out::default();
        delivery(1, &mut started);
        let mut body = Out::default();
        body.frame(BODY, 1, |out| out.bytes.extend(b"abc"));
        let all = |parts: &[&[u8]]| feed(&mut Content::default(), &parts.concat());
        assert_eq!(all(&[&head(3)]), Err(()));
        assert_eq!(all(&[&body.bytes]), Err(()));
        assert_eq!(all(&[&started.bytes, &body.bytes]), Err(()));
        assert_eq!(all(&[&started.bytes, &started.bytes]), Err(()));
        assert_eq!(all(&[&started.bytes, &head(3), &head(3)]), Err(()));
        assert_eq!(all(&[&started.bytes, &head(2), &body.bytes]), Err(()), "more than it said");
        assert_eq!(all(&[&started.bytes, &head(0)]).unwrap().len(), 1, "an empty message");
        assert_eq!(all(&[&started.bytes, &head(3), &body.bytes]).unwrap().len(), 1);
    }
}
