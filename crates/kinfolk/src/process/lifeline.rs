//! What ends a process that was started by other means, when its parent is gone.

use std::os::fd::{AsFd as _, IntoRawFd as _, OwnedFd};

use crate::sys::lifeline;
use crate::{Error, Result};

/// The parent's end of a lifeline to a process that something else than this library
/// starts: a binding to another language, [`std::process::Command`]. Those that this
/// library starts have one without being told.
///
/// When it is dropped, or its process ends, killed or not, the system kills the
/// process that [holds](Lifeline::hold) the other end. A fork's copy of it holds
/// nothing.
///
/// ```standalone_crate
/// use kinfolk::{Handle, Lifeline, Process};
/// use std::os::fd::OwnedFd;
///
/// fn never_ends(end: Handle<OwnedFd>) {
///     let held = Lifeline::hold(end.into_inner()).expect("the end of a pipe");
///     if !held {
///         std::process::exit(1); // The other end was gone before.
///     }
///     loop {
///         std::thread::park();
///     }
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let (line, end) = Lifeline::new()?;
///     let process = Process::spawn(never_ends, end.into())?;
///     drop(line);
///     assert!(process.join().is_err(), "it has not returned");
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the process at the other end"]
pub struct Lifeline {
    /// The end.
    _end: lifeline::Lifeline,
}

impl Lifeline {
    /// Makes a lifeline; the second is the child's end, which one process inherits,
    /// and which this one should drop then.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn new() -> Result<(Self, OwnedFd)> {
        let failed = |error| Error::io(error, "making a lifeline");
        let (end, child) = lifeline::lifeline().map_err(failed)?;
        Ok((Self { _end: end }, child))
    }

    /// Ties this process to its end of a lifeline, for good: it keeps the descriptor
    /// open, and is killed when the other end is gone. Returns whether that is still
    /// there: if not, this process was not killed, and should end.
    ///
    /// Closing the descriptor, as `close_range` does over everything, unties it; so
    /// does being init of a pid namespace.
    ///
    /// # Errors
    ///
    /// If it is no descriptor that can tell of its other end.
    pub fn hold(end: OwnedFd) -> Result<bool> {
        let failed = |error| Error::io(error, "arming a lifeline");
        let there = lifeline::arm(end.as_fd()).map_err(failed)?;
        let _ = end.into_raw_fd();
        Ok(there)
    }
}
