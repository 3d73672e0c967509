//! A message that stays in the queue's memory.
#![allow(unsafe_code)] // A slice of memory that other processes can write to.

use std::fmt;

use super::end::End;
use crate::Result;

/// A received message as bytes: see
/// [`Receiver::recv_view`](crate::queue::Receiver::recv_view).
pub struct View<'a> {
    /// The end that it came from.
    end: &'a End,
    /// Where the bytes are.
    place: Place,
}

/// Where a message is.
enum Place {
    /// Here: it was small.
    Bytes(Vec<u8>),
    /// In the queue's memory.
    Extent {
        /// The number of the extent.
        index: usize,
        /// Where it begins.
        start: usize,
        /// Its length.
        length: usize,
    },
}

impl<'a> View<'a> {
    /// Of a small message.
    pub(super) fn of_bytes(end: &'a End, bytes: Vec<u8>) -> Self {
        Self { end, place: Place::Bytes(bytes) }
    }

    /// Of the message in an extent of this process.
    pub(super) fn of_extent(end: &'a End, index: usize) -> Result<Self> {
        let (start, length) = end.ring.extent(index).inspect_err(|_| end.ring.free(index))?;
        Ok(Self { end, place: Place::Extent { index, start, length } })
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.place {
            Place::Bytes(bytes) => bytes.len(),
            Place::Extent { length, .. } => *length,
        }
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes where they are, without a copy.
    ///
    /// # Safety
    ///
    /// No process that shares the queue may write to the message while the slice is
    /// used. This library does not before the view is dropped in the process that
    /// received it, of which a fork's copy knows nothing; a process that was taken
    /// over by an attacker can.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        match &self.place {
            Place::Bytes(bytes) => bytes,
            Place::Extent { start, length, .. } => {
                // SAFETY: nobody writes to it, as the caller promises; this
                // process frees it when the view is dropped, not before.
                unsafe { self.end.ring.memory().slice(*start, *length) }.unwrap_or_default()
            }
        }
    }

    /// A copy of the bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if there is no memory
    /// for it: the message goes back to the queue.
    pub fn into_vec(mut self) -> Result<Vec<u8>> {
        match &mut self.place {
            Place::Bytes(bytes) => Ok(std::mem::take(bytes)),
            Place::Extent { index, .. } => {
                let mut bytes = Vec::new();
                let index = *index;
                if let Err(error) = self.end.read_extent(index, &mut bytes) {
                    // Its extent is not this view's any more.
                    self.place = Place::Bytes(Vec::new());
                    return Err(error);
                }
                Ok(bytes)
            }
        }
    }

    /// The bytes, and none are left here; `None`, and nothing changes, if there is no
    /// memory for them.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        match &mut self.place {
            Place::Bytes(bytes) => Some(std::mem::take(bytes)),
            Place::Extent { start, length, .. } => {
                let mut bytes = Vec::new();
                self.end.ring.memory().read(*start, *length, &mut bytes)?;
                Some(bytes)
            }
        }
    }

    /// The first bytes; `None` if there are not so many.
    pub(crate) fn head<const LENGTH: usize>(&self) -> Option<[u8; LENGTH]> {
        match &self.place {
            Place::Bytes(bytes) => bytes.first_chunk().copied(),
            Place::Extent { start, length, .. } => {
                let mut head = [0; LENGTH];
                let inside = *length >= LENGTH;
                inside.then(|| self.end.ring.memory().read_into(*start, &mut head))??;
                Some(head)
            }
        }
    }

    /// Copies the bytes to the beginning of `buffer`, and returns their number;
    /// `None`, and nothing, if it is too short.
    pub fn copy_to(&self, buffer: &mut [u8]) -> Option<usize> {
        let target = buffer.get_mut(..self.len())?;
        match &self.place {
            Place::Bytes(bytes) => target.copy_from_slice(bytes),
            Place::Extent { start, .. } => self.end.ring.memory().read_into(*start, target)?,
        }
        Some(self.len())
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if let Place::Extent { index, .. } = self.place {
            self.end.ring.free(index);
        }
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<View of {} bytes>", self.len())
    }
}
