//! Waiting without the interpreter's lock, and signals in the middle of it.

use std::cell::RefCell;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::marker::Ungil;
use pyo3::prelude::*;

/// A wait without a limit has this one: only those with one ask whether to end.
const FOREVER: Duration = Duration::from_secs(100 * 366 * 86_400);

thread_local! {
    /// What a signal handler raised during a wait of this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Waits for something while other threads run; signal handlers run meanwhile.
///
/// # Errors
///
/// What one of them raised: the wait ended as if its time were over.
pub(crate) fn waiting<T: Ungil + Send>(
    py: Python<'_>,
    wait: impl FnOnce() -> T + Ungil + Send,
) -> PyResult<T> {
    let result = py.detach(wait);
    RAISED.with(RefCell::take).map_or(Ok(result), Err)
}

/// Runs Python's signal handlers, if this is the thread that does; returns whether one
/// raised something, which ends the wait.
pub(crate) fn is_interrupted() -> bool {
    // Python runs them on its main thread, which is that of the process, or the one
    // that has forked it.
    if rustix::thread::gettid() != rustix::process::getpid() {
        return false;
    }
    if RAISED.with(|raised| raised.borrow().is_some()) {
        return true;
    }
    // Outside of `waiting`, and when Python has ended, there is nobody to tell.
    match Python::try_attach(|py| py.check_signals()) {
        None | Some(Ok(())) => false,
        Some(Err(error)) => {
            RAISED.with(|raised| raised.replace(Some(error)));
            true
        }
    }
}

/// The time that `acquire(block, timeout)` and its like allow: a negative one is none.
pub(crate) fn limit(block: bool, timeout: Option<f64>) -> PyResult<Duration> {
    match timeout {
        _ if !block => Ok(Duration::ZERO),
        None => Ok(FOREVER),
        Some(seconds) if seconds.is_nan() => {
            Err(PyValueError::new_err("a timeout is a number of seconds, not NaN"))
        }
        Some(seconds) => {
            let seconds = seconds.clamp(0.0, FOREVER.as_secs_f64());
            Ok(Duration::from_secs_f64(seconds))
        }
    }
}
