//! Ends of pipes, which Python has as the numbers of their descriptors, and the
//! handshakes of sockets.

use std::os::fd::IntoRawFd as _;
use std::time::Duration;

use kinfolk::{AuthKey, BytePipe, Challenges, ErrorKind, PipeMessage};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::descriptor::{borrowed, duplicate};
use crate::error::exception;
use crate::waiting::{limit, waiting};

/// The most bytes that are sent before other threads may run, in bytes.
const SHORT: usize = 16 << 10;

/// Makes a pipe: the numbers of both ends, which are the caller's to close.
#[pyfunction]
pub(crate) fn pipe() -> PyResult<(i32, i32)> {
    let [a, b] = BytePipe::pair().map_err(|error| exception(&error))?;
    Ok((a.into_raw_fd(), b.into_raw_fd()))
}

/// Whether the descriptor of a number is an end of a pipe.
#[pyfunction]
pub(crate) fn is_pipe(fd: i32) -> PyResult<bool> {
    Ok(BytePipe::new(borrowed(&fd)?).is_end())
}

/// Sends a message, waiting for room for it.
#[pyfunction]
pub(crate) fn pipe_send(py: Python<'_>, fd: i32, message: &Bound<'_, PyBytes>) -> PyResult<()> {
    let (pipe, bytes) = (BytePipe::new(borrowed(&fd)?), message.as_bytes());
    let send = |limit| pipe.send_timeout(bytes, limit).map_err(|error| exception(&error));
    if bytes.len() <= SHORT && send(Duration::ZERO)? {
        return Ok(());
    }
    let limit = limit(true, None)?;
    waiting(py, || send(limit))?.map(drop)
}

/// Receives a message, waiting for it. `None` of one that has more bytes than that: it
/// stays in the pipe.
#[pyfunction]
#[pyo3(signature = (fd, maximum=None))]
pub(crate) fn pipe_recv<'py>(
    py: Python<'py>,
    fd: i32,
    maximum: Option<usize>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let (pipe, most) = (BytePipe::new(borrowed(&fd)?), maximum.unwrap_or(usize::MAX));
    let receive = |limit| match pipe.recv_timeout(most, limit) {
        Ok(message) => Ok(message.map(Some)),
        Err(error) if error.kind() == ErrorKind::TooLong => Ok(Some(None)),
        Err(error) => Err(exception(&error)),
    };
    let limit = limit(true, None)?;
    let received: Option<Option<PipeMessage>> = match receive(Duration::ZERO)? {
        None => waiting(py, || receive(limit))??,
        received => received,
    };
    let Some(message) = received.flatten() else { return Ok(None) };
    Ok(Some(PyBytes::new(py, &message)))
}

/// Waits until a message can be received or never again; returns whether that is so.
#[pyfunction]
#[pyo3(signature = (fd, timeout=None))]
pub(crate) fn pipe_poll(py: Python<'_>, fd: i32, timeout: Option<f64>) -> PyResult<bool> {
    let pipe = BytePipe::new(borrowed(&fd)?);
    let poll = |limit| pipe.poll_timeout(limit).map_err(|error| exception(&error));
    let limit = limit(true, timeout)?;
    Ok(poll(Duration::ZERO)? || (!limit.is_zero() && waiting(py, || poll(limit))??))
}

/// The handshake of one side of a socket, which stays its owner's.
#[pyclass(module = "kinfolk._kinfolk")]
pub(crate) struct Handshake {
    /// Where it stands.
    inner: Challenges,
}

#[pymethods]
impl Handshake {
    /// Begins the handshake of a listener, or of a client.
    #[new]
    fn new(fd: i32, listener: bool, key: &[u8], legacy: bool) -> PyResult<Self> {
        let (socket, key) = (duplicate(fd)?, AuthKey::from_bytes(key));
        let inner = match listener {
            true => Challenges::of_listener(socket, &key, legacy),
            false => Challenges::of_client(socket, &key, legacy),
        };
        Ok(Self { inner: inner.map_err(|error| exception(&error))? })
    }

    /// Goes on as far as the other side has answered; returns whether it is over.
    fn go_on(&mut self) -> PyResult<bool> {
        self.inner.go_on().map_err(|error| exception(&error))
    }
}
