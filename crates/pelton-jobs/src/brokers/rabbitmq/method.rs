//! The methods of AMQP 0-9-1 that we are sent, and those that we send.

use super::frame::{BODY, Field, HEADER, In, Out};
use crate::id::JobId;

/// What a server says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Start {
        mechanisms: String,
    },
    Tune {
        channel_max: u16,
        frame_max: u32,
        heartbeat: u16,
    },
    Opened,
    /// The connection, or a channel, ends: code, text, and the class and method at fault.
    Close(Fault),
    CloseOk,
    Blocked,
    Unblocked,
    ChannelOpened,
    ChannelClosed,
    Declared {
        messages: u32,
    },
    QosSet,
    Consuming,
    /// The queue that this consumer had is gone.
    Cancelled,
    /// A message had no queue to go to, and follows.
    Returned,
    /// A message for a consumer, which follows.
    Delivery {
        consumer: String,
        tag: u64,
    },
    Acked {
        tag: u64,
        multiple: bool,
    },
    Nacked {
        tag: u64,
        multiple: bool,
    },
    Confirming,
    /// Something that we have no use for.
    Other(u16, u16),
}

/// Why a server ends a connection or a channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Said {
    /// The method in a frame's payload; `None` where it makes no sense.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let mut read = In(payload);
        let (class, method) = (read.short()?, read.short()?);
        Some(match (class, method) {
            (10, 10) => {
                read.take(2)?;
                read.longstr()?;
                Self::Start { mechanisms: String::from_utf8_lossy(read.longstr()?).into_owned() }
            }
            (10, 30) => Self::Tune {
                channel_max: read.short()?,
                frame_max: read.long()?,
                heartbeat: read.short()?,
            },
            (10, 41) => Self::Opened,
            (10, 50) | (20, 40) => {
                Self::Close(Fault { code: read.short()?, text: read.shortstr()? })
            }
            (10, 51) => Self::CloseOk,
            (10, 60) => {
                read.shortstr()?;
                Self::Blocked
            }
            (10, 61) => Self::Unblocked,
            (20, 11) => Self::ChannelOpened,
            (20, 41) => Self::ChannelClosed,
            (50, 11) => {
                read.shortstr()?;
                Self::Declared { messages: read.long()? }
            }
            (60, 11) => Self::QosSet,
            (60, 21) => Self::Consuming,
            (60, 30) => {
                read.shortstr()?;
                Self::Cancelled
            }
            (60, 50) => {
                read.short()?;
                read.shortstr()?;
                Self::Returned
            }
            (60, 60) => Self::Delivery { consumer: read.shortstr()?, tag: read.longlong()? },
            (60, 80) => Self::Acked { tag: read.longlong()?, multiple: read.octet()? & 1 != 0 },
            (60, 120) => Self::Nacked { tag: read.longlong()?, multiple: read.octet()? & 1 != 0 },
            (85, 11) => Self::Confirming,
            _ => Self::Other(class, method),
        })
    }
}

/// The head of a message that follows a delivery or a return.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Head {
    /// Bytes of the body, which come in frames of their own.
    pub(super) length: u64,
    /// As it was published, -100 to 100; 0 where it says none.
    pub(super) priority: i8,
}

/// What our messages say of their priority is 0 to 200.
const PRIORITY_MIDDLE: i16 = 100;

/// The properties before the priority, by their flags: all are short strings or tables.
const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const TYPE: u16 = 1 << 5;
const APP_ID: u16 = 1 << 3;

impl Head {
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let mut read = In(payload);
        read.take(4)?;
        let (length, flags) = (read.longlong()?, read.short()?);
        for flag in [CONTENT_TYPE, CONTENT_ENCODING] {
            if flags & flag != 0 {
                read.shortstr()?;
            }
        }
        if flags & HEADERS != 0 {
            read.longstr()?;
        }
        if flags & DELIVERY_MODE != 0 {
            read.octet()?;
        }
        let priority = if flags & PRIORITY == 0 {
            0
        } else {
            (i16::from(read.octet()?) - PRIORITY_MIDDLE).clamp(-100, 100) as i8
        };
        Some(Self { length, priority })
    }
}

/// A message that says: this job is ready.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Message<'a> {
    /// The queue of RabbitMQ.
    pub(super) queue: &'a str,
    pub(super) id: JobId,
    pub(super) task: &'a str,
    pub(super) priority: i8,
}

impl Message<'_> {
    /// Publishes it: kept on disks, and given back where there is no such queue.
    pub(super) fn write(&self, channel: u16, out: &mut Out) {
        out.method(channel, (60, 40), |out| {
            out.short(0).shortstr("").shortstr(self.queue).octet(1);
        });
        let body = self.id.to_string();
        let priority = (i16::from(self.priority) + PRIORITY_MIDDLE).clamp(0, 200) as u8;
        out.frame(HEADER, channel, |out| {
            out.short(60).short(0).longlong(body.len() as u64);
            out.short(DELIVERY_MODE | PRIORITY | TYPE | APP_ID);
            out.octet(2).octet(priority).shortstr(self.task).shortstr("pelton");
        });
        out.frame(BODY, channel, |out| out.bytes.extend_from_slice(body.as_bytes()));
    }
}

/// The job that a message is about; `None` for messages that are not ours.
pub(super) fn job_of(body: &[u8]) -> Option<JobId> {
    std::str::from_utf8(body).ok()?.parse().ok()
}

/// A name and a password, as the mechanism PLAIN has them.
pub(super) fn start_ok(user: &str, password: &str, out: &mut Out) {
    let can = [
        ("publisher_confirms", Field::Yes),
        ("consumer_cancel_notify", Field::Yes),
        ("connection.blocked", Field::Yes),
        ("basic.nack", Field::Yes),
        // Why a login was refused is then said, instead of a connection that just ends.
        ("authentication_failure_close", Field::Yes),
    ];
    out.method(0, (10, 11), |out| {
        out.table(&[
            ("product", Field::Text("pelton")),
            ("version", Field::Text(env!("CARGO_PKG_VERSION"))),
            ("capabilities", Field::Table(&can)),
        ]);
        out.shortstr("PLAIN").longstr(format!("\0{user}\0{password}").as_bytes());
        out.shortstr("en_US");
    });
}

pub(super) fn tune_ok(channel_max: u16, frame_max: u32, heartbeat: u16, out: &mut Out) {
    out.method(0, (10, 31), |out| {
        out.short(channel_max).long(frame_max).short(heartbeat);
    });
}

pub(super) fn open(vhost: &str, out: &mut Out) {
    out.method(0, (10, 40), |out| {
        out.shortstr(vhost).shortstr("").octet(0);
    });
}

/// Ends the connection (`channel` 0) or a channel.
pub(super) fn close(channel: u16, out: &mut Out) {
    let class = if channel == 0 { 10 } else { 20 };
    let method = if channel == 0 { 50 } else { 40 };
    out.method(channel, (class, method), |out| {
        out.short(200).shortstr("bye").short(0).short(0);
    });
}

pub(super) fn close_ok(channel: u16, out: &mut Out) {
    let name = if channel == 0 { (10, 51) } else { (20, 41) };
    out.method(channel, name, |_| {});
}

pub(super) fn open_channel(channel: u16, out: &mut Out) {
    out.method(channel, (20, 10), |out| {
        out.shortstr("");
    });
}

/// A durable quorum queue; an equal one that is there already is as good.
pub(super) fn declare(channel: u16, queue: &str, out: &mut Out) {
    const DURABLE: u8 = 1 << 1;
    out.method(channel, (50, 10), |out| {
        out.short(0).shortstr(queue).octet(DURABLE);
        out.table(&[("x-queue-type", Field::Text("quorum"))]);
    });
}

pub(super) fn qos(channel: u16, prefetch: u16, out: &mut Out) {
    out.method(channel, (60, 10), |out| {
        out.long(0).short(prefetch).octet(0);
    });
}

pub(super) fn consume(channel: u16, queue: &str, consumer: &str, out: &mut Out) {
    out.method(channel, (60, 20), |out| {
        out.short(0).shortstr(queue).shortstr(consumer).octet(0).table(&[]);
    });
}

pub(super) fn ack(channel: u16, tag: u64, multiple: bool, out: &mut Out) {
    out.method(channel, (60, 80), |out| {
        out.longlong(tag).octet(multiple.into());
    });
}

/// Asks for no more messages.
pub(super) fn cancel(channel: u16, consumer: &str, out: &mut Out) {
    out.method(channel, (60, 30), |out| {
        out.shortstr(consumer).octet(0);
    });
}

/// Gives all messages of a channel back.
pub(super) fn give_back(channel: u16, out: &mut Out) {
    const MULTIPLE: u8 = 1;
    const REQUEUE: u8 = 2;
    out.method(channel, (60, 120), |out| {
        out.longlong(0).octet(MULTIPLE | REQUEUE);
    });
}

pub(super) fn confirm(channel: u16, out: &mut Out) {
    out.method(channel, (85, 10), |out| {
        out.octet(0);
    });
}

#[cfg(test)]
mod tests {
    use super::super::frame::{METHOD, parse};
    use super::*;
    use crate::time::Time;

    #[test]
    fn messages_say_which_job() {
        let id = JobId::new(Time::from_secs(1.0)).unwrap();
        let mut out = Out::default();
        let message = Message { queue: "pelton.default", id, task: "mail", priority: -7 };
        message.write(3, &mut out);
        let (publish, length) = parse(&out.bytes, 4096).unwrap();
        assert_eq!((publish.kind, publish.channel), (METHOD, 3));
        assert_eq!(publish.payload, b"\0\x3c\0\x28\0\0\0\x0epelton.default\x01");
        let (head, more) = parse(&out.bytes[length..], 4096).unwrap();
        let parsed = Head::parse(head.payload).unwrap();
        assert_eq!(parsed, Head { length: 32, priority: -7 });
        for cut in 0..head.payload.len() - "\x04mail\x06pelton".len() {
            assert_eq!(Head::parse(&head.payload[..cut]), None, "{cut}");
        }
        let (body, _) = parse(&out.bytes[length + more..], 4096).unwrap();
        assert_eq!(job_of(body.payload), Some(id));
        assert_eq!((job_of(b"{}"), job_of(b"\xff")), (None, None));
    }

    #[test]
    fn heads_of_others_are_read_as_far_as_they_matter() {
        let mut out = Out::default();
        out.short(60).short(0).longlong(5);
        out.short(CONTENT_TYPE | CONTENT_ENCODING | HEADERS | PRIORITY);
        out.shortstr("text/plain").shortstr("utf-8").table(&[("x", Field::Yes)]).octet(255);
        assert_eq!(Head::parse(&out.bytes), Some(Head { length: 5, priority: 100 }));
    }

    /// Whatever comes, it is judged, and nothing panics: methods cut at each byte, and noise.
    #[test]
    fn noise_is_judged() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        let known = [(10, 10), (10, 30), (10, 50), (10, 60), (20, 40), (50, 11), (60, 30)];
        for (class, method) in known.into_iter().chain([(60, 50), (60, 60), (60, 80), (60, 120)]) {
            for length in 0..600 {
                let mut payload = vec![0, class, 0, method];
                payload.extend(std::iter::repeat_with(&mut byte).take(length));
                let said = Said::parse(&payload);
                assert!(length > 0 || said.is_none(), "{said:?}");
            }
        }
        for length in 0..2000 {
            let noise: Vec<u8> = std::iter::repeat_with(&mut byte).take(length % 300).collect();
            let _ = (Said::parse(&noise), Head::parse(&noise), job_of(&noise));
            assert!(parse(&noise, 4096).is_err() || noise.len() >= 8);
        }
    }
}
