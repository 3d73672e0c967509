//! Lifelines: what ends a process at once when its parent is gone.
//!
//! The parent holds the write end of a pipe, the child the read end with
//! `O_ASYNC`, itself as owner and SIGKILL as the signal: when the last write
//! end closes, the kernel kills the child. It belongs to the process, not to
//! the thread that started it (as `PR_SET_PDEATHSIG` does), and holds over
//! `exec`. One new pipe per child, because the owner belongs to the open file
//! description: of two children arming one description only the last dies.
//!
//! | killed, or parent gone | what follows |
//! |---|---|
//! | before the child arms | the child arms, then polls once, sees the hangup and ends |
//! | between arming and the poll | the kernel has sent SIGKILL already |
//! | after | SIGKILL |
//!
//! What defeats it: being init of a pid namespace, which ignores the signal,
//! and closing the descriptor (`close_range` over everything).
#![allow(unsafe_code)] // rustix has no F_SETSIG and no F_SETOWN for a pid.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::fd::off_the_streams;
use super::fork_guard::PrivateFd;
use super::poll;

/// The parent's end: the child lives while this is open.
#[derive(Debug)]
pub(crate) struct Lifeline {
    /// The write end; nothing is ever written.
    end: PrivateFd,
}

impl Lifeline {
    /// Another descriptor of the parent's end.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.end.as_fd().try_clone_to_owned()
    }
}

/// Makes a lifeline; the second is the child's end.
pub(crate) fn lifeline() -> io::Result<(Lifeline, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (read, write) = (off_the_streams(read)?, off_the_streams(write)?);
    Ok((Lifeline { end: PrivateFd::new(write) }, read))
}

/// Arms the child's end for this process, and keeps it open over `exec`.
/// Returns whether the parent is still there.
pub(crate) fn arm(end: BorrowedFd<'_>) -> io::Result<bool> {
    let fd = end.as_raw_fd();
    for (command, value) in arming(rustix::process::getpid().as_raw_nonzero().get()) {
        // SAFETY: these commands of fcntl take an int and touch no memory.
        if unsafe { libc::fcntl(fd, command, value) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(!poll::ready(end, Some(Instant::now()))?)
}

/// Takes this process off its lifeline: it goes on when its parent is gone.
pub(crate) fn disarm(end: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: this command of fcntl takes an int and touches no memory.
    if unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFL, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The steps that arm a lifeline for the process `pid`, as arguments of `fcntl`.
pub(super) fn arming(pid: i32) -> [(i32, i32); 4] {
    [
        (libc::F_SETFD, 0),
        (libc::F_SETOWN, pid),
        (F_SETSIG, libc::SIGKILL),
        (libc::F_SETFL, libc::O_ASYNC),
    ]
}

/// Chooses the signal of `O_ASYNC`; the libc crate lacks it on some targets.
const F_SETSIG: i32 = 10;
