//! The typed handle of a child.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::builder::Builder;
use super::child::Child;
use super::children;
use crate::{Error, Result};

/// A child process that runs a function with the result `R`.
///
/// What can be asked of it and done to it is on [`Child`], to which it
/// dereferences. Dropping the handle of a running process detaches it: it goes
/// on, its result is lost, and it is reaped by a later call of the library. A
/// handle cannot be sent to another process: only the parent has the right to
/// wait for its child.
///
/// ```standalone_crate
/// fn double(n: u32) -> u32 {
///     2 * n
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let process = kinfolk::Process::spawn(double, 21)?;
///     assert_eq!(process.join()?, 42);
///     Ok(())
/// }
/// ```
pub struct Process<R> {
    /// The child.
    child: Arc<Child>,
    /// The type of the result, which the child owns until it is joined.
    result: PhantomData<fn() -> R>,
}

impl Process<()> {
    /// Returns a builder for a process with options.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Starts a process that calls `function` with `argument`.
    ///
    /// `function` is a `fn` item or a closure that captures nothing; a tuple
    /// carries several arguments. The argument and the result may be anything
    /// that serde can carry, with connections and [`Handle`](crate::Handle)s in
    /// them. Returns when the process exists; what goes wrong in it from then
    /// on comes back from [`join`](Process::join).
    ///
    /// A closure that captures does not compile:
    ///
    /// ```compile_fail,E0308
    /// let factor = 2;
    /// kinfolk::Process::spawn(|n: u32| factor * n, 21);
    /// ```
    ///
    /// # Errors
    ///
    /// If [`init`](crate::init) was not called, the argument cannot be
    /// serialised, or the system cannot start a process. Nothing is left then.
    pub fn spawn<A, R>(function: fn(A) -> R, argument: A) -> Result<Process<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        Builder::new().spawn(function, argument)
    }
}

impl<R> Process<R> {
    /// Wraps a child that was just started.
    pub(super) fn new(child: Arc<Child>) -> Self {
        Self { child, result: PhantomData }
    }

    /// Frees the handle of a process that has ended.
    ///
    /// # Errors
    ///
    /// [`CloseError`], which gives the handle back, if the process still runs or
    /// belongs to another process.
    pub fn close(self) -> Result<(), CloseError<R>> {
        match self.child.exitcode() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(CloseError { process: self, reason: None }),
            Err(error) => Err(CloseError { process: self, reason: Some(error) }),
        }
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Blocks until the process has ended, and returns the function's result.
    ///
    /// The end of the process wakes it, however it came.
    ///
    /// # Errors
    ///
    /// If the function panicked (message and place are in the error), its
    /// argument or result could not be carried over, the process ended before
    /// the function returned (the error says how), never began, or belongs to
    /// another process.
    pub fn join(self) -> Result<R> {
        let status = self.child.wait()?;
        self.child.take_result(status)
    }

    /// As [`join`](Process::join), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`JoinTimeoutError::Timeout`] gives the handle back if the process still
    /// runs; all else is [`JoinTimeoutError::Failed`].
    pub fn join_timeout(self, timeout: Duration) -> Result<R, JoinTimeoutError<R>> {
        match self.child.wait_until(Instant::now().checked_add(timeout)) {
            Ok(Some(status)) => self.child.take_result(status).map_err(JoinTimeoutError::Failed),
            Ok(None) => Err(JoinTimeoutError::Timeout(self)),
            Err(error) => Err(JoinTimeoutError::Failed(error)),
        }
    }
}

impl<R> Deref for Process<R> {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl<R> AsFd for Process<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if self.child.check_owner().is_ok() {
            self.child.abandon();
            if self.child.is_alive() {
                children::detach(Arc::clone(&self.child));
            }
        }
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.child.exitcode() {
            Ok(None) => write!(f, "<{} runs>", self.child),
            Ok(Some(status)) => write!(f, "<{} {status}>", self.child),
            Err(_) => write!(f, "<{} of another process>", self.child),
        }
    }
}

/// Why [`Process::join_timeout`] returned no result.
pub enum JoinTimeoutError<R> {
    /// The process still runs; this is its handle.
    Timeout(Process<R>),
    /// The process has no result: see [`Process::join`].
    Failed(Error),
}

impl<R> fmt::Debug for JoinTimeoutError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(process) => f.debug_tuple("Timeout").field(process).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<R> fmt::Display for JoinTimeoutError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(process) => write!(f, "{} still runs", process.child),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<R> std::error::Error for JoinTimeoutError<R> {}

/// Why [`Process::close`] did not free the handle, and the handle.
pub struct CloseError<R> {
    /// The handle.
    process: Process<R>,
    /// The reason, unless it is that the process runs.
    reason: Option<Error>,
}

impl<R> CloseError<R> {
    /// The handle.
    #[must_use]
    pub fn into_inner(self) -> Process<R> {
        self.process
    }
}

impl<R> fmt::Debug for CloseError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CloseError");
        out.field("process", &self.process).field("reason", &self.reason).finish()
    }
}

impl<R> fmt::Display for CloseError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => reason.fmt(f),
            None => write!(f, "{} still runs: join or kill it first", self.process.child),
        }
    }
}

impl<R> std::error::Error for CloseError<R> {}
