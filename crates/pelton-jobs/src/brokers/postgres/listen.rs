//! Others' writes, told by PostgreSQL as they are committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use super::fault::Fault;
use super::location::Location;
use crate::broker::{Ears, News};
use crate::error::BrokerError;
use crate::id::JobId;

/// How soon the thread sees that it is to end.
const GLANCE: Duration = Duration::from_secs(1);

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A thread that listens, until this is dropped.
pub(super) struct Listening {
    closed: Arc<AtomicBool>,
}

impl Listening {
    pub(super) fn start(
        location: Location,
        uid: String,
        ears: Arc<dyn Ears>,
    ) -> Result<Self, BrokerError> {
        let closed = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&closed);
        std::thread::Builder::new()
            .name("pelton-postgres".into())
            .spawn(move || {
                let mut pause = PAUSE_MIN;
                while !ended.load(Ordering::SeqCst) {
                    // Why it ended is met, and told, by those who write; here it begins anew.
                    if matches!(hear(&location, &uid, ears.as_ref(), &ended), Ok(())) {
                        pause = PAUSE_MIN;
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            })
            .map_err(|error| BrokerError::Store(format!("no thread for PostgreSQL: {error}")))?;
        Ok(Self { closed })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

/// A connection that is told of commits.
pub(super) fn subscribe(location: &Location) -> Result<Client, Fault> {
    let mut client = location.connect_to_listen()?;
    let row = client.query_one("SELECT quote_ident(pelton_channel())", &[])?;
    let channel: String = row.get(0);
    client.batch_execute(&format!("LISTEN {channel}"))?;
    Ok(client)
}

/// Whether others than `uid` wrote since the last call.
pub(super) fn others_wrote(client: &mut Client, uid: &str) -> Result<bool, Fault> {
    // What was committed before this question is told before its answer ends.
    client.batch_execute("SELECT 1")?;
    let mut wrote = false;
    let mut notifications = client.notifications();
    let mut iterator = notifications.iter();
    while let Some(notification) = iterator.next()? {
        wrote |= !notification.payload().ends_with(uid);
    }
    Ok(wrote)
}

fn hear(location: &Location, uid: &str, ears: &dyn Ears, closed: &AtomicBool) -> Result<(), Fault> {
    let mut client = subscribe(location)?;
    // Whatever was written before, nobody told us of.
    ears.hear(News::Anything);
    while !closed.load(Ordering::SeqCst) {
        let mut notifications = client.notifications();
        let mut iterator = notifications.timeout_iter(GLANCE);
        while let Some(notification) = iterator.next()? {
            if !notification.payload().ends_with(uid) {
                pass_on(notification.payload(), ears);
            }
        }
        drop(iterator);
        drop(notifications);
        if client.is_closed() {
            return Ok(());
        }
    }
    Ok(())
}

/// `work`, `cancels`, `orders` or ids of jobs; and who says it.
fn pass_on(payload: &str, ears: &dyn Ears) {
    match payload.split(' ').next().unwrap_or_default() {
        "work" => ears.hear(News::Work),
        "cancels" => ears.hear(News::Cancels),
        "orders" => ears.hear(News::Orders),
        ids => {
            let ids = ids.as_bytes().chunks(32).filter_map(|id| std::str::from_utf8(id).ok());
            ears.hear(News::Jobs(ids.filter_map(|id| id.parse::<JobId>().ok()).collect()));
        }
    }
}
