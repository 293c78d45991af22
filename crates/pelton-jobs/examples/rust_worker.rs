//! A Rust program at the same queues as the Python ones.
//!
//! `cargo run --example rust_worker -- sqlite:///jobs.db work 10` works off ten jobs of task
//! "rust.add" and ends; `… enqueue 3` writes three for whoever has the task "python.double".
//! Payloads are the JSON that `pelton.jobs` writes: `{"args": {"name": value}}`.

use std::sync::Arc;
use std::time::Duration;

use pelton_jobs::BrokerError;
use pelton_jobs::broker::WorkerSpec;
use pelton_jobs::engine::{Engine, wait};
use pelton_jobs::id::JobId;
use pelton_jobs::job::{End, Extra, LeasedJob, NewJob, Outcome};
use pelton_jobs::retry::RetryPolicy;
use pelton_jobs::worker::{WorkerEvents, WorkerSession};

/// Jobs here are too short to be stopped half way.
struct NoEvents;

impl WorkerEvents for NoEvents {
    fn cancel(&self, _ids: Vec<JobId>) {}
    fn lost(&self, _ids: Vec<JobId>) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, what, count] = &arguments[..] else {
        return Err("usage: rust_worker URL work|enqueue COUNT".into());
    };
    let count: usize = count.parse()?;
    let engine = Arc::new(Engine::open(url)?);
    match what.as_str() {
        "work" => work(&engine, count)?,
        "enqueue" => enqueue(&engine, count)?,
        other => return Err(format!("{other:?} is neither work nor enqueue").into()),
    }
    engine.close();
    Ok(())
}

/// Writes jobs for a Python worker, all in one write, and prints their ids.
fn enqueue(engine: &Engine, count: usize) -> Result<(), BrokerError> {
    let mut jobs = Vec::with_capacity(count);
    for number in 0..count {
        jobs.push(Arc::new(NewJob {
            id: JobId::new(engine.now())?,
            task: "python.double".into(),
            payload: format!("{{\"args\":{{\"value\":{number}}}}}").into_bytes(),
            queue: "default".into(),
            priority: 0,
            run_at: None,
            expires_at: None,
            key: None,
            timeout: Some(30.0),
            retry: RetryPolicy::default(),
            result_ttl: 3600.0,
            group: None,
            extra: Extra::default(),
        }));
    }
    let ids = wait(|reply| {
        engine.write(move |broker, now| broker.enqueue(&jobs, &[], now), reply);
    })?;
    for id in ids {
        println!("{id}");
    }
    Ok(())
}

/// Leases, runs and finishes jobs of the queue "rust", until `count` are done.
fn work(engine: &Arc<Engine>, count: usize) -> Result<(), BrokerError> {
    let spec = WorkerSpec {
        name: "rust_worker".into(),
        hostname: "localhost".into(),
        pid: std::process::id(),
        queues: vec!["rust".into()],
        skip: Vec::new(),
        concurrency: 10,
        lease: 15.0,
    };
    let session = WorkerSession::start(Arc::clone(engine), spec, Box::new(NoEvents))?;
    let mut done = 0;
    while done < count {
        let jobs = wait(|reply| session.lease(10, Duration::from_secs(1), reply))?;
        let outcomes: Vec<Outcome> =
            jobs.iter().map(|job| Outcome { lease: job.lease(), end: run(job) }).collect();
        done += outcomes.len();
        if !outcomes.is_empty() {
            wait(|reply| session.finish(outcomes, reply))?;
        }
    }
    session.close()
}

/// The task "rust.add": the sum of the integers among its arguments.
fn run(job: &LeasedJob) -> End {
    if &*job.task != "rust.add" {
        let error = format!(
            "{{\"type\":\"UnknownTask\",\"message\":\"no task {:?} here\",\"traceback\":\"\"}}",
            job.task
        );
        return End::Failure { error: error.into_bytes(), retry: true, delay: Some(30.0) };
    }
    let text = String::from_utf8_lossy(&job.payload);
    let numbers = text.split(|character: char| !(character.is_ascii_digit() || character == '-'));
    let sum: i64 = numbers.filter_map(|number| number.parse::<i64>().ok()).sum();
    End::Success(sum.to_string().into_bytes())
}
