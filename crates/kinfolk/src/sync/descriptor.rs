//! Shared objects as file descriptors, which other means than this library's may
//! bring to another process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::object::Object;
use super::{Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore};
use crate::{Error, ErrorKind, Result};

/// Makes a type one with the descriptor of its memory.
macro_rules! descriptor {
    ($($shared:ident)*) => {$(
        impl AsFd for $shared {
            /// Its memory, for a process that inherits it and makes a handle of it.
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.object.memory().as_fd()
            }
        }

        impl TryFrom<OwnedFd> for $shared {
            type Error = Error;

            /// Makes a handle of memory that is of this kind, whoever made it.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidInput`] if it is not, or of another pid namespace.
            fn try_from(fd: OwnedFd) -> Result<Self> {
                let refuse = |reason| Error::new(ErrorKind::InvalidInput, reason);
                Ok(Self { object: Object::open(fd).map_err(refuse)? })
            }
        }
    )*};
}

descriptor! { Lock RLock Semaphore Condition Event Barrier }

impl AsFd for BoundedSemaphore {
    /// As that of a [`Semaphore`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.semaphore.as_fd()
    }
}

impl TryFrom<OwnedFd> for BoundedSemaphore {
    type Error = Error;

    /// As that of a [`Semaphore`].
    ///
    /// # Errors
    ///
    /// As there.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        Ok(Self { semaphore: fd.try_into()? })
    }
}
