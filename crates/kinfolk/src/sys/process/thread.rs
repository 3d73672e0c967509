//! Small calls that rustix lacks or that need care.
#![allow(unsafe_code)] // Calls into libc.

use std::io;

/// The size of the kernel's signal mask, in bytes.
const MASK_SIZE: usize = 8;

/// Forks: the C library's own, so that its handlers run.
pub(super) fn fork() -> i32 {
    // SAFETY: the callers see to it that this process has one thread, or pass
    // the duty on to theirs.
    unsafe { libc::fork() }
}

/// Ends this process past its exit handlers.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process; nothing of it is used again.
    unsafe { libc::_exit(status) }
}

/// Has `handler` called when this process exits.
pub(super) fn at_exit(handler: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the handler is a function of this image and does not unwind.
    match unsafe { libc::atexit(handler) } {
        0 => Ok(()),
        _ => Err(io::ErrorKind::OutOfMemory.into()),
    }
}

/// Sends a signal through a pidfd.
pub(super) fn pidfd_send_signal(pidfd: i32, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and read nowhere.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, no_info, 0) })?;
    Ok(())
}

/// The signals that this thread blocks, as the kernel counts them.
pub(crate) fn signal_mask() -> io::Result<u64> {
    let mut mask = 0_u64;
    let unchanged = std::ptr::null::<u64>();
    // SAFETY: the kernel writes `MASK_SIZE` bytes to `mask`, which has them.
    let done =
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, 0, unchanged, &raw mut mask, MASK_SIZE) };
    check(done)?;
    Ok(mask)
}

/// Chooses the signals that this thread blocks.
pub(crate) fn set_signal_mask(mask: u64) -> io::Result<()> {
    let unwanted = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads `MASK_SIZE` bytes of `mask`, which has them.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            unwanted,
            MASK_SIZE,
        )
    })?;
    Ok(())
}

/// Has this process ignore a signal.
pub(super) fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: no handler is installed.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The processors that this thread may run on, a bit each.
pub(crate) fn affinity() -> io::Result<Vec<u8>> {
    let mut bits = vec![0_u8; 1024];
    // SAFETY: the kernel writes at most `bits.len()` bytes to `bits`.
    let size = check(unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, 0, bits.len(), bits.as_mut_ptr())
    })?;
    bits.truncate(usize::try_from(size).unwrap_or(0));
    Ok(bits)
}

/// Chooses the processors that this thread may run on.
pub(crate) fn set_affinity(bits: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads at most `bits.len()` bytes of `bits`.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, bits.len(), bits.as_ptr()) })?;
    Ok(())
}

/// The result of a raw system call.
pub(super) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
