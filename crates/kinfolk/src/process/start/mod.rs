//! Start methods: each brings one prepared child into being.
//!
//! A launcher gets a [`Launch`] and returns the child's pid and pidfd. The
//! child's end of the channel must reach the child, with the preparation and
//! the argument on it, and its lifeline must be armed before the function is
//! called. A launcher that fails leaves no process behind.

pub(super) mod fork;
pub(super) mod forkserver;
pub(super) mod spawn;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use zeroize::Zeroize as _;

use super::channel::Channel;
use super::context::StartMethod;
use super::preparation::{Environment, Preparation};
use crate::wire::codec::{self, Encoded};
use crate::{Error, Result, sys};

/// A closure that a fork carries: it returns the report and the exit status.
pub(super) type Closure<'a> = Box<dyn FnOnce() -> (Encoded, i32) + 'a>;

/// What the child does.
pub(super) enum Work<'a> {
    /// Calls the function that the preparation names, with this argument.
    Named(Encoded),
    /// Calls this; only a fork can.
    Closure(Closure<'a>),
}

/// A child about to be started.
pub(super) struct Launch<'a> {
    /// What it is told.
    pub(super) preparation: Preparation,
    /// What it does.
    pub(super) work: Work<'a>,
    /// The parent's end of its channel.
    pub(super) channel: &'a Channel,
    /// Its end of the channel.
    pub(super) child_end: OwnedFd,
    /// Its end of the lifeline.
    pub(super) lifeline_end: OwnedFd,
    /// The program, if not this one.
    pub(super) executable: Option<PathBuf>,
    /// The environment, if not this process's.
    pub(super) environment: Option<Environment>,
    /// The working directory, if not this process's.
    pub(super) cwd: Option<OwnedFd>,
    /// The standard streams, where not this process's.
    pub(super) stdio: [Option<OwnedFd>; 3],
    /// Until when it must have begun.
    pub(super) deadline: Instant,
}

impl Launch<'_> {
    /// Starts the child.
    ///
    /// # Errors
    ///
    /// If it cannot be started; nothing is left then.
    pub(super) fn go(&mut self, method: StartMethod) -> Result<(i32, OwnedFd)> {
        match method {
            StartMethod::Spawn => spawn::launch(self),
            StartMethod::Forkserver => forkserver::launch(self),
            StartMethod::Fork => fork::launch(self),
        }
    }

    /// Sends the preparation and the argument to the child.
    fn send(&self) -> Result<()> {
        let mut preparation = codec::encode(&self.preparation)?;
        let sent = self.channel.send(&preparation);
        // The key was in it.
        preparation.bytes.zeroize();
        sent?;
        match &self.work {
            Work::Named(argument) => self.channel.send(argument),
            Work::Closure(_) => Ok(()),
        }
    }
}

/// Opens the pidfd of a child of this process.
fn pidfd(pid: i32) -> Result<OwnedFd> {
    sys::process::pidfd_open(pid)
        .map_err(|error| Error::io(error, format!("opening the new process {pid}")))
}
