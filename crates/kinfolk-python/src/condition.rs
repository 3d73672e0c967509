//! Conditions, under locks of any kind.

use pyo3::prelude::*;

use crate::descriptor::{duplicate, number};
use crate::error::exception;
use crate::waiting::{limit, waiting};

/// A condition that processes wait for.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct Condition {
    /// The condition.
    inner: kinfolk::Condition,
}

#[pymethods]
impl Condition {
    /// Makes a condition, or a handle of one that another process made.
    #[new]
    #[pyo3(signature = (fd=None))]
    fn new(fd: Option<i32>) -> PyResult<Self> {
        let inner = match fd {
            None => kinfolk::Condition::new(),
            Some(fd) => duplicate(fd)?.try_into(),
        };
        Ok(Self { inner: inner.map_err(|error| exception(&error))? })
    }

    /// Its memory.
    fn fileno(&self) -> i32 {
        number(&self.inner)
    }

    /// Becomes a waiter, calls `release`, waits, and calls `acquire`. Returns whether
    /// it was notified. What a signal handler raises is raised after `acquire`; a
    /// notification that came meanwhile goes to another.
    #[pyo3(signature = (release, acquire, timeout))]
    fn wait(
        &self,
        py: Python<'_>,
        release: &Bound<'_, PyAny>,
        acquire: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let limit = limit(true, timeout)?;
        let mut enlisted = self.inner.enlist().map_err(|error| exception(&error))?;
        release.call0()?;
        let mut notified = false;
        let waited = waiting(py, || notified = enlisted.wait_timeout(limit));
        let acquired = acquire.call0();
        let ended = waited.and(acquired.map(drop));
        if notified && ended.is_err() {
            self.inner.notify_one();
        }
        ended.map(|()| notified)
    }

    /// Notifies so many waiters.
    fn notify(&self, count: i64) {
        self.inner.notify(usize::try_from(count).unwrap_or(0));
    }

    /// The number of those that wait.
    fn waiting(&self) -> usize {
        self.inner.waiting()
    }
}
