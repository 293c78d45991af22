//! What the end of an attempt means, before a store writes it.

use std::borrow::Cow;

use crate::broker::Chance;
use crate::error::BrokerError;
use crate::job::{End, check_blob};
use crate::retry::{self, RetryPolicy, Verdict};
use crate::state::Event;
use crate::time::Time;

/// A running job, as far as its end depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// What follows a failure.
    pub policy: RetryPolicy,
    /// Failures before this attempt.
    pub failures: u32,
    /// Whether somebody wants the job to end.
    pub cancel: bool,
}

/// What is written with a job's new state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Note<'a> {
    /// When the job goes on.
    pub run_at: Option<Time>,
    /// What went wrong.
    pub error: Option<&'a [u8]>,
    /// Why it ended, for people.
    pub reason: Option<Cow<'a, str>>,
    /// The signal that it waits for.
    pub signal: Option<&'a str>,
}

impl Attempt {
    /// What follows from `end`. `came`: whether the signal that a suspended job is to wait for is
    /// there already.
    pub fn ended<'a>(
        &self,
        end: &'a End,
        came: bool,
        now: Time,
        chance: &mut dyn Chance,
    ) -> (Event, Note<'a>) {
        let mut note = Note::default();
        let event = match end {
            End::Success(_) => Event::Succeeded,
            End::Failure { error, retry, delay } => {
                note.error = Some(error);
                self.failed(*retry, *delay, &mut note, now, chance)
            }
            End::Cancelled(reason) => {
                note.reason = Some(Cow::from(reason)).filter(|reason| !reason.is_empty());
                Event::CancelDone
            }
            End::Release | End::Suspend { .. } if self.cancel => Event::CancelDone,
            End::Suspend { until, signal } => {
                note.signal = signal.as_deref().filter(|_| !came);
                Event::Suspended { at: if came { now } else { until.unwrap_or(Time::MAX) } }
            }
            End::Release => Event::Released,
        };
        if let Event::FailedAgain { at } | Event::Suspended { at } = event {
            note.run_at = Some(at);
        }
        (event, note)
    }

    fn failed(
        &self,
        retry: bool,
        delay: Option<f64>,
        note: &mut Note<'_>,
        now: Time,
        chance: &mut dyn Chance,
    ) -> Event {
        let failures = self.failures.saturating_add(1);
        match self.policy.after_failure(failures, delay, now, chance.next()) {
            // Nobody wants the next attempt any more.
            Verdict::Again(_) if retry && self.cancel => Event::CancelDone,
            Verdict::Again(at) if retry => Event::FailedAgain { at },
            _ => {
                let reason = match retry {
                    true => "failed, and has no retries left",
                    false => "failed, and is not to be retried",
                };
                note.reason = Some(reason.into());
                Event::FailedForGood
            }
        }
    }
}

/// What follows when a worker goes away with a job, after `losses` such ends in a row before.
#[must_use]
pub fn lost(losses: u32, cancel: bool, now: Time) -> (Event, Note<'static>) {
    let (event, reason) = match retry::after_loss(losses.saturating_add(1), now) {
        _ if cancel => (Event::CancelDone, Some("its worker went away".into())),
        Verdict::Again(_) => (Event::Lost, None),
        Verdict::GiveUp => {
            let many = retry::MAX_LOSSES;
            let reason = format!("poison: {many} workers in a row went away while they ran it");
            (Event::LostForGood, Some(reason.into()))
        }
    };
    (event, Note { reason, ..Note::default() })
}

/// How an attempt that ended by `event` is remembered; `None` where it is not over, or succeeded.
#[must_use]
pub fn ending(event: Event) -> Option<&'static str> {
    match event {
        Event::FailedAgain { .. } | Event::FailedForGood => Some("failed"),
        Event::Lost | Event::LostForGood => Some("lost"),
        Event::CancelDone => Some("cancelled"),
        _ => None,
    }
}

/// Refuses what no store keeps.
pub fn check(end: &End) -> Result<(), BrokerError> {
    match end {
        End::Success(result) => check_blob("result", result),
        End::Failure { error, .. } => check_blob("error", error),
        End::Cancelled(_) | End::Release | End::Suspend { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(5_000_000);

    struct Half;

    impl Chance for Half {
        fn next(&mut self) -> f64 {
            0.5
        }
    }

    fn ended(attempt: &Attempt, end: &End, came: bool) -> (Event, Option<Time>, Option<String>) {
        let (event, note) = attempt.ended(end, came, NOW, &mut Half);
        (event, note.run_at, note.reason.map(Cow::into_owned))
    }

    fn failure(retry: bool) -> End {
        End::Failure { error: b"{}".to_vec(), retry, delay: None }
    }

    #[test]
    fn failures_are_followed_while_there_are_retries_and_somebody_wants_it() {
        let policy = RetryPolicy { max_retries: 1, ..RetryPolicy::default() };
        let fresh = Attempt { policy, failures: 0, cancel: false };
        let at = NOW.after(0.5);
        assert_eq!(
            ended(&fresh, &failure(true), false),
            (Event::FailedAgain { at }, Some(at), None)
        );
        let (event, _, reason) = ended(&fresh, &failure(false), false);
        assert_eq!(event, Event::FailedForGood);
        assert!(reason.unwrap().contains("not to be retried"));
        let (event, _, reason) = ended(&Attempt { failures: 1, ..fresh }, &failure(true), false);
        assert_eq!(event, Event::FailedForGood);
        assert!(reason.unwrap().contains("no retries left"));
        let unwanted = Attempt { cancel: true, ..fresh };
        assert_eq!(ended(&unwanted, &failure(true), false), (Event::CancelDone, None, None));
        assert_eq!(ended(&unwanted, &End::Release, false), (Event::CancelDone, None, None));
    }

    #[test]
    fn a_rest_is_over_at_once_where_its_signal_came() {
        let attempt = Attempt { policy: RetryPolicy::default(), failures: 0, cancel: false };
        let end = End::Suspend { until: None, signal: Some("go".into()) };
        let (event, note) = attempt.ended(&end, false, NOW, &mut Half);
        assert_eq!((event, note.signal), (Event::Suspended { at: Time::MAX }, Some("go")));
        let (event, note) = attempt.ended(&end, true, NOW, &mut Half);
        assert_eq!((event, note.signal), (Event::Suspended { at: NOW }, None));
        assert_eq!(note.run_at, Some(NOW));
    }

    #[test]
    fn losses_are_forgiven_until_they_are_too_many() {
        assert_eq!(lost(0, false, NOW).0, Event::Lost);
        assert_eq!(lost(retry::MAX_LOSSES - 1, false, NOW).0, Event::LostForGood);
        let (event, note) = lost(0, true, NOW);
        assert_eq!((event, ending(event)), (Event::CancelDone, Some("cancelled")));
        assert!(note.reason.unwrap().contains("went away"));
        assert_eq!(ending(Event::Released), None);
    }
}
