//! Pools of workers that no worker's death can break.
//!
//! The parent gives out the work, one lane of chunks and results to each worker
//! (`lane`), and so knows what a dead one was at (`core`). Chunks and results go
//! through queues in shared memory (`protocol`); what a worker has done and not said
//! stands on its slate. Threads that wait for a task wait for the workers themselves
//! (`driver`). Where a binding starts the workers, they are asked for (`host`), and all is
//! bytes (`bytes`). What workers tell `tracing` has a queue of its own (`records`). Pools of
//! threads have the same operations (`threads`).
//!
//! Used by the manager and users; uses `process`, `queue`, `sync`, `wait` and `sys`.

mod body;
mod builder;
mod bytes;
mod chunk_size;
mod core;
mod driver;
mod host;
mod job;
mod lane;
mod locked;
mod map;
mod output;
mod process_pool;
mod progress;
mod protocol;
#[cfg(feature = "tracing")]
mod records;
mod slate;
mod stats;
mod task;
mod tasks;
mod threads;
mod worker;

pub use builder::PoolBuilder;
pub use bytes::{
    ByteBatch, ByteChunk, ByteJob, BytePool, ByteResult, ByteWork, ByteWorker, NewWorker, Served,
    Waited, Wanted,
};
pub use map::{Map, MapUnordered};
pub use process_pool::Pool;
pub use stats::{Statistics, WorkerStatistics};
pub use task::Task;
pub use tasks::{Kind, Stateful, Stateless, Tasks};
pub use threads::{ThreadFunction, ThreadPool, ThreadPoolBuilder, ThreadTasks};
