//! The Python binding: what the package `kinfolk` is built of, as `kinfolk._kinfolk`.
//!
//! Each file mirrors one of the library's and only converts. What Python's
//! `multiprocessing` is to find in place of its own is in `python/kinfolk`.

use pyo3::prelude::*;

mod barrier;
mod condition;
mod connection;
mod descriptor;
mod encoding;
mod error;
mod event;
mod pool;
mod pool_worker;
mod process;
mod queue;
mod semlock;
mod waiting;

/// The Rust core of the package `kinfolk`.
#[pymodule]
mod _kinfolk {
    use super::*;

    #[pymodule_export]
    use barrier::Barrier;
    #[pymodule_export]
    use condition::Condition;
    #[pymodule_export]
    use connection::{Handshake, is_pipe, pipe, pipe_poll, pipe_recv, pipe_send};
    #[pymodule_export]
    use error::AbandonedWarning;
    #[pymodule_export]
    use event::Event;
    #[pymodule_export]
    use pool::{Job, Lane, PoolCore};
    #[pymodule_export]
    use pool_worker::PoolWorker;
    #[pymodule_export]
    use process::{Lifeline, hold_lifeline, signal_tree};
    #[pymodule_export]
    use queue::Queue;
    #[pymodule_export]
    use semlock::SemLock;

    /// Lets Python's signal handlers end waits.
    #[pymodule_init]
    fn init() {
        kinfolk::set_interrupt(waiting::is_interrupted);
    }
}
