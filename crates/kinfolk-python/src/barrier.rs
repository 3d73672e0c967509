//! Barriers.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::descriptor::{duplicate, number};
use crate::error::exception;
use crate::waiting::{limit, waiting};

/// A point where processes meet.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct Barrier {
    /// The barrier.
    inner: kinfolk::Barrier,
}

#[pymethods]
impl Barrier {
    /// Makes a barrier for so many parties.
    #[new]
    fn new(parties: usize) -> PyResult<Self> {
        let inner = kinfolk::Barrier::new(parties).map_err(|error| exception(&error))?;
        Ok(Self { inner })
    }

    /// Makes a handle of one that another process made.
    #[staticmethod]
    fn of_fd(fd: i32) -> PyResult<Self> {
        let inner = duplicate(fd)?.try_into().map_err(|error| exception(&error))?;
        Ok(Self { inner })
    }

    /// Its memory.
    fn fileno(&self) -> i32 {
        number(&self.inner)
    }

    /// Waits until all have arrived; the last one calls the action first. Returns a
    /// number that no other party gets, or `None` if the barrier is broken.
    ///
    /// What the action or a signal handler raises is raised here, and breaks it.
    #[pyo3(signature = (timeout, action))]
    fn wait(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        action: Option<Py<PyAny>>,
    ) -> PyResult<Option<usize>> {
        let limit = limit(true, timeout)?;
        let failure = Mutex::new(None);
        let act = || {
            let Some(action) = &action else { return };
            let called = Python::try_attach(|py| action.call0(py).map(drop))
                .unwrap_or_else(|| Err(PyRuntimeError::new_err("the interpreter has ended")));
            if let Err(error) = called {
                self.inner.abort();
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        };
        let met = waiting(py, || self.inner.wait_timeout_with(limit, act))?;
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(met.ok()),
        }
    }

    /// Makes it as new.
    fn reset(&self) {
        self.inner.reset();
    }

    /// Breaks it.
    fn abort(&self) {
        self.inner.abort();
    }

    /// The number of parties.
    #[getter]
    fn parties(&self) -> usize {
        self.inner.parties()
    }

    /// The number of parties that wait.
    #[getter]
    fn waiting(&self) -> usize {
        self.inner.waiting()
    }

    /// Whether it is broken.
    #[getter]
    fn broken(&self) -> bool {
        self.inner.is_broken()
    }
}
