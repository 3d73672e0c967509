//! What tests do to processes, and let them do.

use std::time::Duration;

use crate::look::{is_gone, wait_until};

/// A time in which nothing is expected to happen, and the test does not depend on it.
pub const SHORT: Duration = Duration::from_millis(20);
/// A time that does not pass: the watchdog is sooner.
pub const LONG: Duration = Duration::from_secs(600);

/// Does nothing, until this process is ended.
pub fn forever<T>() -> T {
    loop {
        std::thread::park();
    }
}

/// Ends the process that runs it, as nothing else does.
pub fn die<T>() -> T {
    signal(std::process::id(), libc::SIGKILL);
    unreachable!("SIGKILL ends it")
}

/// Sends a signal to a process, if there is one of this number.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: touches no memory of this process, or only as the signal's handler does.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

/// Kills a process that another reaps, and waits until it is gone.
pub fn kill(pid: u32) {
    signal(pid, libc::SIGKILL);
    wait_until("it is gone", || is_gone(pid));
}
