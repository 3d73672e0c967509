//! What processes cost that sleep until a message comes: the processor time of 64
//! of them, on one queue and on one each, as a share of one processor.

use std::time::{Duration, Instant};

use cloudtoid_interprocess::Publisher;
use kinfolk::Process;
use kinfolk::queue::{self, Receiver};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bench::{Batch, Bench, CLOUDTOID, Case, KINFOLK, Result, SHARE};
use crate::crew::said;
use crate::ipc::{Cloudtoid, publish};
use crate::raw;

/// The bench of one queue.
pub(super) const ONE: Bench = Bench {
    name: "queue-idle",
    unit: SHARE,
    cases: &[Case::of_size(0)],
    contenders: &[(KINFOLK, |_| kinfolk(1)), (CLOUDTOID, |_| cloudtoid(1))],
    peers: &[],
};

/// The bench of a queue for each.
pub(super) const DISTINCT: Bench = Bench {
    name: "queue-idle-distinct",
    unit: SHARE,
    cases: &[Case::of_size(0)],
    contenders: &[(KINFOLK, |_| kinfolk(PROCESSES)), (CLOUDTOID, |_| cloudtoid(PROCESSES))],
    peers: &[],
};

/// How many processes sleep.
const PROCESSES: usize = 64;
/// How long a batch looks at them.
const WINDOW: Duration = Duration::from_secs(2);

/// A batch looks how long the processes run.
fn batch(pids: Vec<u32>, ends: impl Sized + 'static) -> Result<Batch> {
    let run = move || pids.iter().map(|pid| raw::processor_time(*pid)).sum::<Result<Duration>>();
    Ok(Box::new(move || {
        let _ends = &ends;
        let (before, begin) = (run()?, Instant::now());
        std::thread::sleep(WINDOW);
        let (time, window) = (run()? - before, begin.elapsed());
        Ok(100.0 * time.as_secs_f64() / window.as_secs_f64())
    }))
}

/// Starts the processes: each does `sleep` on what `end` gives it, of so many.
fn start<A>(queues: usize, sleep: fn(A), end: impl Fn(usize) -> Result<A>) -> Result<Vec<u32>>
where
    A: Serialize + DeserializeOwned,
{
    (0..PROCESSES).map(|n| Ok(Process::spawn(sleep, end(n % queues)?)?.pid())).collect()
}

/// Queues, of which each process receives from one.
fn kinfolk(queues: usize) -> Result<Batch> {
    let ends =
        (0..queues).map(|_| queue::bounded(PROCESSES)).collect::<kinfolk::Result<Vec<_>>>()?;
    let (senders, receivers): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
    let pids = start(queues, kinfolk_sleep, |n| Ok(receivers[n].try_clone()?))?;
    batch(pids, senders)
}

/// Sleeps until no sender is left.
fn kinfolk_sleep(receiver: Receiver<u64>) {
    receiver.iter().for_each(drop);
}

/// The same.
fn cloudtoid(queues: usize) -> Result<Batch> {
    let queues: Vec<_> = (0..queues).map(|_| Cloudtoid::new(PROCESSES, 8)).collect();
    let publishers = queues.iter().map(Cloudtoid::publisher).collect::<Result<_>>()?;
    let pids = start(queues.len(), cloudtoid_sleep, |n| Ok(queues[n].clone()))?;
    batch(pids, Publishers(publishers))
}

/// Sleeps until there is a message.
fn cloudtoid_sleep(queue: Cloudtoid) {
    said(queue.subscriber().and_then(|subscriber| Ok(subscriber.recv()?)));
}

/// The sending ends, which end the processes when dropped.
struct Publishers(Vec<Publisher>);

impl Drop for Publishers {
    fn drop(&mut self) {
        for publisher in self.0.iter().cycle().take(PROCESSES) {
            said(publish(publisher, &[0; 8]));
        }
    }
}
