//! Large arrays that come to a worker and go back, as one bytes object each.

use serde_bytes::ByteBuf;

use crate::bench::{
    Batch, Bench, CPYTHON, Case, FLOOR, KINFOLK, NANOSECONDS, PROCSPAWN, Result, whole,
};
use crate::pools::{self, WORKERS};
use crate::script;

/// The bench. Its floor copies each array once for its way there and once for the way
/// back, with no other process.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(8 << 20)],
    contenders: &[
        (FLOOR, floor),
        (KINFOLK, kinfolk),
        (PROCSPAWN, procspawn),
        (CPYTHON, |case| script::batch(NAME, case)),
    ],
    peers: &[],
};

/// Its name.
const NAME: &str = "pool-arrays";
/// How many arrays there are.
const ARRAYS: usize = 64;

/// A batch that sends all arrays, each of its own content, and gets them back: those
/// are the next batch's.
fn batch(
    case: Case,
    mut there_and_back: impl FnMut(Vec<ByteBuf>) -> Result<Vec<ByteBuf>> + 'static,
) -> Result<Batch> {
    let size = case.length()?;
    let mut arrays: Vec<ByteBuf> =
        (0..ARRAYS).map(|n| ByteBuf::from(vec![n as u8; size])).collect();
    whole(u32::try_from(ARRAYS)?, move || {
        arrays = there_and_back(std::mem::take(&mut arrays))?;
        let right = |(n, array): (usize, &ByteBuf)| {
            array.len() == size && [array.first(), array.last()] == [Some(&(n as u8)); 2]
        };
        let all = arrays.len() == ARRAYS && arrays.iter().enumerate().all(right);
        if all { Ok(()) } else { Err("another array came back".into()) }
    })
}

/// Gives an array back.
fn same(array: ByteBuf) -> ByteBuf {
    array
}

/// Two copies by one process.
fn floor(case: Case) -> Result<Batch> {
    let mut there = vec![vec![1_u8; case.length()?]; ARRAYS];
    batch(case, move |mut arrays| {
        for (there, here) in there.iter_mut().zip(&mut arrays) {
            there.copy_from_slice(here);
        }
        for (there, here) in there.iter().zip(&mut arrays) {
            here.copy_from_slice(there);
        }
        Ok(arrays)
    })
}

/// A map.
fn kinfolk(case: Case) -> Result<Batch> {
    let pool = pools::kinfolk()?;
    batch(case, move |arrays| Ok(pool.map(same, arrays)?))
}

/// A call each.
fn procspawn(case: Case) -> Result<Batch> {
    let pool = pools::procspawn()?;
    batch(case, move |arrays| {
        let mut all = Vec::with_capacity(ARRAYS);
        pools::map_by_procspawn(&pool, same, arrays, WORKERS, |array| all.push(array))?;
        Ok(all)
    })
}
