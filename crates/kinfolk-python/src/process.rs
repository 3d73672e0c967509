//! What Python's processes are tied with.

use std::os::fd::{AsFd as _, IntoRawFd as _};

use kinfolk::TreeEnd;
use pyo3::prelude::*;

use crate::descriptor::duplicate;
use crate::error::exception;

/// The parent's end of a lifeline: the child that holds the other end is killed when it
/// is dropped.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct Lifeline {
    /// The end.
    _end: kinfolk::Lifeline,
}

#[pymethods]
impl Lifeline {
    /// Makes a lifeline; the second is the number of the child's end, which is the
    /// caller's to close.
    #[staticmethod]
    fn make() -> PyResult<(Self, i32)> {
        let (end, child) = kinfolk::Lifeline::new().map_err(|error| exception(&error))?;
        Ok((Self { _end: end }, child.into_raw_fd()))
    }
}

/// Ties this process to the child's end of a lifeline, for good. Returns whether the
/// other end is still there.
#[pyfunction]
pub(crate) fn hold_lifeline(fd: i32) -> PyResult<bool> {
    kinfolk::Lifeline::hold(duplicate(fd)?).map_err(|error| exception(&error))
}

/// Signals a process and its descendants. Returns how many got the signal, and whether
/// these are known to be all.
#[pyfunction]
pub(crate) fn signal_tree(
    py: Python<'_>,
    pid: u32,
    pidfd: i32,
    signal: i32,
) -> PyResult<(usize, bool)> {
    let pidfd = duplicate(pidfd)?;
    let end = py.detach(|| kinfolk::signal_tree(pid, pidfd.as_fd(), signal));
    let TreeEnd { signaled, complete } = end.map_err(|error| exception(&error))?;
    Ok((signaled, complete))
}
