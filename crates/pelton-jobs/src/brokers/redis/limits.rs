//! Limits across workers, and buckets that programs take from.

use super::RedisBroker;
use super::link::Call;
use super::script::Script;
use crate::error::BrokerError;
use crate::job::check_name;
use crate::limit::{Limit, Rate, Scope};
use crate::record::LimitRecord;
use crate::time::Time;

impl RedisBroker {
    pub(super) fn write_limit(
        &mut self,
        scope: &Scope,
        limit: Option<&Limit>,
        declared: bool,
    ) -> Result<(), BrokerError> {
        let text = scope.text();
        check_name("scope", &text)?;
        limit.map_or(Ok(()), Limit::check)?;
        let letter = match scope {
            Scope::Queue(_) => "q",
            Scope::Task(_) => "t",
            Scope::Key(_) => "k",
        };
        let mut call = Call::new(Script::Limit, Time(0));
        let what: &[u8] = if declared { b"declare" } else { b"set" };
        call.bytes(what);
        call.bytes(text.as_bytes()).bytes(letter.as_bytes());
        call.bytes(scope.name().as_bytes());
        call.bytes(limit.map(|limit| to_text(limit, declared)).unwrap_or_default().as_bytes());
        self.write(&call)?;
        Ok(())
    }

    pub(super) fn take_from(
        &mut self,
        bucket: &str,
        rate: Rate,
        cost: f64,
        now: Time,
    ) -> Result<Option<Time>, BrokerError> {
        check_name("bucket", bucket)?;
        rate.check()?;
        rate.check_cost(cost)?;
        let mut call = Call::new(Script::Limit, now);
        call.bytes(b"take").bytes(format!("user:{bucket}").as_bytes());
        call.text(rate.per_second).text(rate.burst).text(cost);
        Ok(self.write(&call)?.next().and_then(|value| value.as_int()).map(Time))
    }
}

/// A limit as the scripts read it: concurrency, rate and burst, or a dash; whether it is declared.
fn to_text(limit: &Limit, declared: bool) -> String {
    let dash = || "-".to_owned();
    format!(
        "{} {} {} {}",
        limit.concurrency.map_or_else(dash, |most| most.to_string()),
        limit.rate.map_or_else(dash, |rate| rate.per_second.to_string()),
        limit.rate.map_or_else(dash, |rate| rate.burst.to_string()),
        u8::from(declared)
    )
}

/// A limit from its field; `None` where it is not one of ours.
pub(super) fn record(scope: &[u8], text: &[u8]) -> Option<LimitRecord> {
    let scope = Scope::parse(std::str::from_utf8(scope).ok()?).ok()?;
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let concurrency = words.next()?.parse().ok();
    let (per_second, burst): (Option<f64>, Option<f64>) =
        (words.next()?.parse().ok(), words.next()?.parse().ok());
    let rate = per_second.zip(burst).map(|(per_second, burst)| Rate { per_second, burst });
    let declared = words.next() == Some("1");
    Some(LimitRecord { scope, limit: Limit { concurrency, rate }, declared })
}
