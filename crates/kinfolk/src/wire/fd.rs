//! For `#[serde(with = "kinfolk::fd")]`: a field that owns a file descriptor,
//! sent as a [`Handle`](crate::Handle) is.
//!
//! ```
//! use std::fs::File;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Job {
//!     #[serde(with = "kinfolk::fd")]
//!     input: File,
//! }
//!
//! let (a, b) = kinfolk::pipe::<Job, ()>()?;
//! a.send(&Job { input: File::open("/dev/null").unwrap() })?;
//! let job = b.recv()?;
//! # Ok::<(), kinfolk::Error>(())
//! ```

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserializer, Serializer};

use super::handle;

/// Serialises a field by duplicating its descriptor.
///
/// # Errors
///
/// Under a serializer that is not this library's.
pub fn serialize<T: AsFd, S: Serializer>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
    handle::serialize(field, serializer)
}

/// Deserialises a field by claiming its descriptor.
///
/// # Errors
///
/// If the descriptor did not arrive with the message.
pub fn deserialize<'de, T: From<OwnedFd>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    handle::deserialize(deserializer)
}
