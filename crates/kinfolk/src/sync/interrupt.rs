//! Ending waits before their time.

use std::sync::OnceLock;

/// Asked whenever a wait with a time limit is about to sleep.
static CHECK: OnceLock<fn() -> bool> = OnceLock::new();

/// Makes every wait of this process that has a time limit ask `check`, on its own
/// thread, whenever it is about to sleep: at first, at each wake-up, and at least
/// ten times a second. If that is `true`, the wait ends as if its time were over.
///
/// This is for bindings to languages with signal handlers of their own. A signal
/// wakes the thread that gets it, which asks at once. The one who waits holds
/// nothing of the library meanwhile, so `check` may do anything.
///
/// Only the first call has an effect.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::time::Duration;
///
/// static STOP: AtomicBool = AtomicBool::new(true);
///
/// kinfolk::set_interrupt(|| STOP.load(Ordering::Relaxed));
/// let event = kinfolk::Event::new()?;
/// assert!(!event.wait_timeout(Duration::from_secs(1 << 32)), "it would wait for years");
/// # Ok::<(), kinfolk::Error>(())
/// ```
pub fn set_interrupt(check: fn() -> bool) {
    let _ = CHECK.set(check);
}

/// Whether a wait shall end.
pub(crate) fn is_wanted() -> bool {
    CHECK.get().is_some_and(|check| check())
}
