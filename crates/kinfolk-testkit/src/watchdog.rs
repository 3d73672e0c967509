//! A test that hangs must fail.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long a test may take, on a slow machine under load, in seconds.
const PATIENCE: u64 = 180;

/// Ends the test binary if it is not dropped in time.
#[derive(Debug)]
#[must_use = "dropping the watchdog calls it off"]
pub struct Watchdog {
    /// Dropped with the watchdog, which wakes its thread.
    _leash: Sender<()>,
}

/// Starts a watchdog for the test `name`: if it is not dropped within three
/// minutes, or the seconds in `KINFOLK_PATIENCE`, the process aborts and says
/// which test hung.
pub fn watchdog(name: &'static str) -> Watchdog {
    watchdog_after(name, Duration::ZERO)
}

/// As [`watchdog`], for a test that goes on for a chosen time before it comes to
/// its end.
pub fn watchdog_after(name: &'static str, time: Duration) -> Watchdog {
    let (leash, held) = channel::<()>();
    let patience = std::env::var("KINFOLK_PATIENCE").ok().and_then(|text| text.parse().ok());
    let patience = time + Duration::from_secs(patience.unwrap_or(PATIENCE));
    std::thread::spawn(move || {
        if held.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the test {name} hangs");
            std::process::abort();
        }
    });
    Watchdog { _leash: leash }
}
