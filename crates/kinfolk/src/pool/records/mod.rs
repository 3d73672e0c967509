//! What workers tell `tracing`, for the subscriber of their parent.
//!
//! A worker's own subscriber (`forward`) writes spans and events as records (`record`)
//! into a queue of its own: what is in there survives the worker. Threads that wait for
//! the pool take them out in rounds (`round`), and hand them to the subscriber as if
//! they came from here (`retell`), with metadata of the same content (`site`).
//!
//! Metadata travels as text. The parent runs the same image, so an offset would name it
//! as well; but a worker may be in the hands of others, and an offset of theirs must not
//! become a reference, while text can be checked.
//!
//! Used by the rest of `pool`, with the feature `tracing` alone.

mod forward;
mod record;
mod retell;
mod round;
mod site;

use std::time::Duration;

use tracing::Dispatch;
use tracing::dispatcher;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;

pub(super) use forward::{Forwarding, begin};
pub(super) use retell::Records;
pub(super) use round::{Desk, Round};

use crate::Result;
use crate::queue::{self, Receiver};

/// The most records on their way from a worker, and bytes in them.
const RECORDS: usize = 1024;
/// See [`RECORDS`].
const BYTES: usize = 256 << 10;
/// How long a worker waits for room for a record, before it goes on without. And how
/// long a thread waits for another one that hands records over.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How long records are handed over before the workers are looked after again.
pub(super) const MOMENT: Duration = Duration::from_millis(10);

/// The subscriber of this thread, if there is one.
pub(super) fn subscriber() -> Option<Dispatch> {
    let current = dispatcher::get_default(Dispatch::clone);
    (!current.is::<NoSubscriber>()).then_some(current)
}

/// The parent's end of a worker's way to a subscriber, and the subscriber.
pub(super) type Listening = (Receiver<()>, Dispatch);

/// Opens a worker's way to a subscriber, with an end for each, unless nobody wants to
/// hear anything now.
///
/// # Errors
///
/// If there is no memory or no file descriptor for it.
pub(super) fn open(subscriber: Option<&Dispatch>) -> Result<Option<(Forwarding, Listening)>> {
    let (Some(subscriber), Some(level)) = (subscriber, LevelFilter::current().into_level()) else {
        return Ok(None);
    };
    let (sender, receiver) = queue::with_options(queue::Options::new(RECORDS).bytes(BYTES))?;
    receiver.prepare()?;
    Ok(Some((Forwarding::new(sender, level), (receiver, subscriber.clone()))))
}
