//! Attempts end.

use super::link::Call;
use super::resp::Value;
use super::script::Script;
use super::{FOR_EVER, RedisBroker};
use crate::broker::{Chance, WorkerRow};
use crate::error::BrokerError;
use crate::job::{End, Outcome, Settled, check_blob};
use crate::retry::Verdict;
use crate::state::State;
use crate::time::Time;

impl RedisBroker {
    pub(super) fn finish_jobs(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, BrokerError> {
        for outcome in outcomes {
            match &outcome.end {
                End::Success(result) => check_blob("result", result)?,
                End::Failure { error, .. } => check_blob("error", error)?,
                End::Cancelled(_) | End::Release | End::Suspend { .. } => {}
            }
        }
        let mut call = Call::new(Script::Finish, now);
        call.text(worker.0);
        let mut times = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            times.push(self.write_outcome(&mut call, outcome, now, chance)?);
        }
        let states = self.write(&call)?.next().unwrap_or(Value::Nil).into_array();
        if states.len() != outcomes.len() {
            return Err(self.unexpected("ended attempts"));
        }
        let mut settled = Vec::with_capacity(outcomes.len());
        for ((outcome, state), run_at) in outcomes.iter().zip(states).zip(times) {
            let told = state.into_text().unwrap_or_default();
            let (number, woken) = match told.strip_suffix(" now") {
                Some(number) => (number, true),
                None => (told.as_str(), false),
            };
            let state = number.parse().ok().and_then(State::from_number);
            let run_at = if woken { Some(now) } else { run_at };
            let run_at = run_at.filter(|_| state == Some(State::Scheduled));
            settled.push(Settled { id: outcome.lease.id, state, run_at });
        }
        Ok(settled)
    }

    /// What follows from an outcome, by the rules of `retry`.
    fn write_outcome(
        &mut self,
        call: &mut Call,
        outcome: &Outcome,
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Option<Time>, BrokerError> {
        call.bytes(outcome.lease.id.as_bytes()).text(outcome.lease.token);
        let mut add = |how: &str, one: &[u8], two: &[u8]| {
            call.bytes(how.as_bytes()).bytes(one).bytes(two);
        };
        match &outcome.end {
            End::Success(result) => add("success", result, b""),
            End::Release => add("release", b"", b""),
            End::Suspend { until, signal } => {
                let at = until.map_or(FOR_EVER, |until| until.0.min(FOR_EVER));
                let signal = signal.as_deref().unwrap_or_default();
                add("suspend", at.to_string().as_bytes(), signal.as_bytes());
                return Ok(Some(if at < FOR_EVER { Time(at) } else { Time::MAX }));
            }
            End::Cancelled(reason) => add("cancelled", reason.as_bytes(), b""),
            End::Failure { error, retry, delay } => {
                let (policy, failures) = (outcome.lease.row >> 32, outcome.lease.row as u32);
                let policy = self.policy(policy)?;
                let failures = failures.saturating_add(1);
                match policy.after_failure(failures, *delay, now, chance.next()) {
                    Verdict::Again(at) if *retry => {
                        add("again", at.0.to_string().as_bytes(), error);
                        return Ok(Some(at));
                    }
                    Verdict::Again(_) => add("dead", b"failed, and is not to be retried", error),
                    Verdict::GiveUp if !retry => {
                        add("dead", b"failed, and is not to be retried", error);
                    }
                    Verdict::GiveUp => add("dead", b"failed, and has no retries left", error),
                }
            }
        }
        Ok(None)
    }
}
