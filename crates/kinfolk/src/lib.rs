//! Process-based parallelism in which every process can be killed.
#![deny(unsafe_code)]

mod connection;
mod error;
mod log;
mod process;
mod sys;
mod testing;
mod wait;
mod wire;

#[cfg(feature = "tokio")]
pub use connection::AsyncConnection;
pub use connection::{BufferTooShort, Closed, Connection, RecvIntoError, pipe, pipe_one_way};
pub use error::{Error, ErrorKind, Result};
pub use log::{LogLevel, log_to_stderr};
#[doc(hidden)]
pub use process::init_for_tests;
pub use process::{
    AtExit, AuthKey, Builder, Child, CloseError, Context, CurrentProcess, ExitStatus, Family,
    JoinTimeoutError, ParentProcess, Process, StartMethod, Stdio, TreeEnd, active_children,
    cpu_count, current_process, force_start_method, init, parent_process, set_forkserver_preload,
    set_start_method, start_method, start_methods,
};
pub use wait::{Key, WaitSet, wait};
pub use wire::fd;
pub use wire::handle::Handle;
