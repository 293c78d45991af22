//! The programs that run inside Redis, each of which is atomic there.

use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::record::HISTORY_MAX;
use crate::retry::{DEAD_TTL_MIN, MAX_LOSSES};
use crate::state::{self, Event, State};
use crate::time::Time;

/// A program, by its number in `SOURCES`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub(super) enum Script {
    Enqueue,
    Workflow,
    Lease,
    WorkAt,
    Finish,
    Progress,
    Control,
    Pause,
    Worker,
    Tidy,
    Declare,
    Lead,
    Fire,
    Queues,
    Policy,
    Steps,
    Limit,
    Orders,
    Schedule,
    Counts,
}

/// Seconds from its first try within which a write whose answer was lost may be made again.
const ASKED_AGAIN: f64 = 60.0;

/// How many there are.
pub(super) const SCRIPTS: usize = 20;

const LIB: &str = include_str!("lua/lib.lua");
const FAMILY: &str = include_str!("lua/family.lua");
const TOUCH: &str = include_str!("lua/touch.lua");
const LEVELS: &str = include_str!("lua/levels.lua");
const RATE: &str = include_str!("lua/rate.lua");
const PICK: &str = include_str!("lua/pick.lua");
const SIGNALS: &str = include_str!("lua/signals.lua");
const TEMPLATE: &str = include_str!("lua/template.lua");

const SOURCES: [&[&str]; SCRIPTS] = [
    &[LIB, include_str!("lua/enqueue.lua")],
    &[LIB, FAMILY, include_str!("lua/workflow.lua")],
    &[LIB, FAMILY, TOUCH, LEVELS, RATE, PICK, include_str!("lua/lease.lua")],
    &[LIB, LEVELS, RATE, PICK, include_str!("lua/work_at.lua")],
    &[LIB, FAMILY, SIGNALS, include_str!("lua/finish.lua")],
    &[LIB, include_str!("lua/progress.lua")],
    &[LIB, FAMILY, include_str!("lua/control.lua")],
    &[LIB, include_str!("lua/pause.lua")],
    &[LIB, TOUCH, include_str!("lua/worker.lua")],
    &[LIB, FAMILY, include_str!("lua/tidy.lua")],
    &[LIB, include_str!("lua/declare.lua")],
    &[LIB, include_str!("lua/lead.lua")],
    &[LIB, FAMILY, TEMPLATE, include_str!("lua/fire.lua")],
    &[include_str!("lua/queues.lua")],
    &[LIB, include_str!("lua/policy.lua")],
    &[LIB, FAMILY, SIGNALS, include_str!("lua/steps.lua")],
    &[LIB, RATE, include_str!("lua/limit.lua")],
    &[LIB, include_str!("lua/orders.lua")],
    &[LIB, FAMILY, TEMPLATE, include_str!("lua/schedule.lua")],
    &[include_str!("lua/counts.lua")],
];

impl Script {
    /// Its text, with the transitions of `state` filled in.
    pub(super) fn text(self) -> &'static str {
        static TEXTS: [OnceLock<String>; SCRIPTS] = [const { OnceLock::new() }; SCRIPTS];
        TEXTS[self as usize].get_or_init(|| expand(&SOURCES[self as usize].concat()))
    }
}

/// Fills in what stands in `@{…}`.
fn expand(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("@{") {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            rest = after;
            break;
        };
        out.push_str(&value(name));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `State`: its number. `Event:State`: the state after it. `Event`: a table of those.
fn value(name: &str) -> String {
    match name {
        "MAX_LOSSES" => return MAX_LOSSES.to_string(),
        "ASKED_AGAIN" => return ((ASKED_AGAIN * 1e6) as i64).to_string(),
        "HISTORY_MAX" => return HISTORY_MAX.to_string(),
        "DEAD_TTL" => return ((DEAD_TTL_MIN * 1e6) as i64).to_string(),
        _ => {}
    }
    if let Some((event, from)) = name.split_once(':') {
        let next = event_of(event).zip(state_of(from)).and_then(|(event, from)| after(from, event));
        // INVARIANT: the test below expands every script, so no other name gets here.
        return next.map_or_else(|| format!("no transition {name}"), number);
    }
    if let Some(state) = state_of(name) {
        return number(state);
    }
    let Some(event) = event_of(name) else { return format!("no event {name}") };
    let mut table = "{ ".to_owned();
    for from in State::ALL {
        if let Some(to) = after(from, event) {
            // Writing to a string does not fail.
            let _ = write!(table, "['{}'] = '{}', ", number(from), number(to));
        }
    }
    table + "}"
}

fn number(state: State) -> String {
    (state as u8).to_string()
}

fn state_of(name: &str) -> Option<State> {
    State::ALL.into_iter().find(|state| format!("{state:?}") == name)
}

/// The state machine knows times only as before and after now.
fn after(from: State, event: Event) -> Option<State> {
    state::step(from, event, Time(0)).map(|next| next.state)
}

fn event_of(name: &str) -> Option<Event> {
    Some(match name {
        "ParentsDone" => Event::ParentsDone { due: Time(0) },
        "ParentsDoneLater" => Event::ParentsDone { due: Time(1) },
        "ParentEnded" => Event::ParentEnded,
        "Due" => Event::Due,
        "Leased" => Event::Leased,
        "Succeeded" => Event::Succeeded,
        "FailedAgain" => Event::FailedAgain { at: Time(0) },
        "FailedForGood" => Event::FailedForGood,
        "Released" => Event::Released,
        "Suspended" => Event::Suspended { at: Time(0) },
        "Lost" => Event::Lost,
        "LostForGood" => Event::LostForGood,
        "CancelAsked" => Event::CancelAsked,
        "CancelDone" => Event::CancelDone,
        "Expired" => Event::Expired,
        "RetriedNow" => Event::Retried { waits: false },
        "RetriedWaits" => Event::Retried { waits: true },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_scripts_is_known() {
        for source in SOURCES {
            let text = expand(&source.concat());
            assert!(!text.contains("no transition") && !text.contains("no event"), "{text}");
            assert!(!text.contains("@{"), "{text}");
        }
    }

    /// What is asked of the server is older than Redis 6.2.
    #[test]
    fn commands_are_those_of_old_servers() {
        let known = "DEL EXISTS GET HDEL HEXISTS HGET HGETALL HINCRBY HKEYS HLEN HMGET HSET HSETNX \
             INCR LRANGE LTRIM PUBLISH RPUSH SADD SCARD SET SISMEMBER SMEMBERS SRANDMEMBER SREM \
             ZADD ZCARD ZRANGE ZRANGEBYSCORE ZREM ZSCORE";
        let known: Vec<_> = known.split(' ').collect();
        for source in SOURCES {
            let text = source.concat();
            for (at, _) in text.match_indices("call('").chain(text.match_indices("many('")) {
                let name = text[at + 6..].split('\'').next().unwrap();
                assert!(known.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn names_stand_for_what_the_state_machine_says() {
        assert_eq!(expand("'@{Queued}' @{MAX_LOSSES}"), "'2' 5");
        assert_eq!(expand("'@{FailedAgain:Running}'"), "'1'");
        assert_eq!(expand("@{RetriedNow}"), "{ ['5'] = '2', ['6'] = '2', }");
        assert_eq!(expand("@{Leased:Dead}"), "no transition Leased:Dead");
    }
}
