//! Every system call of the library, by topic.
//!
//! Used by all rooms above; uses none of them. Functions return plain
//! [`std::io::Result`]; the caller adds what it was doing.

pub(crate) mod atomic;
pub(crate) mod available;
pub(crate) mod fd;
pub(crate) mod fork_guard;
pub(crate) mod futex;
pub(crate) mod identity;
pub(crate) mod image;
pub(crate) mod lifeline;
pub(crate) mod memory;
pub(crate) mod per_process;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod receive;
pub(crate) mod segment;
pub(crate) mod sides;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod surroundings;
pub(crate) mod tcp;
