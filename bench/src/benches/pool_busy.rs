//! Items that keep a worker busy for a millisecond each.

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::bench::{
    Batch, Bench, CPYTHON, Case, FLOOR, KINFOLK, NANOSECONDS, PROCSPAWN, RAYON, Result, whole,
};
use crate::forked::Workers;
use crate::pools::{self, WORKERS, busy};
use crate::script;

/// The bench. Its size is the number of items; two workers need half a millisecond
/// for one, at best.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(ITEMS)],
    contenders: &[
        (FLOOR, floor),
        (KINFOLK, kinfolk),
        (PROCSPAWN, procspawn),
        (RAYON, rayon),
        (CPYTHON, |case| script::batch(NAME, case)),
    ],
    peers: &[],
};

/// Its name.
const NAME: &str = "pool-busy";
/// How many items there are.
const ITEMS: u64 = 1_000;

/// A batch of all items, which returns how many came back.
fn batch(mut all: impl FnMut() -> Result<usize> + 'static) -> Result<Batch> {
    whole(u32::try_from(ITEMS)?, move || {
        if all()? as u64 == ITEMS { Ok(()) } else { Err("a result is missing".into()) }
    })
}

/// Numbers through pipes, two at each worker.
fn floor(_case: Case) -> Result<Batch> {
    let mut workers = Workers::fork(WORKERS, 1, busy)?;
    batch(move || {
        let mut count = 0;
        workers.map(0..ITEMS, 2, |_| count += 1)?;
        Ok(count)
    })
}

/// A map.
fn kinfolk(_case: Case) -> Result<Batch> {
    let pool = pools::kinfolk()?;
    batch(move || Ok(pool.map(busy, 0..ITEMS)?.len()))
}

/// A call each, two for each worker.
fn procspawn(_case: Case) -> Result<Batch> {
    let pool = pools::procspawn()?;
    batch(move || {
        let mut count = 0;
        pools::map_by_procspawn(&pool, busy, 0..ITEMS, 2 * WORKERS, |_| count += 1)?;
        Ok(count)
    })
}

/// Threads.
fn rayon(_case: Case) -> Result<Batch> {
    let pool = pools::rayon(WORKERS)?;
    batch(move || Ok(pool.install(|| (0..ITEMS).into_par_iter().map(busy).count())))
}
