//! Queues between processes: many senders, many receivers.
//!
//! A queue is one shared object: two positions and a ring of bytes. It is built
//! so that each change is one word: see `ring`.
//!
//! Used by the rooms above; uses `sync`, `wire` and `sys`.

mod arena;
mod bounded;
mod bytes;
mod end;
mod lease;
mod mark;
mod message;
mod receiver;
mod ring;
mod sender;
mod view;
mod waiting;

pub use bounded::{Options, bounded, with_options};
pub use bytes::ByteQueue;
pub use lease::Lease;
pub use receiver::{Iter, Receiver};
pub use sender::Sender;
pub use view::View;

/// The first size of a ring, in bytes, as a power of two.
const FIRST: u32 = 16;
/// The most extents at a time.
const EXTENTS: usize = 1024;
