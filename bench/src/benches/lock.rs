//! Lock and unlock: of a lock that nobody else uses, and of one that two processes
//! use all the time, each counting in shared memory under it. No process is
//! pinned. kinfolk is a `Lock` and its guard.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use kinfolk::Lock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bench::{
    Batch, Bench, Case, FLOOR, KINFOLK, NANOSECONDS, POSIX_SEMAPHORE, ROBUST_MUTEX, Result, repeat,
    whole,
};
use crate::crew::{Crew, Gate};
use crate::exclusive::{Exclusive, Word, robust_mutex, semaphore};
use crate::shared::InMemory;

/// The bench of a lock that nobody else uses.
pub(super) const ALONE: Bench = Bench {
    name: "lock",
    unit: NANOSECONDS,
    cases: &[Case::of_size(0)],
    contenders: &[
        (FLOOR, |_| alone(InMemory::<Word>::new()?)),
        (KINFOLK, |_| alone(Lock::new()?)),
        (ROBUST_MUTEX, |_| alone(robust_mutex()?)),
        (POSIX_SEMAPHORE, |_| alone(semaphore()?)),
    ],
    peers: &[],
};

/// The bench of a lock that two processes use.
pub(super) const CONTENDED: Bench = Bench {
    name: "lock-contended",
    unit: NANOSECONDS,
    cases: &[Case::of_size(0)],
    contenders: &[
        (FLOOR, |_| contended(InMemory::<Word>::new()?, InMemory::try_clone)),
        (KINFOLK, |_| contended(Lock::new()?, |lock| Ok(lock.try_clone()?))),
        (ROBUST_MUTEX, |_| contended(robust_mutex()?, InMemory::try_clone)),
        (POSIX_SEMAPHORE, |_| contended(semaphore()?, InMemory::try_clone)),
    ],
    peers: &[],
};

/// How often a batch locks alone.
const ALONE_TIMES: u32 = 2_000_000;

/// A batch of one process.
fn alone(lock: impl Exclusive + 'static) -> Result<Batch> {
    repeat(ALONE_TIMES, move || black_box(&lock).exclude(|| ()))
}

/// How many processes contend.
const PROCESSES: u32 = 2;
/// How often each locks in a batch.
const CONTENDED_TIMES: u32 = 500_000;

/// A batch of two processes. Nothing that one counted may be lost.
fn contended<L>(lock: L, clone: fn(&L) -> Result<L>) -> Result<Batch>
where
    L: Exclusive + Serialize + DeserializeOwned + 'static,
{
    let count = InMemory::<AtomicU32>::new()?;
    let mut crew = Crew::default();
    for _ in 0..PROCESSES {
        crew.add(contend::<L>, (clone(&lock)?, count.try_clone()?))?;
    }
    let times = PROCESSES * CONTENDED_TIMES;
    whole(times, move || {
        crew.run()?;
        if count.swap(0, Ordering::Relaxed) == times { Ok(()) } else { Err("lost counts".into()) }
    })
}

/// Locks and counts in each batch, as one who is alone may.
fn contend<L: Exclusive>((gate, (lock, count)): (Gate, (L, InMemory<AtomicU32>))) {
    gate.batches(|| {
        (0..CONTENDED_TIMES).try_for_each(|_| {
            lock.exclude(|| count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed))
        })
    });
}
