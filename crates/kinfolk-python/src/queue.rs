//! Queues of bytes.

use kinfolk::queue::{ByteQueue, Options};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::descriptor::{duplicate, number};
use crate::error::exception;
use crate::waiting::{limit, waiting};

/// A queue of messages, which the package encodes.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct Queue {
    /// The queue.
    inner: ByteQueue,
}

#[pymethods]
impl Queue {
    /// Makes a queue of at most so many messages, in so many bytes.
    #[new]
    fn new(capacity: usize, bytes: usize) -> PyResult<Self> {
        let inner = ByteQueue::new(Options::new(capacity).bytes(bytes));
        Ok(Self { inner: inner.map_err(|error| exception(&error))? })
    }

    /// Makes a handle of one that another process made.
    #[staticmethod]
    fn of_fds(memory: i32, bell: i32) -> PyResult<Self> {
        let inner = ByteQueue::from_fds([duplicate(memory)?, duplicate(bell)?]);
        Ok(Self { inner: inner.map_err(|error| exception(&error))? })
    }

    /// Its memory and its bell.
    fn fds(&self) -> [i32; 2] {
        self.inner.fds().map(|fd| number(&fd))
    }

    /// What is readable when there is a message: to be asked for before each wait.
    fn fileno(&self) -> i32 {
        number(&self.inner)
    }

    /// Sends a message, waiting for room; returns whether there was any.
    #[pyo3(signature = (message, block=true, timeout=None))]
    fn put(
        &self,
        py: Python<'_>,
        message: &Bound<'_, PyBytes>,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let (bytes, limit) = (message.as_bytes(), limit(block, timeout)?);
        waiting(py, || self.inner.send_timeout(bytes, limit))?.map_err(|error| exception(&error))
    }

    /// Sends messages, in order, waiting for room; returns how many were sent.
    #[pyo3(signature = (messages, block=true, timeout=None))]
    fn put_many(
        &self,
        py: Python<'_>,
        messages: Vec<Bound<'_, PyBytes>>,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        let bytes: Vec<&[u8]> = messages.iter().map(|message| message.as_bytes()).collect();
        let limit = limit(block, timeout)?;
        let sent = waiting(py, || self.inner.send_many_timeout(&bytes, limit))?;
        sent.map_err(|error| exception(&error))
    }

    /// Receives a message; `None` if none came.
    #[pyo3(signature = (block=true, timeout=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let limit = limit(block, timeout)?;
        let view = waiting(py, || self.inner.recv_timeout(limit))?;
        let Some(view) = view.map_err(|error| exception(&error))? else { return Ok(None) };
        let copy = |bytes: &mut [u8]| match view.copy_to(bytes) {
            Some(_) => Ok(()),
            None => Err(PyRuntimeError::new_err("the memory of a queue was overwritten")),
        };
        PyBytes::new_with(py, view.len(), copy).map(Some)
    }

    /// Receives all messages that there are, at most so many, waiting for one.
    #[pyo3(signature = (most, block=true, timeout=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        most: usize,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let limit = limit(block, timeout)?;
        let messages = waiting(py, || self.inner.recv_many_timeout(most, limit))?;
        let messages = messages.map_err(|error| exception(&error))?;
        Ok(messages.iter().map(|message| PyBytes::new(py, message)).collect())
    }

    /// The number of messages in it.
    fn qsize(&self) -> usize {
        self.inner.len()
    }

    /// The most messages in it.
    #[getter]
    fn capacity(&self) -> usize {
        self.inner.capacity()
    }
}
