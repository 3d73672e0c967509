//! Knowing that nobody is left on the other side, and a bell.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// Makes two descriptors that stand for two sides. The kernel counts who holds
/// each, those on their way in a message included.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Whether nobody holds the other side of one of a [`pair`].
pub(crate) fn other_is_gone(side: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&side, PollFlags::empty())];
    loop {
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => return Ok(fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes a bell: readable from when it was rung until it is silenced.
pub(crate) fn bell() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Rings a bell.
pub(crate) fn ring(bell: impl AsFd) {
    // It fails only where it has been rung for all times.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// Silences a bell.
pub(crate) fn silence(bell: impl AsFd) {
    // It fails only where it was silent.
    let _ = rustix::io::read(bell, &mut [0; 8]);
}
