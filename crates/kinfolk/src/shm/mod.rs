//! Memory that processes share: raw, with a name, as numbers, as a list.
//!
//! Used by the rooms above; uses `sync`, `wire` and `sys`.

mod array;
mod cells;
mod guard;
mod item;
mod list;
mod memory;
mod raw_array;
mod raw_value;
mod value;

pub use array::Array;
pub use guard::SharedGuard;
pub use item::ListItem;
pub use list::ShareableList;
pub use memory::SharedMemory;
pub use raw_array::RawArray;
pub use raw_value::RawValue;
pub use value::Value;
