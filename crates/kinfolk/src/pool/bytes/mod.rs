//! Pools for bindings to other languages: items and results are bytes, the functions are
//! bytes that travel along, and the host starts the workers.
//!
//! | who | does |
//! |---|---|
//! | the host, on a thread for it | waits for [`BytePool::as_fd`](std::os::fd::AsFd::as_fd) and the ends of its processes; starts those that are asked for, and tells how each ended |
//! | the host, on another thread | [`BytePool::serve`]: waits for the workers while nobody else does, and is told of jobs that are done |
//! | whoever wants results | gives items to a [`ByteJob`], and waits for it |
//! | a worker | a [`ByteWorker`], which does one chunk after the other |
//!
//! Nothing here calls the host while it holds a lock, except in a worker, which has none.

mod job;
mod pool;
mod result;
mod worker;

pub use job::{ByteChunk, ByteJob, Waited, Wanted};
pub use pool::{BytePool, NewWorker};
pub use result::{ByteBatch, ByteResult};
pub use worker::{ByteWork, ByteWorker, Served};
