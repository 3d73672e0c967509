//! An array in shared memory, without a lock.

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize};

use super::cells::Cells;
use crate::{Error, ErrorKind, Result};

/// Values of plain data that processes share, of a number that is fixed, without a
/// lock: [`Array`](crate::Array) has one.
///
/// It travels inside values as a handle, whatever its size: a copy in another
/// process is the same array. Its memory goes with its last user, killed or not.
/// What arrives is checked for the size and the alignment of a `T`, which are all
/// that memory of plain data can tell.
///
/// All operations copy. An element of 1, 2, 4 or 8 bytes is copied whole, in spite
/// of a kill too; a larger one, and several, can be in part old and in part new.
///
/// ```
/// use kinfolk::RawArray;
///
/// let array = RawArray::from_slice(&[1_u32, 2, 3])?;
/// array.set(1, 20)?;
/// assert_eq!(array.get(1), Some(20));
/// assert_eq!(array.to_vec(), [1, 20, 3]);
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Serialize)]
#[serde(transparent, bound = "")]
#[doc(alias = "sharedctypes")]
pub struct RawArray<T> {
    /// Its elements.
    cells: Cells<T>,
}

impl<T: Pod> RawArray<T> {
    /// Makes an array of zeros. All memory is provided now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if the system has no memory or no file descriptor
    /// for it, or this process may not make files of this size (`ulimit -f`).
    pub fn new(len: usize) -> Result<Self> {
        Ok(Self { cells: Cells::new(c"kinfolk-array", len)? })
    }

    /// Makes an array that holds `values`.
    ///
    /// # Errors
    ///
    /// As [`new`](RawArray::new).
    pub fn from_slice(values: &[T]) -> Result<Self> {
        let array = Self::new(values.len())?;
        array.write_from(0, values)?;
        Ok(array)
    }

    /// Another handle of the same array.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor, or no address space for it.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { cells: self.cells.try_clone()? })
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.count()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies an element; `None` if there is none at `index`.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        let mut value = T::zeroed();
        self.cells.load(index, std::slice::from_mut(&mut value))?;
        Some(value)
    }

    /// Changes an element.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is none at `index`.
    #[inline]
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        self.write_from(index, std::slice::from_ref(&value))
    }

    /// Copies the elements from `first` on into `to`, as many as that has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there are not so many; nothing is copied then.
    pub fn read_into(&self, first: usize, to: &mut [T]) -> Result<()> {
        let count = to.len();
        self.cells.load(first, to).ok_or_else(|| self.outside(first, count))
    }

    /// Copies `values` to the elements from `first` on.
    ///
    /// # Errors
    ///
    /// As [`read_into`](RawArray::read_into).
    #[inline]
    pub fn write_from(&self, first: usize, values: &[T]) -> Result<()> {
        self.cells.store(first, values).ok_or_else(|| self.outside(first, values.len()))
    }

    /// Copies all elements.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        let mut values = vec![T::zeroed(); self.len()];
        self.cells.load(0, &mut values).expect("all are there");
        values
    }

    /// Gives all elements one value.
    pub fn fill(&self, value: T) {
        /// How many at once.
        const STEP: usize = 512;
        let values = vec![value; STEP.min(self.len())];
        for first in (0..self.len()).step_by(STEP) {
            let count = STEP.min(self.len() - first);
            self.cells.store(first, &values[..count]).expect("they are there");
        }
    }

    /// A range is not inside.
    #[cold]
    fn outside(&self, first: usize, count: usize) -> Error {
        let len = self.len();
        Error::new(
            ErrorKind::InvalidInput,
            format!("{count} elements from {first} on are not inside of an array of {len}"),
        )
    }
}

impl<'de, T: Pod> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cells = Cells::deserialize(deserializer, "shared array", |_| true)?;
        Ok(Self { cells })
    }
}
