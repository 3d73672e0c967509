//! Memory that processes share: raw, with a name, as numbers, as a list.
//!
//! Used by the rooms above; uses `sync`, `wire` and `sys`.

mod memory;

pub use memory::SharedMemory;
