//! The benches, one file each. A new one is a file with a `BENCH` and a line here.

mod encrypted_throughput;
mod handshake;
mod lock;
mod lock_recovery;
mod pipe_handover;
mod pipe_rtt;
mod pipe_throughput;
mod pool_apply;
mod pool_arrays;
mod pool_busy;
mod pool_map;
mod pool_ready;
mod pool_recovery;
mod proxy_call;
mod proxy_many;
mod queue_idle;
mod queue_rtt;
mod queue_throughput;
mod start;
mod start_forkserver;
mod start_spawn;

use crate::bench::Bench;

/// All benches, in the order of a run.
pub(crate) const BENCHES: &[Bench] = &[
    start_forkserver::BENCH,
    start_spawn::BENCH,
    pipe_rtt::BENCH,
    pipe_throughput::BENCH,
    pipe_handover::BENCH,
    queue_throughput::BENCH,
    queue_rtt::ACTIVE,
    queue_rtt::PARKED,
    queue_idle::ONE,
    queue_idle::DISTINCT,
    lock::ALONE,
    lock::CONTENDED,
    lock_recovery::BENCH,
    pool_map::BENCH,
    pool_apply::BENCH,
    pool_busy::BENCH,
    pool_arrays::BENCH,
    pool_ready::BENCH,
    pool_recovery::BENCH,
    handshake::BENCH,
    encrypted_throughput::BENCH,
    proxy_call::BENCH,
    proxy_many::BENCH,
];
