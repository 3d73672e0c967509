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
    telling::tell(level, text);
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

#[cfg(feature = "tracing")]
pub(crate) use telling::{HeldBack, hold_back};

/// Events that are held back: none, for nobody hears them but standard error.
#[cfg(not(feature = "tracing"))]
pub(crate) struct HeldBack;

/// Holds back nothing.
#[cfg(not(feature = "tracing"))]
pub(crate) fn hold_back() -> HeldBack {
    HeldBack
}

#[cfg(not(feature = "tracing"))]
impl HeldBack {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        true
    }
}

/// Events for a subscriber, who may do anything.
#[cfg(feature = "tracing")]
mod telling {
    use std::cell::RefCell;
    use std::fmt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::LogLevel;
    use crate::sys::fork_guard;

    thread_local! {
        /// What this thread holds back.
        static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
    }

    /// Events that are held back.
    struct Held {
        /// The process that holds them back; a fork of the thread does not.
        owner: u32,
        /// The events.
        events: Vec<(LogLevel, String)>,
    }

    impl Held {
        /// Whether they are this process's.
        fn is_here(&self) -> bool {
            self.owner == fork_guard::process_id()
        }
    }

    /// Tells the subscriber, or holds the event back for it.
    pub(super) fn tell(level: LogLevel, text: fmt::Arguments<'_>) {
        let hold = |held: &RefCell<Option<Held>>| {
            let mut held = held.borrow_mut();
            let held = held.as_mut().filter(|held| held.is_here());
            held.map(|held| held.events.push((level, text.to_string()))).is_some()
        };
        if HELD.try_with(hold).unwrap_or(false) {
            return;
        }
        // A panic of the subscriber must not turn an event into a failure.
        let _ = catch_unwind(AssertUnwindSafe(|| match level {
            LogLevel::Warning => tracing::warn!(target: "kinfolk", "{text}"),
            LogLevel::Info => tracing::info!(target: "kinfolk", "{text}"),
            LogLevel::Debug => tracing::debug!(target: "kinfolk", "{text}"),
        }));
    }

    /// Holds this thread's events back while it has what a subscriber may need, until
    /// what is returned is dropped. An inner one leaves it to the outer one.
    pub(crate) fn hold_back() -> HeldBack {
        let begin = |held: &RefCell<Option<Held>>| {
            let mut held = held.borrow_mut();
            let is_outer = !held.as_ref().is_some_and(Held::is_here);
            if is_outer {
                *held = Some(Held { owner: fork_guard::process_id(), events: Vec::new() });
            }
            is_outer
        };
        HeldBack { is_outer: HELD.try_with(begin).unwrap_or(false) }
    }

    /// Events of this thread that are held back; told when it is dropped.
    pub(crate) struct HeldBack {
        /// Whether it tells them.
        is_outer: bool,
    }

    impl HeldBack {
        /// Whether there are none.
        pub(crate) fn is_empty(&self) -> bool {
            let empty = |held: &RefCell<Option<Held>>| {
                held.borrow().as_ref().is_none_or(|held| held.events.is_empty())
            };
            !self.is_outer || HELD.try_with(empty).unwrap_or(true)
        }
    }

    impl Drop for HeldBack {
        fn drop(&mut self) {
            if !self.is_outer {
                return;
            }
            let held = HELD.try_with(RefCell::take).ok().flatten();
            for (level, text) in held.map(|held| held.events).unwrap_or_default() {
                tell(level, format_args!("{text}"));
            }
        }
    }
}
