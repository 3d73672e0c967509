//! The benches, one file each. A new one is a file with a `BENCH` and a line here.

mod pipe_rtt;
mod pipe_throughput;
mod start;
mod start_forkserver;
mod start_spawn;

use crate::bench::Bench;

/// All benches, in the order of a run.
pub(crate) const BENCHES: &[Bench] =
    &[start_forkserver::BENCH, start_spawn::BENCH, pipe_rtt::BENCH, pipe_throughput::BENCH];
