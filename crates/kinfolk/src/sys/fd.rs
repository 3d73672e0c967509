//! File descriptors that this process was started with, and numbers that are
//! not for the library's own.
#![allow(unsafe_code)] // A number becomes an owner.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

use super::process::{set_signal_mask, signal_mask};

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

/// Locks a file or folder for whoever has this descriptor of it; `false` if others have locked
/// it. Death unlocks it.
pub(crate) fn try_lock(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Which open file a descriptor is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Identity {
    /// That of a descriptor.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let status = rustix::fs::fstat(fd)?;
        Ok(Self(status.st_dev, status.st_ino))
    }

    /// Checks that the descriptor still is of this file: one that got its number later
    /// is not.
    ///
    /// # Errors
    ///
    /// If it is not: as of a number that is not open.
    pub(crate) fn check(self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if Self::of(fd)? == self { Ok(()) } else { Err(Errno::BADF.into()) }
    }
}

/// Runs `work` where descriptors are free although this process has none left: in
/// a thread for the moment, that shares no descriptors with the rest.
///
/// # Errors
///
/// If the system refuses the thread, or its own descriptors.
pub(crate) fn with_free_descriptors<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let run = || {
        // SAFETY: the flag gives this thread copies of all descriptors before these
        // are closed: who owns one in this process owns it still.
        match unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, CLOSE_RANGE_UNSHARE) } {
            0 => Ok(work()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // No handler of a signal runs there, which would miss the descriptors.
    let mask = signal_mask()?;
    set_signal_mask(u64::MAX)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, run);
        set_signal_mask(mask)?;
        thread?.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })
}

/// Closes copies, in a table of this thread's own; `libc` has it for few targets.
const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use super::with_free_descriptors;

    #[test]
    fn what_is_closed_for_a_moment_stays_open_for_the_rest() {
        let mut file = File::open("/proc/self/stat").unwrap();
        let opened = with_free_descriptors(|| File::open("/dev/null").unwrap().as_raw_fd());
        assert_eq!(opened.unwrap(), 0);
        assert!(file.read(&mut [0; 8]).unwrap() > 0);
    }
}
