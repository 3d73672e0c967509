//! Kills random workers of a pool.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use kinfolk::{Pool, Result, active_children};

/// The time between two kills.
const PAUSE: Duration = Duration::from_millis(50);
/// The time between two looks for a worker to kill, if there was none.
const LOOK: Duration = Duration::from_millis(1);
/// How many workers are killed in a row without any item getting done. Without this
/// limit, an item that takes longer than a pause might never be.
const IN_VAIN: u32 = 4;

/// Does the job, and kills a worker at random every 50 ms meanwhile. Returns how many.
pub(crate) fn during<S, T>(pool: &Pool<S>, job: impl FnOnce() -> T) -> (T, Result<usize>) {
    let (end, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let killer = scope.spawn(move || kill(pool, &ended));
        let outcome = job();
        drop(end);
        let killed = killer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (outcome, killed)
    })
}

/// Kills until it is told to end.
fn kill<S>(pool: &Pool<S>, ended: &mpsc::Receiver<()>) -> Result<usize> {
    let (mut killed, mut in_vain, mut finished, mut pause) = (0, 0, 0, LOOK);
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let statistics = pool.statistics()?;
        if statistics.finished > finished {
            (in_vain, finished) = (0, statistics.finished);
        }
        // One that has not begun is spared: a pool gives up if none ever begins.
        let mut victims: Vec<u32> =
            statistics.workers.iter().filter(|worker| worker.ready).map(|w| w.pid).collect();
        pause = LOOK;
        if in_vain < IN_VAIN && !victims.is_empty() {
            let pid = victims.swap_remove(random_below(victims.len()));
            if let Some(child) = active_children().iter().find(|child| child.pid() == pid) {
                child.kill()?;
                killed += 1;
                in_vain += 1;
                pause = PAUSE;
            }
        }
    }
    Ok(killed)
}

/// A random number below `limit`, which is not 0.
fn random_below(limit: usize) -> usize {
    // Each `RandomState` has new random keys.
    RandomState::new().hash_one(()) as usize % limit
}
