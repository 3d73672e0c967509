//! How a process ended.
#![allow(unsafe_code)] // An ioctl that rustix lacks.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::Instant;

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::poll;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaped {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It ended, and something else took its status away.
    Unknown,
}

/// Reaps a child; `None` if it has not ended and `block` is false.
pub(crate) fn reap(pidfd: BorrowedFd<'_>, block: bool) -> io::Result<Option<Reaped>> {
    let options =
        if block { WaitIdOptions::EXITED } else { WaitIdOptions::EXITED | WaitIdOptions::NOHANG };
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => {
                return Ok(Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Reaped::Exited(code),
                    (None, Some(signal)) => Reaped::Signaled(signal),
                    (None, None) => Reaped::Unknown,
                }));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => break,
            Err(error) => return Err(error.into()),
        }
    }
    // Not this process's child any more: reaped by a foreign wait, or by the
    // kernel because SIGCHLD is ignored (then only once it has ended).
    let deadline = if block { None } else { Some(Instant::now()) };
    if !poll::ready(pidfd, deadline)? {
        return Ok(None);
    }
    Ok(Some(remembered(pidfd).unwrap_or(Reaped::Unknown)))
}

/// Kills the child of this number, if this process has one, and reaps it.
pub(crate) fn end_child(pid: i32) -> io::Result<()> {
    let pidfd = super::pidfd_open(pid)?;
    // The number of a child that something else reaped may be a stranger's.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(pidfd.as_fd()), look)?;
    // Refused, the end of its lifeline ends it.
    let _ = super::signal(pidfd.as_fd(), libc::SIGKILL);
    reap(pidfd.as_fd(), true).map(drop)
}

/// `struct pidfd_info` of the kernel in its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    /// What is asked for, and what was given.
    mask: u64,
    /// The control group.
    cgroup: u64,
    /// pid, tgid, ppid, and four pairs of user and group ids.
    ids: [u32; 11],
    /// The status as `wait` gives it.
    exit_code: i32,
}

/// What the kernel remembers of a reaped process (Linux 6.15).
fn remembered(pidfd: BorrowedFd<'_>) -> Option<Reaped> {
    const EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info)
    const PIDFD_GET_INFO: u32 =
        (3 << 30) | ((size_of::<PidfdInfo>() as u32) << 16) | (0xFF << 8) | 11;
    let mut info = PidfdInfo { mask: EXIT, ..PidfdInfo::default() };
    // SAFETY: the request's number carries the size of `info`, which the kernel
    // reads and writes no further.
    let done =
        unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as libc::Ioctl, &raw mut info) };
    if done != 0 || info.mask & EXIT == 0 {
        return None;
    }
    let status = info.exit_code;
    Some(if libc::WIFEXITED(status) {
        Reaped::Exited(libc::WEXITSTATUS(status))
    } else {
        Reaped::Signaled(libc::WTERMSIG(status))
    })
}
