//! Copying this process into a sibling: a child of its parent.
//!
//! A raw clone runs none of the C library's fork code. That is sound for a
//! process with one thread that stands here, but leaves the library's idea of
//! its thread id and robust list wrong; both are put right, and [`probe`]
//! finds out whether that works before it is relied upon.
//!
//! [`probe`]: SiblingCloner::probe
#![allow(unsafe_code)] // A process is made by hand.

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::AtomicI32;

use super::status::{Reaped, reap};
use super::thread::check;
use super::{exit_now, thread_count};
use crate::sys::fork_guard;

/// The exit status of a child that could not make a thread to check itself with.
const REFUSED: i32 = 2;

/// What it takes to make siblings.
#[derive(Debug)]
pub(crate) struct SiblingCloner {
    /// Where the C library keeps the thread's id.
    tid_word: usize,
    /// The thread's list of robust locks, and its size.
    robust_list: (usize, usize),
}

impl SiblingCloner {
    /// Finds out whether siblings can be made that are right, and tries it.
    ///
    /// # Errors
    ///
    /// What stands in the way, in words; an error of the system if that refused to try.
    pub(crate) fn probe() -> io::Result<Self> {
        if thread_count()? != 1 {
            return Err(io::Error::other("this process has more than one thread"));
        }
        let mut tid_word = 0_usize;
        // SAFETY: the kernel writes one address to `tid_word`.
        check(unsafe {
            libc::syscall(libc::SYS_prctl, libc::PR_GET_TID_ADDRESS, &raw mut tid_word, 0, 0, 0)
        })?;
        let mut robust_list = (0_usize, 0_usize);
        // SAFETY: the kernel writes an address and a size to the two places.
        check(unsafe {
            libc::syscall(
                libc::SYS_get_robust_list,
                0,
                &raw mut robust_list.0,
                &raw mut robust_list.1,
            )
        })?;
        let cloner = Self { tid_word, robust_list };
        if !cloner.tid_word_is_right() {
            return Err(io::Error::other("the C library keeps its thread id elsewhere"));
        }
        cloner.try_it()?;
        Ok(cloner)
    }

    /// Makes a sibling. Returns its pidfd, and `None` in the sibling itself.
    /// The kernel writes the sibling's pid to `pid` before it runs.
    pub(crate) fn clone_sibling(&self, pid: &AtomicI32) -> io::Result<Option<OwnedFd>> {
        let flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;
        // Of CLONE_PARENT's child the parent chooses the exit signal: SIGCHLD.
        self.clone(flags, 0, pid)
    }

    /// Clones this process.
    fn clone(&self, flags: i32, signal: i32, pid: &AtomicI32) -> io::Result<Option<OwnedFd>> {
        let mut pidfd: RawFd = -1;
        let own = libc::CLONE_PIDFD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
        // SAFETY: zero is a value of each field, and means "none".
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.flags = u64::from((flags | own).unsigned_abs());
        arguments.pidfd = &raw mut pidfd as u64;
        arguments.child_tid = self.tid_word as u64;
        arguments.parent_tid = pid.as_ptr() as u64;
        arguments.exit_signal = u64::from(signal.unsigned_abs());
        let size = size_of::<libc::clone_args>();
        // SAFETY: as fork: a copy of this process goes on from here, on a copy
        // of this stack. This process has one thread (`probe` counted, and
        // nothing but the forkserver's loop has run since), so no lock is held.
        let cloned = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) })?;
        if cloned != 0 {
            // SAFETY: the kernel has just opened it for this caller.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(pidfd) }));
        }
        // SAFETY: the list is the copy, at the same address, of the one that
        // the C library had set for this thread.
        unsafe { libc::syscall(libc::SYS_set_robust_list, self.robust_list.0, self.robust_list.1) };
        fork_guard::sever_after_clone();
        Ok(None)
    }

    /// Makes a child and has it check itself.
    fn try_it(&self) -> io::Result<()> {
        let Some(pidfd) = self.clone(0, libc::SIGCHLD, &AtomicI32::new(0))? else {
            let Ok(thread) = std::thread::Builder::new().spawn(|| ()) else { exit_now(REFUSED) };
            let right = self.tid_word_is_right() && thread.join().is_ok();
            // SAFETY: signal 0 only checks that the thread is found.
            let found = unsafe { libc::raise(0) } == 0;
            exit_now(i32::from(!(right && found)));
        };
        match reap(pidfd.as_fd(), true)? {
            Some(Reaped::Exited(0)) => Ok(()),
            Some(Reaped::Exited(REFUSED)) => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            other => Err(io::Error::other(format!("a cloned child is not right: {other:?}"))),
        }
    }

    /// Whether the C library's idea of this thread's id is right.
    fn tid_word_is_right(&self) -> bool {
        if self.tid_word == 0 || !self.tid_word.is_multiple_of(align_of::<i32>()) {
            return false;
        }
        // SAFETY: the kernel names it as the place where it clears this
        // thread's id, so an aligned int lies there as long as the thread lives.
        let known = unsafe { *(self.tid_word as *const i32) };
        // SAFETY: gettid has no preconditions.
        known == unsafe { libc::gettid() }
    }
}
