//! Answers from Redis, on a connection of their own.

use std::collections::{HashMap, HashSet};

use super::link::{Call, Link};
use super::resp::{Commands, Value};
use super::schedule::{Template, rule_parts};
use super::script::Script;
use super::{fields, id_from};
use crate::broker::Reader;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::record::{
    AttemptRecord, JobRecord, LimitRecord, ListFilter, QueueRecord, ScheduleRecord, WorkerRecord,
};
use crate::state::State;
use crate::time::Time;

/// Ids taken from an index at a time.
const CHUNK: usize = 500;

/// Ready jobs whose ids are read for a list: where there are more, the jobs of all states are walked.
const SCAN_MAX: i64 = 20_000;

/// Jobs counted in one script.
const COUNT_MAX: i64 = 5000;

/// A view of the jobs of one namespace.
pub(super) struct RedisReader {
    link: Link,
}

impl RedisReader {
    pub(super) fn new(link: Link) -> Self {
        Self { link }
    }

    fn ask(&mut self, commands: &[Vec<&[u8]>]) -> Result<Vec<Value>, BrokerError> {
        let mut ask = Commands::default();
        for command in commands {
            ask.add(command);
        }
        if ask.count == 0 {
            return Ok(Vec::new());
        }
        self.link.ask(&ask)
    }

    /// Records of jobs, in order; those that are gone are left out.
    fn records(&mut self, ids: &[JobId]) -> Result<Vec<JobRecord>, BrokerError> {
        let keys: Vec<_> = ids.iter().map(|id| self.link.key(&[b"j", id.as_bytes()])).collect();
        let commands: Vec<_> = keys.iter().map(|key| vec![&b"HGETALL"[..], key]).collect();
        let hashes = self.ask(&commands)?;
        let mut records: Vec<_> =
            ids.iter().zip(hashes).filter_map(|(id, hash)| fields::record(*id, hash)).collect();
        self.name_workers(&mut records)?;
        Ok(records)
    }

    /// Workers' numbers become their names.
    fn name_workers(&mut self, records: &mut [JobRecord]) -> Result<(), BrokerError> {
        let mut names: HashMap<String, Option<String>> = records
            .iter()
            .filter_map(|record| record.worker.clone())
            .map(|row| (row, None))
            .collect();
        let keys: Vec<(String, Vec<u8>)> =
            names.keys().map(|row| (row.clone(), self.link.key(&[b"w", row.as_bytes()]))).collect();
        let commands: Vec<_> =
            keys.iter().map(|(_, key)| vec![&b"HGET"[..], key, b"name"]).collect();
        for ((row, _), name) in keys.iter().zip(self.ask(&commands)?) {
            names.insert(row.clone(), name.into_text());
        }
        for record in records {
            record.worker = record.worker.take().and_then(|row| names.get(&row).cloned().flatten());
        }
        Ok(())
    }

    /// What holds, between them, all jobs that the filter may let pass: the cheapest to walk.
    fn sources(&mut self, filter: &ListFilter) -> Result<Sources, BrokerError> {
        if let Some(group) = &filter.group {
            let indexes = vec![self.link.key(&[b"g:", group.as_bytes()])];
            return Ok(Sources { indexes, ids: Vec::new() });
        }
        let by_task = self.by_task(filter)?;
        let by_state = self.by_state(filter)?;
        let of_tasks = self.count(&by_task)?;
        let of_states = self.count(&by_state.indexes)?;
        let levels = self.count(&by_state.levels)?;
        let some = filter.task.is_some() || filter.queue.is_some() || filter.state.is_some();
        if !some || levels > SCAN_MAX || of_tasks <= of_states + levels {
            return Ok(Sources { indexes: by_task, ids: Vec::new() });
        }
        let ids = self.ids_in(&by_state)?;
        Ok(Sources { indexes: by_state.indexes, ids })
    }

    fn by_task(&mut self, filter: &ListFilter) -> Result<Vec<Vec<u8>>, BrokerError> {
        let tasks = match &filter.task {
            Some(task) => vec![task.clone().into_bytes()],
            None => self.members(&[b"tasks"])?,
        };
        Ok(tasks.iter().map(|task| self.link.key(&[b"t:", task])).collect())
    }

    fn by_state(&mut self, filter: &ListFilter) -> Result<ByState, BrokerError> {
        let queues = match &filter.queue {
            Some(queue) => vec![queue.clone().into_bytes()],
            None => self.members(&[b"queues"])?,
        };
        let states = filter.state.map_or_else(|| State::ALL.to_vec(), |state| vec![state]);
        let mut found = ByState::default();
        for state in states {
            match state {
                State::Queued => {
                    let key = self.link.key(&[b"levels"]);
                    let levels = self.ask(&[vec![b"ZRANGE", &key, b"0", b"-1"]])?.swap_remove(0);
                    let levels = levels.into_array().into_iter().filter_map(Value::into_bytes);
                    let levels = levels.filter(|level| queues.iter().any(|q| level.ends_with(q)));
                    found.levels.extend(levels.map(|level| self.link.key(&[b"r", &level])));
                }
                State::Running => {
                    let key = self.link.key(&[b"workers"]);
                    let rows = self.ask(&[vec![b"ZRANGE", &key, b"0", b"-1"]])?.swap_remove(0);
                    let rows = rows.into_array().into_iter().filter_map(Value::into_bytes);
                    found.running.extend(rows.map(|row| self.link.key(&[b"run", &row])));
                }
                state => {
                    let number = [b'0' + state as u8];
                    let of = queues.iter().map(|queue| self.link.key(&[b"i", &number, queue]));
                    found.indexes.extend(of);
                }
            }
        }
        Ok(found)
    }

    fn members(&mut self, key: &[&[u8]]) -> Result<Vec<Vec<u8>>, BrokerError> {
        let key = self.link.key(key);
        let members = self.ask(&[vec![b"SMEMBERS", &key]])?.swap_remove(0).into_array();
        Ok(members.into_iter().filter_map(Value::into_bytes).collect())
    }

    fn count(&mut self, keys: &[Vec<u8>]) -> Result<i64, BrokerError> {
        let counts: Vec<_> = keys.iter().map(|key| vec![&b"ZCARD"[..], key]).collect();
        Ok(self.ask(&counts)?.iter().map(|count| count.as_int().unwrap_or(0)).sum())
    }

    /// The ids of queued and running jobs, newest first: they have no index by id.
    fn ids_in(&mut self, places: &ByState) -> Result<Vec<JobId>, BrokerError> {
        let mut ask: Vec<_> =
            places.levels.iter().map(|key| vec![&b"ZRANGE"[..], key, b"0", b"-1"]).collect();
        ask.extend(places.running.iter().map(|key| vec![&b"SMEMBERS"[..], key]));
        let found = self.ask(&ask)?.into_iter().flat_map(Value::into_array);
        let found = found.filter_map(Value::into_bytes);
        let mut ids: Vec<_> = found.filter_map(|id| id_from(&id)).collect();
        ids.sort_unstable_by(|one, two| two.cmp(one));
        Ok(ids)
    }

    /// The newest ids of all `sources` before `cursor`, and whether there are more.
    fn newest(
        &mut self,
        sources: &Sources,
        cursor: Option<JobId>,
    ) -> Result<(Vec<JobId>, bool), BrokerError> {
        let from = cursor.map_or(b"+".to_vec(), |id| [b"(", &id.as_bytes()[..]].concat());
        let count = CHUNK.to_string();
        let commands: Vec<_> = sources
            .indexes
            .iter()
            .map(|key| {
                vec![&b"ZREVRANGEBYLEX"[..], key, &from, b"-", b"LIMIT", b"0", count.as_bytes()]
            })
            .collect();
        let start = cursor.map_or(0, |cursor| sources.ids.partition_point(|id| *id >= cursor));
        let mut ids: Vec<_> = sources.ids[start..].iter().take(CHUNK).copied().collect();
        for found in self.ask(&commands)? {
            let found = found.into_array().into_iter().filter_map(Value::into_bytes);
            ids.extend(found.filter_map(|id| id_from(&id)));
        }
        ids.sort_unstable_by(|one, two| two.cmp(one));
        // A job that moved while it was asked for is in two indexes.
        ids.dedup();
        let more = ids.len() >= CHUNK;
        ids.truncate(CHUNK);
        Ok((ids, more))
    }
}

/// Where to look for jobs: indexes by id, and ids, newest first.
struct Sources {
    indexes: Vec<Vec<u8>>,
    ids: Vec<JobId>,
}

/// Keys of jobs by their states: indexes by id, ready ones, running ones.
#[derive(Default)]
struct ByState {
    indexes: Vec<Vec<u8>>,
    levels: Vec<Vec<u8>>,
    running: Vec<Vec<u8>>,
}

impl Reader for RedisReader {
    fn get(&mut self, id: JobId) -> Result<Option<JobRecord>, BrokerError> {
        Ok(self.records(&[id])?.pop())
    }

    fn version(&mut self, id: JobId) -> Result<Option<i64>, BrokerError> {
        let key = self.link.key(&[b"j", id.as_bytes()]);
        let answer = self.ask(&[vec![b"HMGET", &key, b"st", b"v"]])?.swap_remove(0).into_array();
        Ok(match &answer[..] {
            [Value::Bytes(_), version] => Some(version.as_int().unwrap_or(1)),
            _ => None,
        })
    }

    fn list(&mut self, filter: &ListFilter) -> Result<Vec<JobRecord>, BrokerError> {
        let sources = self.sources(filter)?;
        let limit = filter.limit as usize;
        let fits = |record: &JobRecord| {
            filter.state.is_none_or(|state| state == record.state)
                && filter.queue.as_ref().is_none_or(|queue| *queue == record.queue)
                && filter.task.as_ref().is_none_or(|task| *task == record.task)
                && filter.group.as_ref().is_none_or(|group| record.group.as_ref() == Some(group))
        };
        let mut found = Vec::new();
        let mut cursor = filter.before;
        while found.len() < limit {
            let (ids, more) = self.newest(&sources, cursor)?;
            cursor = ids.last().copied();
            for ids in ids.chunks(CHUNK.min((limit - found.len()).max(16))) {
                found.extend(self.records(ids)?.into_iter().filter(fits));
                if found.len() >= limit {
                    break;
                }
            }
            if !more {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    fn queues(&mut self) -> Result<Vec<QueueRecord>, BrokerError> {
        let answer = self.link.call(&Call::new(Script::Queues, Time(0)))?.into_array();
        let mut queues: Vec<_> = answer.into_iter().filter_map(queue).collect();
        queues.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(queues)
    }

    fn workers(&mut self, since: Time) -> Result<Vec<WorkerRecord>, BrokerError> {
        let key = self.link.key(&[b"workers"]);
        let rows = self.ask(&[vec![b"ZRANGE", &key, b"0", b"-1"]])?.swap_remove(0).into_array();
        let rows: Vec<_> = rows.into_iter().filter_map(Value::into_bytes).collect();
        let keys: Vec<_> = rows
            .iter()
            .map(|row| (self.link.key(&[b"w", row]), self.link.key(&[b"run", row])))
            .collect();
        let mut commands = Vec::new();
        for (worker, running) in &keys {
            commands.push(vec![
                &b"HMGET"[..],
                worker,
                b"name",
                b"host",
                b"pid",
                b"queues",
                b"concurrency",
                b"started",
                b"seen",
                b"processed",
                b"failed",
                b"closed",
                b"rep",
            ]);
            commands.push(vec![&b"SCARD"[..], running]);
        }
        let mut answers = self.ask(&commands)?.into_iter();
        let mut workers = Vec::new();
        while let (Some(fields), Some(running)) = (answers.next(), answers.next()) {
            let worker = worker(fields.into_array(), running.as_int().unwrap_or(0));
            workers.extend(worker.filter(|worker| worker.seen_at >= since));
        }
        workers.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(workers)
    }

    fn schedules(&mut self) -> Result<Vec<ScheduleRecord>, BrokerError> {
        let names = [&b"rules"[..], b"schedules", b"fired", b"ticks", b"resting"];
        let [rules, schedules, fired, ticks, resting] = names.map(|name| self.link.key(&[name]));
        let mut answers = self.ask(&[
            vec![b"HGETALL", &rules],
            vec![b"HGETALL", &schedules],
            vec![b"HGETALL", &fired],
            vec![b"ZRANGE", &ticks, b"0", b"-1", b"WITHSCORES"],
            vec![b"SMEMBERS", &resting],
        ])?;
        let resting = answers.pop().unwrap_or(Value::Nil).into_array().into_iter();
        let resting: HashSet<_> = resting.filter_map(Value::into_bytes).collect();
        let mut answers = answers.into_iter().map(pairs);
        let mut next = || answers.next().unwrap_or_default();
        let (rules, schedules, fired, ticks) = (next(), next(), next(), next());
        let mut records: Vec<(Vec<u8>, ScheduleRecord)> = rules
            .into_iter()
            .filter_map(|(field, rule)| {
                let template = Template::read(schedules.get(&field)?)?;
                let next_at = ticks.get(&field).and_then(|text| number(text)).map(Time);
                let mut record = schedule(&field, &rule, template, next_at, fired.get(&field))?;
                record.paused = resting.contains(&field);
                Some((field, record))
            })
            .collect();
        records.sort_by(|one, two| (&one.1.name, &one.0).cmp(&(&two.1.name, &two.0)));
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    fn history(&mut self, id: JobId) -> Result<Vec<AttemptRecord>, BrokerError> {
        let key = self.link.key(&[b"h", id.as_bytes()]);
        let attempts = self.ask(&[vec![b"LRANGE", &key, b"0", b"-1"]])?.swap_remove(0);
        let attempts = attempts.into_array().into_iter().filter_map(Value::into_bytes);
        Ok(attempts.filter_map(|bytes| attempt(&bytes)).collect())
    }

    fn group_counts(&mut self, group: &str) -> Result<[u64; 7], BrokerError> {
        let mut counts = [0; 7];
        let mut from = 0;
        loop {
            let mut call = Call::new(Script::Counts, Time(0));
            call.bytes(group.as_bytes()).text(from).text(COUNT_MAX);
            let mut answer = self.link.call(&call)?.into_array().into_iter();
            let seen = answer.next().and_then(|value| value.as_int()).unwrap_or(0);
            let some = answer.next().unwrap_or(Value::Nil).into_array();
            for (count, more) in counts.iter_mut().zip(some) {
                *count += u64::try_from(more.as_int().unwrap_or(0)).unwrap_or(0);
            }
            from += seen;
            if seen < COUNT_MAX {
                return Ok(counts);
            }
        }
    }

    fn limits(&mut self) -> Result<Vec<LimitRecord>, BrokerError> {
        let key = self.link.key(&[b"limits"]);
        let limits = pairs(self.ask(&[vec![b"HGETALL", &key]])?.swap_remove(0)).into_iter();
        let mut limits: Vec<_> =
            limits.filter_map(|(scope, text)| super::limits::record(&scope, &text)).collect();
        limits.sort_by_cached_key(|one| one.scope.text());
        Ok(limits)
    }
}

/// An attempt, as `remember` in family.lua writes it.
fn attempt(bytes: &[u8]) -> Option<AttemptRecord> {
    let head = bytes.iter().position(|byte| *byte == b'\n')?;
    let words = std::str::from_utf8(&bytes[..head]).ok()?;
    let [attempt, token, started, ended, end, name] =
        words.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let (worker, error) = bytes[head + 1..].split_at_checked(name.parse().ok()?)?;
    let worker = String::from_utf8_lossy(worker).into_owned();
    Some(AttemptRecord {
        attempt: attempt.parse().ok()?,
        token: token.parse().ok()?,
        worker: (!worker.is_empty()).then_some(worker),
        started_at: started.parse().ok().map(Time),
        ended_at: Time(ended.parse().ok()?),
        end: end.to_owned(),
        error: (!error.is_empty()).then(|| error.to_vec()),
    })
}

fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn pairs(value: Value) -> HashMap<Vec<u8>, Vec<u8>> {
    let mut values = value.into_array().into_iter();
    let mut pairs = HashMap::new();
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        if let (Some(name), Some(value)) = (name.into_bytes(), value.into_bytes()) {
            pairs.insert(name, value);
        }
    }
    pairs
}

fn queue(value: Value) -> Option<QueueRecord> {
    let mut parts = value.into_array().into_iter();
    let name = parts.next()?.into_text()?;
    let paused = parts.next()?.as_int()? == 1;
    let mut counts = [0; 7];
    for (count, value) in counts.iter_mut().zip(parts.next()?.into_array()) {
        *count = u64::try_from(value.as_int()?).ok()?;
    }
    let oldest_queued_at = parts.next().and_then(|value| value.as_int()).map(Time);
    Some(QueueRecord { name, paused, counts, oldest_queued_at })
}

fn worker(fields: Vec<Value>, running: i64) -> Option<WorkerRecord> {
    let mut fields = fields.into_iter();
    let mut next = || fields.next().unwrap_or(Value::Nil);
    let (name, hostname, pid) = (next().into_text()?, next().into_text()?, next().as_int()?);
    let (queues, concurrency) = (next().into_text()?, next().as_int()?);
    let (started_at, seen_at) = (Time(next().as_int()?), Time(next().as_int()?));
    let mut count = || u64::try_from(next().as_int().unwrap_or(0)).unwrap_or(0);
    let (processed, failed, closed) = (count(), count(), count());
    (closed == 0).then_some(WorkerRecord {
        name,
        hostname,
        pid: u32::try_from(pid).ok()?,
        queues: queues.split('\n').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        concurrency: u32::try_from(concurrency).ok()?,
        started_at,
        seen_at,
        running: u64::try_from(running).unwrap_or(0),
        processed,
        failed,
        report: fields.next().and_then(Value::into_bytes),
    })
}

fn schedule(
    field: &[u8],
    rule: &[u8],
    template: Template,
    next_at: Option<Time>,
    fired: Option<&Vec<u8>>,
) -> Option<ScheduleRecord> {
    let name = super::schedule::name_in(field);
    let owner = field.split(|byte| *byte == 0).next()?;
    let parts = rule_parts(rule)?;
    let (last_job, last_at) = match fired.and_then(|fired| fired.split_at_checked(16)) {
        Some((id, at)) => (id_from(id), number(at).map(Time)),
        None => (None, None),
    };
    Some(ScheduleRecord {
        name: String::from_utf8_lossy(name).into_owned(),
        task: template.job.task,
        queue: template.job.queue,
        cron: parts.text,
        tz: parts.tz,
        every: parts.every,
        next_at,
        last_at,
        last_job,
        owner: String::from_utf8_lossy(owner).into_owned(),
        paused: false,
        grace: template.grace,
        catch_up: template.catch_up,
    })
}
