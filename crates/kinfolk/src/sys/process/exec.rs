//! Executing a program with exactly the descriptors it should have.
//!
//! The child shares this process's memory until it executes (`CLONE_VM` and
//! `CLONE_VFORK`), so its start costs the same whatever this process holds.
//! Between the two it makes system calls only: it allocates nothing and takes
//! no lock. All signals are blocked meanwhile, and its handlers reset before
//! they are unblocked, so no handler of this process runs in it.
#![allow(unsafe_code)] // A process is made by hand.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use super::status::reap;
use super::thread::{set_signal_mask, signal_mask};
use crate::sys::lifeline;

/// A program to execute.
#[derive(Debug)]
pub(crate) struct Exec<'a> {
    /// The program's file.
    pub(crate) exe: &'a CStr,
    /// Its arguments, the name first.
    pub(crate) argv: &'a [&'a CStr],
    /// Its environment, `name=value` each.
    pub(crate) env: &'a [CString],
    /// What stays open besides the standard streams, at the same numbers.
    pub(crate) keep: &'a [BorrowedFd<'a>],
    /// The one of `keep` that is to end it with this process.
    pub(crate) lifeline: Option<BorrowedFd<'a>>,
    /// Its working directory, if not this process's.
    pub(crate) cwd: Option<BorrowedFd<'a>>,
    /// Its standard streams, where not this process's.
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
}

/// The child's stack; it calls nothing deep.
const STACK: usize = 64 << 10;

/// Executes a program. Returns its pid and pidfd.
pub(crate) fn exec(exec: &Exec<'_>) -> io::Result<(i32, OwnedFd)> {
    let pointers = |strings: &mut dyn Iterator<Item = &CStr>| -> Vec<*const libc::c_char> {
        strings.map(CStr::as_ptr).chain([ptr::null()]).collect()
    };
    let mut keep: Vec<RawFd> = exec.keep.iter().map(|fd| fd.as_raw_fd()).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut plan = Plan {
        exe: exec.exe.as_ptr(),
        argv: pointers(&mut exec.argv.iter().copied()),
        env: pointers(&mut exec.env.iter().map(CString::as_c_str)),
        keep,
        lifeline: exec.lifeline.map(|fd| fd.as_raw_fd()),
        cwd: exec.cwd.map(|fd| fd.as_raw_fd()),
        stdio: exec.stdio.map(|stream| stream.map(|fd| fd.as_raw_fd())),
        mask: signal_mask()?,
        errno: 0,
    };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end;
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    set_signal_mask(u64::MAX)?;
    // SAFETY: `child` runs on `stack`, whose top is aligned to 16 bytes, while
    // this thread is suspended until it executes or exits; `plan` and `pidfd`
    // live longer than that.
    let pid =
        unsafe { libc::clone(child, top.cast(), flags, (&raw mut plan).cast(), &raw mut pidfd) };
    let error = io::Error::last_os_error();
    set_signal_mask(plan.mask)?;
    if pid < 0 {
        return Err(error);
    }
    // SAFETY: the kernel has just opened it for this caller.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if plan.errno != 0 {
        reap(std::os::fd::AsFd::as_fd(&pidfd), true)?;
        return Err(io::Error::from_raw_os_error(plan.errno));
    }
    Ok((pid, pidfd))
}

/// What the child does, laid out before it exists.
struct Plan {
    /// The program's file.
    exe: *const libc::c_char,
    /// Its arguments, ended by null.
    argv: Vec<*const libc::c_char>,
    /// Its environment, ended by null.
    env: Vec<*const libc::c_char>,
    /// What stays open, ascending.
    keep: Vec<RawFd>,
    /// The lifeline.
    lifeline: Option<RawFd>,
    /// The working directory.
    cwd: Option<RawFd>,
    /// The standard streams.
    stdio: [Option<RawFd>; 3],
    /// The signals that the program is to block.
    mask: u64,
    /// What went wrong, written by the child.
    errno: i32,
}

/// The child.
extern "C" fn child(plan: *mut libc::c_void) -> i32 {
    // SAFETY: `exec` passed its plan, and waits while this process uses it.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    reset_handlers();
    if plan.become_program().is_err() {
        plan.errno = errno();
    }
    super::exit_now(127)
}

impl Plan {
    /// Does all of it; on success does not return.
    fn become_program(&self) -> Result<(), ()> {
        if let Some(end) = self.lifeline {
            // SAFETY: getpid has no preconditions.
            for (command, value) in lifeline::arming(unsafe { libc::getpid() }) {
                // SAFETY: these commands of fcntl take an int and touch no memory.
                done(unsafe { libc::fcntl(end, command, value) })?;
            }
            let mut poll = libc::pollfd { fd: end, events: 0, revents: 0 };
            // SAFETY: one pollfd is passed, and it lives.
            if unsafe { libc::poll(&raw mut poll, 1, 0) } > 0 {
                super::exit_now(0);
            }
        }
        self.replace_streams()?;
        if let Some(cwd) = self.cwd {
            // SAFETY: touches no memory.
            done(unsafe { libc::fchdir(cwd) })?;
        }
        self.close_others()?;
        for fd in &self.keep {
            // SAFETY: this command of fcntl takes an int and touches no memory.
            done(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) })?;
        }
        set_signal_mask(self.mask).map_err(|_| ())?;
        // SAFETY: file, arguments and environment are strings ended by zero in
        // arrays ended by null, all owned by the suspended parent.
        unsafe { libc::execve(self.exe, self.argv.as_ptr(), self.env.as_ptr()) };
        Err(())
    }

    /// Replaces the standard streams. Sources are moved out of their way first.
    fn replace_streams(&self) -> Result<(), ()> {
        let mut sources = self.stdio;
        for source in sources.iter_mut().flatten() {
            // SAFETY: this command of fcntl takes an int and touches no memory.
            *source = done(unsafe { libc::fcntl(*source, libc::F_DUPFD, 3) })?;
        }
        for (target, source) in (0..).zip(sources) {
            if let Some(source) = source {
                // SAFETY: touches no memory; this process's table is its own.
                done(unsafe { libc::dup2(source, target) })?;
            }
        }
        Ok(())
    }

    /// Closes all but the standard streams and what is kept.
    fn close_others(&self) -> Result<(), ()> {
        let mut from: libc::c_uint = 3;
        for fd in self.keep.iter().map(|fd| fd.unsigned_abs()) {
            if fd > from {
                close_range(from, fd - 1)?;
            }
            from = from.max(fd + 1);
        }
        close_range(from, libc::c_uint::MAX)
    }
}

/// Closes a range of descriptors.
fn close_range(first: libc::c_uint, last: libc::c_uint) -> Result<(), ()> {
    // SAFETY: touches no memory; this process's table is its own.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed < 0 { Err(()) } else { Ok(()) }
}

/// Gives every signal that this process handles its default action, and leaves
/// ignored ones ignored, as `exec` would: but before they are unblocked.
fn reset_handlers() {
    for signal in 1..=64 {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: writes one sigaction; signals that cannot be asked about fail.
        if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
            continue;
        }
        // SAFETY: filled by the call above; zeroed memory is one, too.
        let mut action = unsafe { action.assume_init() };
        if action.sa_sigaction != libc::SIG_IGN && action.sa_sigaction != libc::SIG_DFL {
            action.sa_sigaction = libc::SIG_DFL;
            action.sa_flags = 0;
            // SAFETY: reads one sigaction; handlers are this process's own, as
            // CLONE_SIGHAND was not asked for.
            unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        }
    }
}

/// The result of a system call.
fn done(result: i32) -> Result<i32, ()> {
    if result < 0 { Err(()) } else { Ok(result) }
}

/// What the last system call said. Shared with the suspended parent's thread,
/// which reads its own before it looks at it again.
fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
