//! Queues between processes: many senders, many receivers.
//!
//! A queue is one shared object: two positions and a ring of bytes. It is built
//! so that each change is one word: see `ring`.
//!
//! Used by the rooms above; uses `sync`, `wire` and `sys`.

mod bounded;
mod end;
mod receiver;
mod ring;
mod sender;

pub use bounded::{Options, bounded, with_options};
pub use receiver::{Iter, Receiver};
pub use sender::Sender;
