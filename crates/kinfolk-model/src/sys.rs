//! What the library's sources find in `sys`, on the machine of the model.

pub(crate) mod atomic;
pub(crate) mod futex;
pub(crate) mod identity;
pub(crate) mod memory;
