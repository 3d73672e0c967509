//! The model of the library's `queue`.

// As in `lib.rs`.
#![allow(dead_code, unreachable_pub)]

#[path = "../../kinfolk/src/queue/arena.rs"]
mod arena;
#[path = "../../kinfolk/src/queue/mark.rs"]
mod mark;
#[path = "../../kinfolk/src/queue/ring.rs"]
mod ring;
#[path = "queue/scenarios.rs"]
pub mod scenarios;
#[path = "../../kinfolk/src/queue/waiting.rs"]
mod waiting;

/// The first size of a ring, in bytes, as a power of two.
const FIRST: u32 = 6;
/// The most extents at a time.
const EXTENTS: usize = 2;
