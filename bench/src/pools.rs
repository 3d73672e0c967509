//! The pools that are measured, and what their workers do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kinfolk::Pool;
use procspawn::JoinHandle;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bench::Result;

/// How many workers a pool has.
pub(crate) const WORKERS: usize = 2;
/// How long a busy item takes.
pub(crate) const BUSY: Duration = Duration::from_millis(1);

/// A pool of kinfolk.
pub(crate) fn kinfolk() -> Result<Pool> {
    Ok(Pool::builder().workers(WORKERS).build()?)
}

/// A pool of procspawn.
pub(crate) fn procspawn() -> Result<procspawn::Pool> {
    Ok(procspawn::Pool::new(WORKERS)?)
}

/// A pool of threads.
pub(crate) fn rayon(workers: usize) -> Result<ThreadPool> {
    Ok(ThreadPoolBuilder::new().num_threads(workers).build()?)
}

/// Maps arguments by a pool of procspawn, which has no map: so many are under way.
pub(crate) fn map_by_procspawn<A, R>(
    pool: &procspawn::Pool,
    function: fn(A) -> R,
    arguments: impl IntoIterator<Item = A>,
    under_way: usize,
    mut each: impl FnMut(R),
) -> Result<()>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let mut handles = VecDeque::<JoinHandle<R>>::with_capacity(under_way);
    for argument in arguments {
        if handles.len() == under_way
            && let Some(handle) = handles.pop_front()
        {
            each(handle.join()?);
        }
        handles.push_back(pool.spawn(argument, function));
    }
    for handle in handles {
        each(handle.join()?);
    }
    Ok(())
}

/// Squares a number.
pub(crate) fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

/// Is busy for a while.
pub(crate) fn busy(n: u64) -> u64 {
    let start = Instant::now();
    while start.elapsed() < BUSY {
        std::hint::spin_loop();
    }
    n
}

/// Whether all numbers from 0 on came back squared.
pub(crate) fn check_squares(squares: &[u64], count: usize) -> Result<()> {
    let right = (0..).map(square);
    if squares.len() == count && squares.iter().copied().zip(right).all(|(a, b)| a == b) {
        return Ok(());
    }
    Err("a wrong result".into())
}
