//! Start, typed result and join by the forkserver; the size is the memory that is
//! resident in the parent.

use kinfolk::StartMethod;

use super::start;
use crate::bench::{Bench, Case, FLOOR, KINFOLK, NANOSECONDS, PROCSPAWN, STD_PROCESS, repeat};
use crate::raw;

/// The bench.
pub(super) const BENCH: Bench = Bench {
    name: "start-forkserver",
    unit: NANOSECONDS,
    cases: &[Case::of_size(0), Case::of_size(1 << 30)],
    contenders: &[
        // Of a small process at every size: what a forkserver is for.
        (FLOOR, |_| repeat(start::TIMES, raw::fork_exit_wait)),
        (KINFOLK, |case| start::kinfolk(case, StartMethod::Forkserver)),
        (PROCSPAWN, start::procspawn),
        (STD_PROCESS, start::std_process),
    ],
    peers: &[],
};
