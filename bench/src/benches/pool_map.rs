//! The squares of a million numbers.

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::bench::{
    Batch, Bench, CPYTHON, Case, FLOOR, KINFOLK, NANOSECONDS, PROCSPAWN, RAYON, Result, whole,
};
use crate::forked::Workers;
use crate::pools::{self, WORKERS, check_squares, square};
use crate::script;

/// The bench. Its size is the number of items.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(ITEMS as u64)],
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
const NAME: &str = "pool-map";
/// How many numbers are mapped.
const ITEMS: usize = 1_000_000;
/// How many of them the floor has in a chunk: what a pipe holds.
const CHUNK: usize = 8_000;

/// A batch of `squares`, which returns them all.
fn batch(mut squares: impl FnMut() -> Result<Vec<u64>> + 'static) -> Result<Batch> {
    whole(u32::try_from(ITEMS)?, move || check_squares(&squares()?, ITEMS))
}

/// Numbers through pipes.
fn floor(_case: Case) -> Result<Batch> {
    let mut workers = Workers::fork(WORKERS, CHUNK, square)?;
    batch(move || {
        let mut squares = Vec::with_capacity(ITEMS);
        workers.map(0..ITEMS as u64, 2, |square| squares.push(square))?;
        Ok(squares)
    })
}

/// A map.
fn kinfolk(_case: Case) -> Result<Batch> {
    let pool = pools::kinfolk()?;
    batch(move || Ok(pool.map(square, 0..ITEMS as u64)?))
}

/// Chunks by hand, of the size that CPython's pool chooses.
fn procspawn(_case: Case) -> Result<Batch> {
    let pool = pools::procspawn()?;
    batch(move || {
        let chunk = (ITEMS / WORKERS / 4) as u64;
        let chunks = (0..ITEMS as u64).step_by(ITEMS / WORKERS / 4);
        let chunks = chunks.map(|first| (first..first + chunk).collect::<Vec<_>>());
        let mut squares = Vec::with_capacity(ITEMS);
        let all: fn(Vec<u64>) -> Vec<u64> = |chunk| chunk.into_iter().map(square).collect();
        pools::map_by_procspawn(&pool, all, chunks, 2 * WORKERS, |chunk| squares.extend(chunk))?;
        Ok(squares)
    })
}

/// Threads.
fn rayon(_case: Case) -> Result<Batch> {
    let pool = pools::rayon(WORKERS)?;
    batch(move || Ok(pool.install(|| (0..ITEMS as u64).into_par_iter().map(square).collect())))
}
