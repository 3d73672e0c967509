//! What the workers of a pool have done.

use std::time::Duration;

use super::lane::Lane;

/// What a worker has done, at one moment: see [`Pool::statistics`](super::Pool::statistics).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatistics {
    /// Its process id; of a thread, that of its process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Whether it has begun: its initializer has returned.
    pub ready: bool,
    /// How many items it was given.
    pub items: u64,
    /// How long it has run them, as far as it has said so.
    pub busy: Duration,
    /// How long it was there for.
    pub alive: Duration,
    /// How many items it has at this moment.
    pub pending: u64,
}

/// What a pool has done, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// The workers that there are.
    pub workers: Vec<WorkerStatistics>,
    /// How many items are done, those that failed included.
    pub finished: u64,
    /// How many items no worker was given yet.
    pub queued: u64,
    /// How many workers have ended.
    pub ended: u64,
    /// How many of them without having been asked to.
    pub deaths: u64,
    /// How long those that have ended had run items.
    pub busy_of_ended: Duration,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Items that are done.
    pub(super) finished: u64,
    /// Workers that have ended.
    pub(super) ended: u64,
    /// Those that were not asked to.
    pub(super) deaths: u64,
    /// How long they had worked.
    pub(super) busy: Duration,
}

impl Tally {
    /// Adds a worker that has ended.
    pub(super) fn add(&mut self, lane: &Lane, unasked: bool) {
        self.ended += 1;
        self.deaths += u64::from(unasked);
        self.busy += lane.busy;
    }
}

impl WorkerStatistics {
    /// Of a thread that has done nothing.
    pub(super) fn of_thread(name: String) -> Self {
        let (busy, alive) = (Duration::ZERO, Duration::ZERO);
        Self { pid: std::process::id(), name, ready: false, items: 0, busy, alive, pending: 0 }
    }

    /// Of a worker.
    pub(super) fn of(lane: &Lane) -> Self {
        let left = |sent: &super::lane::Sent| u64::from(sent.chunk.count - sent.done);
        Self {
            pid: lane.process.pid(),
            name: lane.process.name().to_owned(),
            ready: lane.ready,
            items: lane.items,
            busy: lane.busy,
            alive: lane.started.elapsed(),
            pending: lane.sent.iter().map(left).sum(),
        }
    }
}
