//! The words that processes share.
//!
//! `sync` and `queue` take them from here, and so does their model
//! (`crates/kinfolk-model`), which has words of its own in this place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
