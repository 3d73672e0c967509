//! From the SIGKILL of a lock's holder until one that waits for the lock has it.
//! The waiter has been asleep for some 20 ms. A batch's figure is its median.

use std::time::{Duration, Instant};

use kinfolk::{Connection, Lock, Process, pipe};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bench::{Batch, Bench, Case, FLOOR, KINFOLK, NANOSECONDS, Result};
use crate::crew::said;
use crate::exclusive::{Exclusive, robust_mutex};
use crate::shared::InMemory;

/// The bench. Its floor is the C library's mutex, whose waiter the kernel wakes.
pub(super) const BENCH: Bench = Bench {
    name: "lock-recovery",
    unit: NANOSECONDS,
    cases: &[Case::of_size(0)],
    contenders: &[
        (FLOOR, |_| batch(robust_mutex()?, InMemory::try_clone)),
        (KINFOLK, |_| batch(Lock::new()?, |lock| Ok(lock.try_clone()?))),
    ],
    peers: &[],
};

/// How many holders a batch kills: odd, so that one is in the middle.
const TIMES: u32 = 41;

/// A batch of kills.
fn batch<L>(lock: L, clone: fn(&L) -> Result<L>) -> Result<Batch>
where
    L: Exclusive + Serialize + DeserializeOwned + Sync + 'static,
{
    Ok(Box::new(move || {
        let mut times = (0..TIMES)
            .map(|kill| {
                // Not always at the same time after the waiter has looked.
                let wait = Duration::from_millis(20) + Duration::from_micros(97) * kill;
                take_over(&lock, clone(&lock)?, wait)
            })
            .collect::<Result<Vec<_>>>()?;
        times.sort();
        Ok(times[times.len() / 2].as_nanos() as f64)
    }))
}

/// Has a process hold the lock, kills it after `wait`, and returns how long it
/// took then to get the lock.
fn take_over<L>(lock: &L, for_holder: L, wait: Duration) -> Result<Duration>
where
    L: Exclusive + Serialize + DeserializeOwned + Sync,
{
    let (told, tell) = pipe::<(), ()>()?;
    let holder = Process::spawn(hold::<L>, (for_holder, tell))?;
    told.recv()?;
    let time = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            std::thread::sleep(wait);
            let now = Instant::now();
            holder.kill().map(|()| now)
        });
        let owned = lock.exclude(Instant::now)?;
        let killed = killer.join().map_err(|_| "the killer panicked")??;
        Ok(owned.duration_since(killed))
    });
    // It did not return.
    let _ = holder.join();
    time
}

/// Holds the lock until it is killed.
fn hold<L: Exclusive>((lock, tell): (L, Connection<(), ()>)) {
    let held = lock.exclude(|| {
        while tell.send(&()).is_ok() {
            std::thread::park();
        }
    });
    said(held).unwrap_or_default();
}
