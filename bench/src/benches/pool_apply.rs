//! The squares of single numbers: one at a time, or many under way.

use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};

use crate::bench::{
    Batch, Bench, CPYTHON, Case, FLOOR, KINFOLK, NANOSECONDS, PROCSPAWN, RAYON, Result, whole,
};
use crate::forked::Workers;
use crate::pools::{self, WORKERS, check_squares, square};
use crate::script;

/// The bench. Its size is how many items are under way.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(1), Case::of_size(128)],
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
const NAME: &str = "pool-apply";
/// How many numbers a batch has if they come one at a time.
const SINGLE: usize = 5_000;
/// How many if many are under way.
const MANY: usize = 20_000;

/// A batch that hands each result on.
fn batch(
    count: usize,
    mut squares: impl FnMut(&mut Vec<u64>) -> Result<()> + 'static,
) -> Result<Batch> {
    let mut all = Vec::with_capacity(count);
    whole(u32::try_from(count)?, move || {
        all.clear();
        squares(&mut all)?;
        check_squares(&all, count)
    })
}

/// A number through a pipe, and one back.
fn floor(case: Case) -> Result<Batch> {
    if case.size == 1 {
        let mut worker = Workers::fork(1, 1, square)?;
        return batch(SINGLE, move |all| worker.map(0..SINGLE as u64, 1, |n| all.push(n)));
    }
    let ahead = case.length()? / WORKERS;
    let mut workers = Workers::fork(WORKERS, 1, square)?;
    batch(MANY, move |all| workers.map(0..MANY as u64, ahead, |n| all.push(n)))
}

/// `apply`, and `imap` with chunks of one item: as many as it has under way.
fn kinfolk(case: Case) -> Result<Batch> {
    let pool = pools::kinfolk()?;
    if case.size == 1 {
        return batch(SINGLE, move |all| {
            for n in 0..SINGLE as u64 {
                all.push(pool.apply(square, n)?);
            }
            Ok(())
        });
    }
    batch(MANY, move |all| {
        for square in pool.chunked(1).imap(square, 0..MANY as u64)? {
            all.push(square?);
        }
        Ok(())
    })
}

/// A call each.
fn procspawn(case: Case) -> Result<Batch> {
    let pool = pools::procspawn()?;
    let (under_way, count) = (case.length()?, SINGLE);
    batch(count, move |all| {
        pools::map_by_procspawn(&pool, square, 0..count as u64, under_way, |n| all.push(n))
    })
}

/// Threads.
fn rayon(case: Case) -> Result<Batch> {
    let pool = pools::rayon(WORKERS)?;
    if case.size == 1 {
        return batch(SINGLE, move |all| {
            all.extend((0..SINGLE as u64).map(|n| pool.install(|| square(n))));
            Ok(())
        });
    }
    batch(MANY, move |all| {
        let numbers = (0..MANY).into_par_iter().with_max_len(1);
        pool.install(|| numbers.map(|n| square(n as u64)).collect_into_vec(all));
        Ok(())
    })
}
