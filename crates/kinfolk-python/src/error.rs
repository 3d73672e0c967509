//! The library's errors as Python's.

use std::error::Error as _;

use kinfolk::{Error, ErrorKind};
use pyo3::exceptions::{PyEOFError, PyOSError, PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    kinfolk,
    AbandonedWarning,
    PyRuntimeWarning,
    "A lock was acquired whose last holder ended without releasing it: what it protects may be \
     half changed."
);

/// An error of the library as an exception.
pub(crate) fn exception(error: &Error) -> PyErr {
    let message = error.to_string();
    let system = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    match (error.kind(), system.and_then(std::io::Error::raw_os_error)) {
        (ErrorKind::InvalidInput | ErrorKind::TooLong, _) => PyValueError::new_err(message),
        (ErrorKind::Authentication, _) => authentication(message),
        (ErrorKind::Disconnected, None) => PyEOFError::new_err(message),
        (_, Some(number)) => PyOSError::new_err((number, message)),
        (_, None) => PyOSError::new_err(message),
    }
}

/// Python's exception for the other side not having convinced this one.
fn authentication(message: String) -> PyErr {
    Python::try_attach(|py| {
        let class =
            py.import("multiprocessing").and_then(|module| module.getattr("AuthenticationError"));
        class
            .and_then(|class| class.call1((message,)))
            .map_or_else(|error| error, PyErr::from_value)
    })
    .unwrap_or_else(|| PyOSError::new_err("the interpreter has ended"))
}
