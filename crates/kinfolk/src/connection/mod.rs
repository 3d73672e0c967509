//! Connections that carry typed values and raw bytes: pipes between processes of a
//! family, listeners and clients between programs.
//!
//! Used by the pool, the manager and users; uses `wire` and `sys`, and of `process` the
//! key.

mod address;
mod authentication;
mod bytes;
mod challenge;
mod challenges;
mod client;
mod duplex;
mod encryption;
mod error;
#[cfg(any(fuzzing, test))]
#[allow(unreachable_pub, reason = "public for the fuzz target only")]
pub mod fuzzing;
mod handshake;
mod listener;
mod options;
mod parts;
mod path;
mod pending;
mod pipe;
mod reader;
mod stream;
#[cfg(feature = "tokio")]
mod tokio;
mod turn;
mod writer;

pub use address::Address;
pub use authentication::{
    answer_challenge, answer_challenge_timeout, deliver_challenge, deliver_challenge_timeout,
};
pub use bytes::{BytePipe, PipeMessage};
pub use challenges::Challenges;
pub use client::Client;
pub use duplex::Connection;
pub use error::{BufferTooShort, RecvIntoError};
pub use listener::Listener;
pub use options::ConnectionOptions;
pub(crate) use parts::Parts;
pub use pipe::{Closed, pipe, pipe_one_way};
#[cfg(feature = "tokio")]
pub use tokio::AsyncConnection;
