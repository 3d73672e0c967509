//! A test that hangs must fail.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long a test may take, on a slow machine under load.
const PATIENCE: Duration = Duration::from_secs(180);

/// Ends the test binary if it is not dropped in time.
#[derive(Debug)]
#[must_use = "dropping the watchdog calls it off"]
pub struct Watchdog {
    /// Dropped with the watchdog, which wakes its thread.
    _leash: Sender<()>,
}

/// Starts a watchdog for the test `name`: if it is not dropped within three
/// minutes, the process aborts and says which test hung.
pub fn watchdog(name: &'static str) -> Watchdog {
    let (leash, held) = channel::<()>();
    std::thread::spawn(move || {
        if held.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the test {name} hangs");
            std::process::abort();
        }
    });
    Watchdog { _leash: leash }
}
