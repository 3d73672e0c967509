//! Processes: making, signalling and reaping them.
//!
//! Required of each platform:
//!
//! * `exec` starts a program in which exactly the listed descriptors are open,
//!   at the speed of `vfork`, and safe while other threads run.
//! * `SiblingCloner` copies this process into a child of *its parent*.
//! * `fork` copies this process into a child of its own.
//! * `reap` tells how a process ended, once; what something else took is
//!   [`Reaped::Unknown`].

mod clone;
mod exec;
mod status;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use super::fork_guard;

pub(crate) use clone::SiblingCloner;
pub(crate) use exec::{Exec, exec};
pub(crate) use status::{Reaped, end_child, reap};
pub(crate) use thread::{affinity, exit_now, set_affinity, set_signal_mask, signal_mask};

mod thread;

/// Forks. Returns the child's pid, and `None` in the child. With `carry` this
/// process's connections stay usable in the child.
pub(crate) fn fork(carry: bool) -> io::Result<Option<i32>> {
    fork_guard::process_id();
    let pid = if carry { fork_guard::carrying_connections(thread::fork) } else { thread::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// The number of this process's threads. One that was just joined may still be
/// listed, so several are counted again for a bounded time.
pub(crate) fn thread_count() -> io::Result<usize> {
    let mut count = 0;
    for _ in 0..50 {
        count = std::fs::read_dir("/proc/self/task")?.count();
        if count == 1 {
            break;
        }
        std::thread::yield_now();
    }
    Ok(count)
}

/// Opens a process that is this one's child and not reaped.
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Sends a signal; nothing happens if the process has ended.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    match thread::pidfd_send_signal(pidfd.as_raw_fd(), signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// Lets Ctrl-C pass this process by: whoever started it decides.
pub(crate) fn ignore_interrupts() -> io::Result<()> {
    thread::ignore(libc::SIGINT)
}

/// Limits the memory that this process may have for its data, in bytes.
pub(crate) fn limit_memory(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Data).maximum;
    let current = Some(maximum.map_or(bytes, |maximum| bytes.min(maximum)));
    Ok(setrlimit(Resource::Data, Rlimit { current, maximum })?)
}

/// Makes this process adopt its orphaned descendants.
pub(crate) fn set_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Has `handler` called when this process exits.
pub(crate) fn at_exit(handler: extern "C" fn()) -> io::Result<()> {
    thread::at_exit(handler)
}
