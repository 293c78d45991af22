//! A job's life: its states, what may happen to it, and what follows. Everything that decides a
//! transition is in this file.
//!
//! ```text
//!             parents done              due                lease             success
//!  (new) ──▶ waiting ──┬──▶ scheduled ──────▶ queued ───────────▶ running ──────────▶ succeeded
//!    │          │      └──────────────────────▲ ▲ │                │ │ │   (suspended: scheduled)
//!    ├──────────│──────▶ scheduled            │ │ │ released, lost │ │ │ failed for good,
//!    └──────────│──────▶ queued               │ │ └──◀─────────────┘ │ │ lost too often
//!               │           │                 │ └── failed, retry ───┘ ├──────────▶ dead
//!               │           │                 │     (via scheduled)    │
//!               └───────────┴── cancel, parent ended, expired ─────────┴──────────▶ cancelled
//!                                             │
//!            dead, cancelled ── retried ──────┘  (or waiting, where parents are unfinished)
//! ```

use crate::time::Time;

/// Where a job stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum State {
    /// For the jobs it depends on.
    Waiting = 0,
    /// For its time: delayed, or between two attempts.
    Scheduled = 1,
    /// For a worker.
    Queued = 2,
    /// A worker holds a lease on it.
    Running = 3,
    /// Ended with a result.
    Succeeded = 4,
    /// Failed for good: the dead-letter state.
    Dead = 5,
    /// Ended by request, by its parent's end, or by its own expiry.
    Cancelled = 6,
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The last unfinished job it depended on succeeded; its own time is `due`.
    ParentsDone {
        /// Not to be run before.
        due: Time,
    },
    /// A job it depends on ended otherwise.
    ParentEnded,
    /// Its time came.
    Due,
    /// A worker takes it.
    Leased,
    /// Its attempt ended with a result.
    Succeeded,
    /// Its attempt failed, and another one follows.
    FailedAgain {
        /// When the next attempt may begin.
        at: Time,
    },
    /// Its attempt failed, and no other one follows.
    FailedForGood,
    /// Its worker gave it back, not run.
    Released,
    /// Its worker put it aside, to go on later.
    Suspended {
        /// When at the latest.
        at: Time,
    },
    /// Its worker went away, and another attempt follows.
    Lost,
    /// Its worker went away, once too often.
    LostForGood,
    /// Somebody wants it to end.
    CancelAsked,
    /// Its worker stopped it, as was wanted.
    CancelDone,
    /// It was not begun in time.
    Expired,
    /// Somebody wants it to run again, from the start; `waits` for unfinished parents or not.
    Retried {
        /// Whether parents of it have not succeeded.
        waits: bool,
    },
}

/// What a transition asks of the store, besides the new state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Count the attempt, make a new fence, note worker and start.
    BeginAttempt,
    /// The lease is over: no worker holds the job.
    EndLease,
    /// Uncount the attempt.
    ForgetAttempt,
    /// Count a failure (it uses up a retry).
    CountFailure,
    /// Count a lost lease.
    CountLoss,
    /// Note the end, and when the record may be removed.
    Finish,
    /// Hand the result to the jobs that wait for it.
    ReleaseChildren,
    /// End the jobs that wait for it.
    EndChildren,
    /// Tell the worker.
    TellWorker,
    /// Forget the end, all counts and the last error.
    StartOver,
}

/// The state after an event, and what the store must do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The new state; the same for `CancelAsked` on a running job.
    pub state: State,
    /// In the order in which they are to be done.
    pub effects: &'static [Effect],
}

use Effect::{
    BeginAttempt, CountFailure, CountLoss, EndChildren, EndLease, Finish, ForgetAttempt,
    ReleaseChildren, StartOver, TellWorker,
};
use Kind as K;
use State::{Cancelled, Dead, Queued, Running, Scheduled, Succeeded, Waiting};

/// The whole machine: what is not in this table cannot happen.
const TABLE: &[(State, Kind, State, &[Effect])] = &[
    (Waiting, K::ParentsDoneNow, Queued, &[]),
    (Waiting, K::ParentsDoneLater, Scheduled, &[]),
    (Waiting, K::ParentEnded, Cancelled, &[Finish, EndChildren]),
    (Waiting, K::CancelAsked, Cancelled, &[Finish, EndChildren]),
    (Waiting, K::Expired, Cancelled, &[Finish, EndChildren]),
    (Scheduled, K::Due, Queued, &[]),
    (Scheduled, K::CancelAsked, Cancelled, &[Finish, EndChildren]),
    (Scheduled, K::Expired, Cancelled, &[Finish, EndChildren]),
    (Queued, K::Leased, Running, &[BeginAttempt]),
    (Queued, K::CancelAsked, Cancelled, &[Finish, EndChildren]),
    (Queued, K::Expired, Cancelled, &[Finish, EndChildren]),
    (Running, K::Succeeded, Succeeded, &[EndLease, Finish, ReleaseChildren]),
    (Running, K::FailedAgain, Scheduled, &[EndLease, CountFailure]),
    (Running, K::FailedForGood, Dead, &[EndLease, CountFailure, Finish, EndChildren]),
    (Running, K::Released, Queued, &[EndLease, ForgetAttempt]),
    (Running, K::Suspended, Scheduled, &[EndLease, ForgetAttempt]),
    (Running, K::Lost, Queued, &[EndLease, CountLoss]),
    (Running, K::LostForGood, Dead, &[EndLease, CountLoss, Finish, EndChildren]),
    (Running, K::CancelAsked, Running, &[TellWorker]),
    (Running, K::CancelDone, Cancelled, &[EndLease, Finish, EndChildren]),
    (Dead, K::RetriedNow, Queued, &[StartOver]),
    (Dead, K::RetriedWaits, Waiting, &[StartOver]),
    (Cancelled, K::RetriedNow, Queued, &[StartOver]),
    (Cancelled, K::RetriedWaits, Waiting, &[StartOver]),
];

/// An event with what decides the transition, and nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    ParentsDoneNow,
    ParentsDoneLater,
    ParentEnded,
    Due,
    Leased,
    Succeeded,
    FailedAgain,
    FailedForGood,
    Released,
    Suspended,
    Lost,
    LostForGood,
    CancelAsked,
    CancelDone,
    Expired,
    RetriedNow,
    RetriedWaits,
}

impl Event {
    fn kind(self, now: Time) -> Kind {
        match self {
            Self::ParentsDone { due } if due > now => K::ParentsDoneLater,
            Self::ParentsDone { .. } => K::ParentsDoneNow,
            Self::ParentEnded => K::ParentEnded,
            Self::Due => K::Due,
            Self::Leased => K::Leased,
            Self::Succeeded => K::Succeeded,
            Self::FailedAgain { .. } => K::FailedAgain,
            Self::FailedForGood => K::FailedForGood,
            Self::Released => K::Released,
            Self::Suspended { .. } => K::Suspended,
            Self::Lost => K::Lost,
            Self::LostForGood => K::LostForGood,
            Self::CancelAsked => K::CancelAsked,
            Self::CancelDone => K::CancelDone,
            Self::Expired => K::Expired,
            Self::Retried { waits: false } => K::RetriedNow,
            Self::Retried { waits: true } => K::RetriedWaits,
        }
    }
}

/// The transition of a job in `state` by `event` at `now`; `None` where it cannot happen (the job
/// ended already, say), and nothing is to be changed.
#[must_use]
pub fn step(state: State, event: Event, now: Time) -> Option<Transition> {
    let kind = event.kind(now);
    TABLE
        .iter()
        .find(|row| row.0 == state && row.1 == kind)
        .map(|row| Transition { state: row.2, effects: row.3 })
}

/// The first state of a job: before its parents, before its time, or ready.
#[must_use]
pub fn first(unfinished_parents: usize, due: Time, now: Time) -> State {
    if unfinished_parents > 0 {
        Waiting
    } else if due > now {
        Scheduled
    } else {
        Queued
    }
}

impl State {
    /// Every state, in the order of its number.
    pub const ALL: [Self; 7] = [Waiting, Scheduled, Queued, Running, Succeeded, Dead, Cancelled];

    /// Whether nothing but a retry by hand changes it any more.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Succeeded | Dead | Cancelled)
    }

    /// Its name, as everybody outside sees it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Waiting => "waiting",
            Scheduled => "scheduled",
            Queued => "queued",
            Running => "running",
            Succeeded => "succeeded",
            Dead => "dead",
            Cancelled => "cancelled",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The state of this number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000);

    /// Every event there is; a new one does not compile until it is here.
    fn events() -> Vec<Event> {
        let all = vec![
            Event::ParentsDone { due: NOW },
            Event::ParentsDone { due: NOW.after(1.0) },
            Event::ParentEnded,
            Event::Due,
            Event::Leased,
            Event::Succeeded,
            Event::FailedAgain { at: NOW },
            Event::FailedForGood,
            Event::Released,
            Event::Lost,
            Event::LostForGood,
            Event::CancelAsked,
            Event::CancelDone,
            Event::Expired,
            Event::Retried { waits: false },
            Event::Retried { waits: true },
            Event::Suspended { at: NOW },
        ];
        for event in &all {
            match event {
                Event::ParentsDone { .. }
                | Event::ParentEnded
                | Event::Due
                | Event::Leased
                | Event::Succeeded
                | Event::FailedAgain { .. }
                | Event::FailedForGood
                | Event::Released
                | Event::Lost
                | Event::LostForGood
                | Event::CancelAsked
                | Event::CancelDone
                | Event::Expired
                | Event::Suspended { .. }
                | Event::Retried { .. } => {}
            }
        }
        all
    }

    /// All 7 x 17 pairs, a row of letters for each state: the state that follows, or a dot where
    /// the event cannot happen. Columns are in the order of `events`.
    #[test]
    fn every_pair_of_state_and_event() {
        let letter = |state: Option<Transition>| match state.map(|next| next.state) {
            None => '.',
            Some(Waiting) => 'w',
            Some(Scheduled) => 's',
            Some(Queued) => 'q',
            Some(Running) => 'r',
            Some(Succeeded) => 'S',
            Some(Dead) => 'D',
            Some(Cancelled) => 'C',
        };
        let expected = [
            (Waiting, "qsC........C.C..."),
            (Scheduled, "...q.......C.C..."),
            (Queued, "....r......C.C..."),
            (Running, ".....SsDqqDrC...s"),
            (Succeeded, "................."),
            (Dead, "..............qw."),
            (Cancelled, "..............qw."),
        ];
        for (state, row) in expected {
            let found: String =
                events().into_iter().map(|event| letter(step(state, event, NOW))).collect();
            assert_eq!(found, row, "{state:?}");
        }
    }

    #[test]
    fn effects_fit_their_transitions() {
        for state in State::ALL {
            for next in events().into_iter().filter_map(|event| step(state, event, NOW)) {
                let has = |effect| next.effects.contains(&effect);
                assert_eq!(has(BeginAttempt), state != Running && next.state == Running);
                assert_eq!(has(EndLease), state == Running && next.state != Running);
                assert_eq!(has(Finish), next.state.is_end());
                assert_eq!(has(ReleaseChildren), next.state == Succeeded);
                assert_eq!(has(EndChildren), matches!(next.state, Dead | Cancelled));
                assert_eq!(has(StartOver), state.is_end());
                assert_eq!(has(TellWorker), state == next.state);
                assert!(!(has(CountFailure) && has(CountLoss)));
            }
        }
    }

    #[test]
    fn no_row_is_there_twice() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(!TABLE[..at].iter().any(|other| (other.0, other.1) == (row.0, row.1)));
        }
    }

    #[test]
    fn first_states() {
        let later = NOW.after(1.0);
        assert_eq!(first(1, later, NOW), Waiting);
        assert_eq!(first(1, NOW, NOW), Waiting);
        assert_eq!(first(0, later, NOW), Scheduled);
        assert_eq!(first(0, NOW, NOW), Queued);
    }

    #[test]
    fn names_and_numbers_come_back() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            assert_eq!(State::from_number(number as i64), Some(state));
            assert_eq!(State::from_name(state.name()), Some(state));
        }
        assert_eq!((State::from_number(7), State::from_number(-1)), (None, None));
        assert_eq!(State::from_name("done"), None);
    }
}
