//! What operators ask of many jobs, and of workers.

use super::RedisBroker;
use super::link::Call;
use super::resp::{Commands, Value};
use super::script::Script;
use crate::broker::WorkerRow;
use crate::error::BrokerError;
use crate::job::check_blob;
use crate::time::Time;

/// Jobs that one script ends: they, and those that wait for them, hold the server up.
const END_MAX: usize = 1000;

/// An order has a number of so many bytes before it.
const NUMBER: usize = 16;

impl RedisBroker {
    /// Ends a workflow: newest jobs first, so that few are ended as the children of others.
    pub(super) fn cancel_all_of(
        &mut self,
        group: &str,
        reason: &str,
        now: Time,
    ) -> Result<u64, BrokerError> {
        let key = self.link.key(&[b"g:", group.as_bytes()]);
        let mut ask = Commands::default();
        ask.add(&[b"ZREVRANGE", &key, b"0", b"-1"]);
        let ids = self.link.ask(&ask)?.swap_remove(0).into_array().into_iter();
        let ids: Vec<_> = ids.filter_map(Value::into_bytes).collect();
        let mut ended = 0;
        for some in ids.chunks(END_MAX) {
            let mut call = Call::new(Script::Control, now);
            call.bytes(b"cancel").bytes(reason.as_bytes());
            for id in some {
                call.bytes(id);
            }
            ended += self.end_many(&call)?;
        }
        Ok(ended)
    }

    pub(super) fn cancel_unstarted_of(
        &mut self,
        queue: &str,
        limit: u32,
        now: Time,
    ) -> Result<u64, BrokerError> {
        let mut ended = 0;
        while ended < u64::from(limit) {
            let most = (u64::from(limit) - ended).min(END_MAX as u64);
            let mut call = Call::new(Script::Control, now);
            call.bytes(b"purge").bytes(b"purged").bytes(queue.as_bytes()).text(most);
            let some = self.end_many(&call)?;
            ended += some;
            if some == 0 {
                break;
            }
        }
        Ok(ended)
    }

    fn end_many(&mut self, call: &Call) -> Result<u64, BrokerError> {
        let ended = self.write(call)?.next().and_then(|value| value.as_int());
        self.commit.cancels = true;
        ended
            .and_then(|ended| u64::try_from(ended).ok())
            .ok_or_else(|| self.unexpected("cancelled jobs"))
    }

    pub(super) fn write_orders(
        &mut self,
        name: Option<&str>,
        order: &[u8],
        now: Time,
    ) -> Result<u64, BrokerError> {
        check_blob("order", order)?;
        let request = self.request();
        let mut call = Call::new(Script::Orders, now);
        call.bytes(b"give").bytes(name.unwrap_or_default().as_bytes()).bytes(&request);
        call.bytes(order);
        let told = self.write(&call)?.next().and_then(|value| value.as_int());
        self.commit.orders = true;
        Ok(u64::try_from(told.unwrap_or(0)).unwrap_or(0))
    }

    pub(super) fn take_orders(
        &mut self,
        worker: WorkerRow,
        report: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, BrokerError> {
        let mut call = Call::new(Script::Orders, Time(0));
        call.bytes(b"take").text(worker.0);
        call.bytes(self.ordered.get(&worker).map(Vec::as_slice).unwrap_or_default());
        call.text(u8::from(report.is_some())).bytes(report.unwrap_or_default());
        let orders = self.write(&call)?.next().unwrap_or(Value::Nil).into_array().into_iter();
        let mut bodies = Vec::new();
        for mut order in orders.filter_map(Value::into_bytes) {
            if order.len() >= NUMBER {
                bodies.push(order.split_off(NUMBER));
                self.ordered.insert(worker, order);
            }
        }
        Ok(bodies)
    }
}
