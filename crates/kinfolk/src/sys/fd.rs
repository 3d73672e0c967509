//! Taking over file descriptors that this process was started with.
#![allow(unsafe_code)] // A number becomes an owner.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Takes over the descriptor `number`, and closes it on a later `exec`.
///
/// # Safety
///
/// If the number is open, nothing else in this process owns it.
///
/// # Errors
///
/// If the number is not open, or is a standard stream.
pub(crate) unsafe fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only asked about, for the length of two calls; the kernel answers
    // EBADF for a number that is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(fd)?;
    fcntl_setfd(fd, flags | FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and by this function's contract nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
