//! What a job has done already, and what was said to it meanwhile.

use super::RedisBroker;
use super::link::Call;
use super::resp::{Commands, Value};
use super::script::Script;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Lease, check_blob, check_name};
use crate::time::Time;

impl RedisBroker {
    pub(super) fn write_step(
        &mut self,
        lease: Lease,
        step: &str,
        value: &[u8],
    ) -> Result<bool, BrokerError> {
        check_name("step", step)?;
        check_blob("step's result", value)?;
        let mut call = about("save", lease);
        call.bytes(step.as_bytes()).bytes(value);
        let answer = self.write(&call)?.next();
        taken(answer, "steps")
    }

    pub(super) fn steps_of(&mut self, lease: Lease) -> Result<Vec<(String, Vec<u8>)>, BrokerError> {
        let key = self.link.key(&[b"s", lease.id.as_bytes()]);
        let mut ask = Commands::default();
        ask.add(&[b"HGETALL", &key]);
        let mut values = self.link.ask(&ask)?.swap_remove(0).into_array().into_iter();
        let mut steps = Vec::new();
        while let (Some(name), Some(value)) = (values.next(), values.next()) {
            if let (Some(name), Some(value)) = (name.into_text(), value.into_bytes()) {
                steps.push((name, value));
            }
        }
        Ok(steps)
    }

    pub(super) fn signal_to_step(
        &mut self,
        lease: Lease,
        signal: &str,
        step: &str,
    ) -> Result<Option<Vec<u8>>, BrokerError> {
        check_name("step", step)?;
        let mut call = about("take", lease);
        call.bytes(signal.as_bytes()).bytes(step.as_bytes());
        Ok(self.write(&call)?.next().and_then(Value::into_bytes))
    }

    pub(super) fn send_signal(
        &mut self,
        id: JobId,
        signal: &str,
        value: &[u8],
        now: Time,
    ) -> Result<bool, BrokerError> {
        check_name("signal", signal)?;
        check_blob("signal's value", value)?;
        let request = self.request();
        let mut call = Call::new(Script::Steps, now);
        call.bytes(b"signal").bytes(id.as_bytes()).bytes(signal.as_bytes());
        call.bytes(value).bytes(&request);
        let answer = self.write(&call)?.next();
        taken(answer, "signals")
    }
}

/// A call about a job that is held under `lease`.
fn about(what: &str, lease: Lease) -> Call {
    let mut call = Call::new(Script::Steps, Time(0));
    call.bytes(what.as_bytes()).bytes(lease.id.as_bytes()).text(lease.token);
    call
}

fn taken(answer: Option<Value>, what: &str) -> Result<bool, BrokerError> {
    match answer {
        Some(Value::Int(done)) => Ok(done == 1),
        _ => Err(BrokerError::Invalid(format!(
            "the job has as many {what} as it may keep: use several jobs"
        ))),
    }
}
