//! Descriptors that Python knows by their numbers.
#![allow(unsafe_code)] // Numbers that somebody else owns.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A descriptor of its own for what Python has under this number, which stays Python's.
pub(crate) fn duplicate(number: i32) -> PyResult<OwnedFd> {
    if number < 0 {
        return Err(PyValueError::new_err(format!("{number} is no file descriptor")));
    }
    // SAFETY: it is used for duplicating it alone, which fails if it is not open; the
    // caller, who has the interpreter's lock, does not close it meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(borrowed.try_clone_to_owned()?)
}

/// What Python has under this number, for a call: the number may be closed, and another's
/// then, which every system call tells or must be asked.
pub(crate) fn borrowed(number: &i32) -> PyResult<BorrowedFd<'_>> {
    if *number < 0 {
        return Err(PyValueError::new_err(format!("{number} is no file descriptor")));
    }
    // SAFETY: it is used for system calls alone, which fail if it is not open; and it is
    // not -1.
    Ok(unsafe { BorrowedFd::borrow_raw(*number) })
}

/// The number of a descriptor, which stays the object's.
pub(crate) fn number(object: &impl AsFd) -> i32 {
    object.as_fd().as_raw_fd()
}
