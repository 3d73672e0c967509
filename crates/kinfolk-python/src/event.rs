//! Events.

use pyo3::prelude::*;

use crate::descriptor::{duplicate, number};
use crate::error::exception;
use crate::waiting::{limit, waiting};

/// A flag that processes share.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct Event {
    /// The event.
    inner: kinfolk::Event,
}

#[pymethods]
impl Event {
    /// Makes an event that is not set, or a handle of one that another process made.
    #[new]
    #[pyo3(signature = (fd=None))]
    fn new(fd: Option<i32>) -> PyResult<Self> {
        let inner = match fd {
            None => kinfolk::Event::new(),
            Some(fd) => duplicate(fd)?.try_into(),
        };
        Ok(Self { inner: inner.map_err(|error| exception(&error))? })
    }

    /// Its memory.
    fn fileno(&self) -> i32 {
        number(&self.inner)
    }

    /// Whether it is set.
    fn is_set(&self) -> bool {
        self.inner.is_set()
    }

    /// Sets it.
    fn set(&self) {
        self.inner.set();
    }

    /// Makes it not set.
    fn clear(&self) {
        self.inner.clear();
    }

    /// Waits until it is set, for at most so many seconds; returns whether it was.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let limit = limit(true, timeout)?;
        if self.inner.is_set() {
            return Ok(true);
        }
        waiting(py, || self.inner.wait_timeout(limit))
    }
}
