//! What crosses between processes: values as bytes, bytes as messages, and the
//! file descriptors in them.
//!
//! Used by connections, processes and all above; uses `sys`.

pub(crate) mod codec;
pub mod fd;
mod fixed;
pub(crate) mod frame;
#[cfg(any(fuzzing, test))]
#[allow(unreachable_pub, reason = "public for the fuzz target only")]
pub mod fuzzing;
pub(crate) mod handle;
pub(crate) mod packed;
#[cfg(feature = "pickle")]
pub mod pickle;
pub mod plain;
pub(crate) mod stream;
