//! A pool is made, until each of its workers has answered. That it ends again is not
//! in it.

use std::time::{Duration, Instant};

use kinfolk::{Context, Pool, StartMethod};

use crate::bench::{Batch, Bench, CPYTHON, Case, FLOOR, KINFOLK, NANOSECONDS, RAYON, Result};
use crate::pools::{self, square};
use crate::script;

/// The bench. Its size is the number of workers; its floor starts as many processes by
/// the library's forkserver, one after the other, each of which returns a value.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(8)],
    contenders: &[
        (FLOOR, floor),
        (KINFOLK, kinfolk),
        (RAYON, rayon),
        (CPYTHON, |case| script::batch(NAME, case)),
    ],
    peers: &[],
};

/// Its name.
const NAME: &str = "pool-ready";
/// How many pools a batch makes: odd, so that one is in the middle.
const TIMES: usize = 11;

/// A batch of pools, of which the median counts.
fn batch(mut ready: impl FnMut() -> Result<Duration> + 'static) -> Result<Batch> {
    Ok(Box::new(move || {
        let mut times = (0..TIMES).map(|_| ready()).collect::<Result<Vec<_>>>()?;
        times.sort();
        Ok(times[TIMES / 2].as_nanos() as f64)
    }))
}

/// Processes.
fn floor(case: Case) -> Result<Batch> {
    let context = Context::new(StartMethod::Forkserver);
    batch(move || {
        let begin = Instant::now();
        for n in 0..case.size {
            context.spawn(square, n)?.join()?;
        }
        Ok(begin.elapsed())
    })
}

/// A pool, and an item for each of its workers: it gives one to each.
fn kinfolk(case: Case) -> Result<Batch> {
    let workers = case.length()?;
    batch(move || {
        let begin = Instant::now();
        let builder = Pool::builder().workers(workers).start_method(StartMethod::Forkserver);
        let pool = builder.build()?;
        pool.chunked(1).map(square, 0..case.size)?;
        let time = begin.elapsed();
        if pool.statistics()?.workers.iter().any(|worker| worker.items != 1) {
            return Err("a worker had no item, and another had two".into());
        }
        Ok(time)
    })
}

/// Threads.
fn rayon(case: Case) -> Result<Batch> {
    let workers = case.length()?;
    batch(move || {
        let begin = Instant::now();
        let pool = pools::rayon(workers)?;
        pool.broadcast(|_| ());
        Ok(begin.elapsed())
    })
}
