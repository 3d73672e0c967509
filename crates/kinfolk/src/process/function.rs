//! Naming a function so that another process of the same program finds it.
//!
//! A function is a `fn` pointer: a `fn` item or a closure that captures nothing
//! turns into one by itself, a closure that captures anything, even a value of
//! size 0, does not. So nothing has to be conjured in the child: a pointer to
//! code is named by its offset in the program's main image, and means the same
//! in every process that runs the same image.
#![allow(unsafe_code)] // An offset, checked against the image, becomes a function again.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::report;
use crate::sys::image::{self, ImageIdentity};
use crate::wire::codec::Encoded;
use crate::{Error, ErrorKind, Result};

/// The shape of [`run`] after its types are forgotten.
type Run = fn(usize, &[u8], Vec<OwnedFd>) -> (Encoded, i32);

/// A function of the main image, with the code that decodes its argument and
/// encodes its result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Function {
    /// The image that the offsets belong to.
    image: ImageIdentity,
    /// Where [`run`] for the function's types stands.
    run: u64,
    /// Where the function itself stands.
    function: u64,
}

impl Function {
    /// Names `function`.
    ///
    /// # Errors
    ///
    /// If it is not in the program's main image but in a dynamic library.
    pub(super) fn new<A, R>(function: fn(A) -> R) -> Result<Self>
    where
        A: for<'de> Deserialize<'de>,
        R: Serialize,
    {
        let run: Run = run::<A, R>;
        Ok(Self {
            image: identity()?,
            run: offset(run as usize)?,
            function: offset(function as usize)?,
        })
    }

    /// Calls the function with the encoded argument. Returns the report and the
    /// exit status that goes with it.
    ///
    /// # Errors
    ///
    /// If this process does not run the image in which the function was named.
    pub(super) fn call(&self, argument: &[u8], handles: Vec<OwnedFd>) -> Result<(Encoded, i32)> {
        let function = address(&self.image, self.function)?;
        let run = address(&self.image, self.run)?;
        // SAFETY: `run` was an offset made by `new` from a `Run` in the image
        // that `address` found to be this one; it lies in its executable part.
        let run = unsafe { std::mem::transmute::<usize, Run>(run) };
        Ok(run(function, argument, handles))
    }
}

/// A function without argument and result: the forkserver's preload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Preload {
    /// The image that the offset belongs to.
    image: ImageIdentity,
    /// Where the function stands.
    function: u64,
}

impl Preload {
    /// Names `function`.
    ///
    /// # Errors
    ///
    /// If it is not in the program's main image.
    pub(super) fn new(function: fn()) -> Result<Self> {
        Ok(Self { image: identity()?, function: offset(function as usize)? })
    }

    /// Where the function stands in this program's image; never 0.
    pub(super) fn place(&self) -> u64 {
        self.function
    }

    /// The function at a place that [`place`](Preload::place) told in this process.
    ///
    /// # Errors
    ///
    /// If this process's image cannot be read.
    pub(super) fn at(function: u64) -> Result<Self> {
        Ok(Self { image: identity()?, function })
    }

    /// Calls the function.
    ///
    /// # Errors
    ///
    /// If this process does not run the image in which the function was named.
    pub(super) fn call(&self) -> Result<()> {
        let function = address(&self.image, self.function)?;
        // SAFETY: the offset was made by `new` from a `fn()` in the image that
        // `address` found to be this one.
        let function = unsafe { std::mem::transmute::<usize, fn()>(function) };
        function();
        Ok(())
    }
}

/// Decodes the argument, calls the function, encodes the report.
fn run<A, R>(function: usize, argument: &[u8], handles: Vec<OwnedFd>) -> (Encoded, i32)
where
    A: for<'de> Deserialize<'de>,
    R: Serialize,
{
    // SAFETY: `Function::new` named `run` and `function` together, so the
    // types are those the function was named with; `Function::call` checked it.
    let function = unsafe { std::mem::transmute::<usize, fn(A) -> R>(function) };
    report::make(function, argument, handles)
}

/// The address of code of the main image that another process of the same image has
/// named by its [`offset`].
///
/// # Errors
///
/// If it is outside of the image's code.
pub(crate) fn address_here(offset: u64) -> Result<usize> {
    let image =
        image::main_image().map_err(|error| Error::io(error, "reading the program's image"))?;
    image.address_of(offset).ok_or_else(outside)
}

/// An offset that no process of this program names.
fn outside() -> Error {
    Error::new(ErrorKind::Protocol, "the function's offset is outside the program")
}

/// The identity of the running image.
fn identity() -> Result<ImageIdentity> {
    Ok(image::main_image()
        .map_err(|error| Error::io(error, "reading the program's image"))?
        .identity())
}

/// The offset of `address` in the main image.
///
/// # Errors
///
/// If it is not in it but in a dynamic library.
pub(crate) fn offset(address: usize) -> Result<u64> {
    let image =
        image::main_image().map_err(|error| Error::io(error, "reading the program's image"))?;
    image.offset_of(address).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            "the function is not in the program's main image: a function of a dynamic library \
             cannot be found by another process; call it from a function of the program",
        )
    })
}

/// The address at `offset` in the main image, if that is `expected`.
fn address(expected: &ImageIdentity, offset: u64) -> Result<usize> {
    let image =
        image::main_image().map_err(|error| Error::io(error, "reading the program's image"))?;
    if image.identity() != *expected {
        return Err(Error::new(
            ErrorKind::Start,
            "the executable is not the same build as the parent's: functions cannot be found in it",
        ));
    }
    image.address_of(offset).ok_or_else(outside)
}
