//! Pipes: connections that carry typed values and raw bytes between processes.
//!
//! Used by the pool, the manager and users; uses `wire` and `sys`.

mod duplex;
mod error;
mod pipe;
#[cfg(feature = "tokio")]
mod tokio;

pub use duplex::Connection;
pub use error::{BufferTooShort, RecvIntoError};
pub use pipe::{Closed, pipe, pipe_one_way};
#[cfg(feature = "tokio")]
pub use tokio::AsyncConnection;
