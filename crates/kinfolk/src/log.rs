//! The library's own events: to standard error when asked for, and to
//! `tracing` where that feature is on.

use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};

/// How much [`log_to_stderr`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LogLevel {
    /// What was survived but should not have happened.
    Warning = 1,
    /// Starts and ends of processes.
    Info = 2,
    /// Each step.
    Debug = 3,
}

/// The level in force; 0 is silence. Private to the process, so a kill leaves nothing.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Writes the library's events to standard error, here and in all processes
/// started from now on.
///
/// A line reads ``[INFO/MainProcess] started process `Process-1` (pid 4711) by Spawn``.
///
/// ```
/// kinfolk::log_to_stderr(kinfolk::LogLevel::Info);
/// ```
pub fn log_to_stderr(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// The level as a number, for a child to take over.
pub(crate) fn level() -> u8 {
    LEVEL.load(Ordering::Relaxed)
}

/// Takes over the level of the parent.
pub(crate) fn inherit(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Reports an event.
pub(crate) fn event(level: LogLevel, text: fmt::Arguments<'_>) {
    #[cfg(feature = "tracing")]
    match level {
        LogLevel::Warning => tracing::warn!(target: "kinfolk", "{text}"),
        LogLevel::Info => tracing::info!(target: "kinfolk", "{text}"),
        LogLevel::Debug => tracing::debug!(target: "kinfolk", "{text}"),
    }
    if LEVEL.load(Ordering::Relaxed) < level as u8 {
        return;
    }
    let label = match level {
        LogLevel::Warning => "WARNING",
        LogLevel::Info => "INFO",
        LogLevel::Debug => "DEBUG",
    };
    let line = format!("[{label}/{}] {text}\n", crate::process::current_name());
    // A closed standard error must not turn an event into a failure.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
