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

use super::report::{self, Report};
use crate::sys::image::{self, ImageIdentity};
use crate::wire::codec::{self, Encoded};
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
        // Whoever the two offsets come from is trusted with that, as nothing
        // here shows it: this process's parent, or what has made the pool it
        // works for; a manager's clients, which know its key, where its
        // program has allowed that by `ManagerBuilder::pools`.
        let run = unsafe { std::mem::transmute::<usize, Run>(run) };
        Ok(run(function, argument, handles))
    }
}

/// A function that another process of this program is asked to call, by whatever way, with its
/// types forgotten. Who decodes one and calls it trusts whoever it came from with the program's
/// memory: see [`Function::call`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RemoteFunction(Function);

impl RemoteFunction {
    /// Names `function`.
    ///
    /// # Errors
    ///
    /// If it is not in the program's main image but in a dynamic library.
    pub(crate) fn new<A, R>(function: fn(A) -> R) -> Result<Self>
    where
        A: for<'de> Deserialize<'de>,
        R: Serialize,
    {
        Ok(Self(Function::new(function)?))
    }

    /// Encodes an argument.
    ///
    /// # Errors
    ///
    /// If it cannot travel so: there are file descriptors in it, for instance.
    pub(crate) fn encode<A: Serialize>(argument: &A) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        codec::append(argument, &mut bytes)?;
        Ok(bytes)
    }

    /// Calls the function, and returns its encoded report.
    ///
    /// # Errors
    ///
    /// If this process does not run the image in which the function was named, or file
    /// descriptors are in the result.
    pub(crate) fn call(&self, argument: &[u8]) -> Result<Vec<u8>> {
        let (report, _) = self.0.call(argument, Vec::new())?;
        if report.handles.is_empty() {
            return Ok(report.bytes);
        }
        Err(Error::new(
            ErrorKind::Serialize,
            "the result has file descriptors in it, which cannot travel so",
        ))
    }

    /// The result that a report tells.
    ///
    /// # Errors
    ///
    /// That the function panicked, or what else the report tells.
    pub(crate) fn result<R: for<'de> Deserialize<'de>>(report: &[u8]) -> Result<R> {
        let (kind, text) = match codec::decode::<Report<R>>(report, Vec::new())? {
            Report::Returned(result) => return Ok(result),
            Report::Panicked { message, location } => {
                let place = location.map(|place| format!(" at {place}")).unwrap_or_default();
                (ErrorKind::Panicked, format!("the function panicked{place}: {message}"))
            }
            Report::BadArgument(reason) => (
                ErrorKind::Deserialize,
                format!("the function's argument could not be deserialised: {reason}"),
            ),
            Report::BadResult(reason) => (
                ErrorKind::Serialize,
                format!("the function's result could not be serialised: {reason}"),
            ),
        };
        Err(Error::new(kind, text))
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
