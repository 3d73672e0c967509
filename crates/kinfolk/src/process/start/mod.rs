//! Start methods: each brings one prepared child into being.
//!
//! A launcher gets a [`Launch`], makes a [`link`] between this process and the
//! child, tells the child over it what it must know, and returns what it started.
//! A child arms its lifeline before it reads anything. A launcher that fails leaves
//! no process behind.

pub(super) mod fork;
pub(super) mod forkserver;
pub(super) mod spawn;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use zeroize::Zeroize as _;

use super::channel::Channel;
use super::context::StartMethod;
use super::preparation::{Argument, Environment, Preparation};
use super::status::SIGKILL;
use crate::sys::lifeline::{self, Lifeline};
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
    /// Whether it goes on when this process ends.
    pub(super) outlive: bool,
    /// What it does.
    pub(super) work: Work<'a>,
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

/// What connects this process with a child.
pub(super) struct Link {
    /// What they say to each other.
    pub(super) channel: Channel,
    /// What ends the child with this process.
    pub(super) lifeline: Lifeline,
}

/// The child's side of a [`Link`].
pub(super) struct ChildEnds {
    /// Its end of the channel.
    pub(super) channel: OwnedFd,
    /// Its end of the lifeline.
    pub(super) lifeline: OwnedFd,
}

/// A child that was started, and told what it must know.
pub(super) struct Started {
    /// Its process id.
    pub(super) pid: i32,
    /// The child, for the kernel.
    pub(super) pidfd: OwnedFd,
    /// What connects this process with it.
    pub(super) link: Link,
}

/// Makes what connects this process with a child.
///
/// # Errors
///
/// If this process has no free file descriptors.
pub(super) fn link() -> Result<(Link, ChildEnds)> {
    let (channel, channel_end) = Channel::new()?;
    let (lifeline, lifeline_end) =
        lifeline::lifeline().map_err(|error| Error::io(error, "making a lifeline"))?;
    Ok((Link { channel, lifeline }, ChildEnds { channel: channel_end, lifeline: lifeline_end }))
}

impl Launch<'_> {
    /// Starts the child.
    ///
    /// # Errors
    ///
    /// If it cannot be started; nothing is left then.
    pub(super) fn go(&mut self, method: StartMethod) -> Result<Started> {
        match method {
            StartMethod::Spawn => spawn::launch(self),
            StartMethod::Forkserver => forkserver::launch(self),
            StartMethod::Fork => fork::launch(self),
        }
    }

    /// Tells a child what it must know; ends it if that fails.
    fn tell_started(&mut self, pid: i32, pidfd: OwnedFd, link: Link) -> Result<Started> {
        if let Err(error) = self.tell(&link).and_then(|()| self.send_argument(&link)) {
            drop(link);
            discard(&pidfd);
            return Err(error);
        }
        Ok(Started { pid, pidfd, link })
    }

    /// Tells the child what it must know, its argument included if that is small.
    fn tell(&mut self, link: &Link) -> Result<()> {
        if let Work::Named(argument) = &mut self.work
            && self.preparation.argument.is_none()
            && argument.bytes.len() <= Argument::SMALL
            && argument.handles.len() <= Argument::FEW
        {
            let Encoded { bytes, handles } = std::mem::take(argument);
            let handles = handles.into_iter().map(Into::into).collect();
            self.preparation.argument = Some(Argument { bytes, handles });
        }
        if self.outlive {
            let end = link.lifeline.try_clone();
            let end = end.map_err(|error| Error::io(error, "passing a lifeline"))?;
            self.preparation.outlive = Some(end.into());
        }
        let mut preparation = codec::encode(&self.preparation)?;
        let sent = link.channel.send(&preparation, self.deadline);
        // The key was in it.
        preparation.bytes.zeroize();
        sent
    }

    /// Sends the argument that was too large to go with the rest.
    fn send_argument(&self, link: &Link) -> Result<()> {
        match &self.work {
            Work::Named(argument) if self.preparation.argument.is_none() => {
                link.channel.send(argument, self.deadline)
            }
            Work::Named(_) | Work::Closure(_) => Ok(()),
        }
    }
}

/// Ends a child that is not wanted, and whose link is gone: so it ends by itself
/// where this process may not send it signals.
fn discard(pidfd: &OwnedFd) {
    let _ = sys::process::signal(pidfd.as_fd(), SIGKILL);
    let _ = sys::process::reap(pidfd.as_fd(), true);
}

/// Opens the pidfd of a child of this process.
fn pidfd(pid: i32) -> Result<OwnedFd> {
    sys::process::pidfd_open(pid)
        .map_err(|error| Error::io(error, format!("opening the new process {pid}")))
}
