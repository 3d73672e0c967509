//! Processes: starting, waiting for and ending them, and what a process knows
//! of itself and its family.
//!
//! Used by the pool and the manager; uses `wait`, `wire` and `sys`.

mod authkey;
mod bootstrap;
mod builder;
mod channel;
mod child;
mod children;
mod context;
mod current;
mod exit;
mod function;
mod handle;
mod lifeline;
mod preparation;
mod report;
mod start;
mod status;
mod stdio;
#[cfg(feature = "tokio")]
mod tokio;
mod tree;

pub use authkey::AuthKey;
#[doc(hidden)]
pub use bootstrap::init_for_tests;
pub use builder::Builder;
pub use child::Child;
pub use children::active_children;
pub use context::{
    Context, StartMethod, force_start_method, set_forkserver_preload, set_start_method,
    start_method, start_methods,
};
pub(crate) use current::current_name;
pub use current::{CurrentProcess, ParentProcess, cpu_count, current_process, parent_process};
pub use exit::{AtExit, Family, init};
pub(crate) use function::{RemoteFunction, address_here, offset};
pub use handle::{CloseError, JoinTimeoutError, Process};
pub use lifeline::Lifeline;
pub(crate) use report::{catch, take_backtrace};
pub use status::ExitStatus;
pub(crate) use status::FAILED;
pub use stdio::Stdio;
pub use tree::{TreeEnd, signal_tree};
