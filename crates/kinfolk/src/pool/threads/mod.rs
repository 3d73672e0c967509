//! The pool's operations on threads of this process.
//!
//! Threads share a queue of work (`crew`). What was asked for in one call, and what has
//! come of it, is a `job`; a lazy map gives out its items as results are asked for
//! (`map`).

mod builder;
mod crew;
mod job;
mod map;
mod tasks;
mod thread_pool;

pub use builder::ThreadPoolBuilder;
pub use tasks::{ThreadFunction, ThreadTasks};
pub use thread_pool::ThreadPool;
