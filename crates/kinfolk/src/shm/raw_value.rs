//! One value in shared memory, without a lock.

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize};

use super::cells::Cells;
use crate::Result;

/// One value of plain data that processes share, without a lock:
/// [`Value`](crate::Value) has one.
///
/// It travels inside values as a handle: a copy in another process is the same
/// value. Its memory goes with its last user, killed or not. What arrives is
/// checked for the size and the alignment of a `T`, which are all that memory of
/// plain data can tell.
///
/// [`get`](RawValue::get) and [`set`](RawValue::set) copy it. If its size is 1, 2,
/// 4 or 8 bytes, they copy it whole, in spite of a kill too. A larger one that is
/// set by one and copied by another at the same time, or was being set by one that
/// was killed, is in part old and in part new.
///
/// ```
/// use kinfolk::RawValue;
///
/// let value = RawValue::new(3.5)?;
/// value.set(value.get() + 1.0);
/// assert_eq!(value.get(), 4.5);
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Serialize)]
#[serde(transparent, bound = "")]
#[doc(alias = "sharedctypes")]
pub struct RawValue<T> {
    /// The one value.
    cells: Cells<T>,
}

impl<T: Pod> RawValue<T> {
    /// Makes memory that holds `value`. All of it is provided now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if the system has no
    /// memory or no file descriptor for it, or this process may not make files of
    /// this size (`ulimit -f`).
    pub fn new(value: T) -> Result<Self> {
        let raw = Self { cells: Cells::new(c"kinfolk-value", 1)? };
        raw.set(value);
        Ok(raw)
    }

    /// Another handle of the same value.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { cells: self.cells.try_clone()? })
    }

    /// Copies the value.
    #[inline]
    #[must_use]
    #[doc(alias = "value")]
    pub fn get(&self) -> T {
        let mut value = T::zeroed();
        self.cells.load(0, std::slice::from_mut(&mut value)).expect("one value is there");
        value
    }

    /// Changes the value.
    #[inline]
    pub fn set(&self, value: T) {
        self.cells.store(0, std::slice::from_ref(&value)).expect("one value is there");
    }
}

impl<'de, T: Pod> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cells = Cells::deserialize(deserializer, "shared value", |count| count == 1)?;
        Ok(Self { cells })
    }
}
