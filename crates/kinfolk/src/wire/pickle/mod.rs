//! Values as Python's pickles, of plain data only.
//!
//! A pickle is a program for a small machine, and with Python's own reader it can run
//! any code. Here it makes plain data, or is an error: the machine knows a list of
//! names (`globals`) and calls nothing. What it builds is a graph, as pickles have
//! them; of it, a tree is made within a budget (`tree`).
//!
//! Used by connections and the manager; uses `plain`.

mod globals;
mod input;
mod machine;
mod object;
mod tree;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::globals::Class;
pub(crate) use self::object::{Exception, Object, Token};
pub(crate) use self::write::write;
use super::plain::Plain;
use crate::Result;

/// Encodes a value as a pickle (protocol 4), by [`Plain::from_value`].
///
/// ```
/// let pickle = kinfolk::pickle::to_vec(&("text", 3))?;
/// assert_eq!(pickle, b"\x80\x04\x8c\x04textK\x03\x86.");
/// # Ok::<(), kinfolk::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::Serialize`](crate::ErrorKind::Serialize) if it is not plain data.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    write(&Object::Plain(Plain::from_value(value)?))
}

/// Decodes a pickle of any protocol (0 to 5) that has plain data in it, by
/// [`Plain::to_value`]. Whatever the bytes are, no code is run, and memory is used in
/// proportion to their number.
///
/// # Errors
///
/// [`ErrorKind::Deserialize`](crate::ErrorKind::Deserialize) if the bytes are no
/// pickle, or of another type, or of what is not plain data, which the error names.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    read(bytes)?.plain()?.to_value()
}

/// Decodes a pickle of an object that is known.
///
/// # Errors
///
/// As [`from_slice`], and if it is of another object.
pub(crate) fn read(bytes: &[u8]) -> Result<Object> {
    tree::object(&machine::run(bytes)?, bytes.len())
}
