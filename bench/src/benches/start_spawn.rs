//! Start, typed result and join by executing the program anew.

use kinfolk::StartMethod;

use super::start;
use crate::bench::{Bench, Case, FLOOR, KINFOLK, NANOSECONDS, PROCSPAWN, STD_PROCESS, repeat};
use crate::raw;

/// The bench.
pub(super) const BENCH: Bench = Bench {
    name: "start-spawn",
    unit: NANOSECONDS,
    cases: &[Case::of_size(0)],
    contenders: &[
        (FLOOR, |_| repeat(start::TIMES, || raw::spawn_wait(c"/proc/self/exe", c"exit"))),
        (KINFOLK, |case| start::kinfolk(case, StartMethod::Spawn)),
        (PROCSPAWN, start::procspawn),
        (STD_PROCESS, start::std_process),
    ],
    peers: &[],
};
