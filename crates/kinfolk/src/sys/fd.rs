//! File descriptors that this process was started with, and numbers that are
//! not for the library's own.
#![allow(unsafe_code)] // A number becomes an owner.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

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

/// Moves a descriptor off the numbers of the standard streams, which it was
/// given because they are closed: what the program prints would go into it, and
/// children would inherit it.
///
/// # Errors
///
/// If this process has no free descriptor.
pub(crate) fn off_the_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() < 3 { Ok(fcntl_dupfd_cloexec(fd, 3)?) } else { Ok(fd) }
}
