//! A child process: what its parent can know of it and do to it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::authkey::AuthKey;
use super::channel::Channel;
use super::report::Report;
use super::status::{ExitStatus, SIGINT, SIGKILL, SIGTERM};
use super::tree::{self, TreeEnd};
use super::{children, current};
use crate::log::{self, LogLevel};
use crate::sys::fork_guard;
use crate::sys::lifeline::Lifeline;
use crate::sys::process::{self as sys_process, Reaped};
use crate::{Error, ErrorKind, Result, sys};

/// A child process, without the type of its result.
///
/// [`Process`](super::Process) dereferences to it, and
/// [`active_children`](super::active_children) returns it. Signals go through a
/// pidfd, so they reach this process or nobody, whatever became of its number.
///
/// It implements [`AsFd`]: the descriptor is the [`sentinel`](Child::sentinel).
///
/// A fork of the process that started the child can read its name, pid and key;
/// all else returns an error of kind [`ErrorKind::NotOwner`] there.
pub struct Child {
    /// The name.
    pub(super) name: String,
    /// The process id.
    pub(super) pid: i32,
    /// The process, for the kernel.
    pub(super) pidfd: OwnedFd,
    /// Whether it is ended when this process exits.
    pub(super) daemon: bool,
    /// Whether it goes on when this process ends.
    pub(super) outlive: bool,
    /// Whether it adopts its orphaned descendants.
    pub(super) subreaper: bool,
    /// The key that it was given.
    pub(super) authkey: AuthKey,
    /// The process that started it.
    pub(super) owner: u32,
    /// Until when it must have begun, and how long that was from its start.
    pub(super) begin: (Instant, Duration),
    /// What changes.
    pub(super) state: Mutex<State>,
}

/// What changes in the life of a child.
pub(super) struct State {
    /// How it ended, once it has.
    pub(super) ended: Option<ExitStatus>,
    /// Whether it was killed because it did not begin in time.
    pub(super) late: bool,
    /// What it says.
    pub(super) channel: Channel,
    /// What ends it when this process ends.
    pub(super) lifeline: Option<Lifeline>,
}

impl Child {
    /// The name, as [`Builder::name`](super::Builder::name) gave it or `Process-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Whether it is ended when this process exits, instead of being joined.
    #[must_use]
    pub fn daemon(&self) -> bool {
        self.daemon
    }

    /// The authentication key that it was given.
    #[must_use]
    pub fn authkey(&self) -> AuthKey {
        self.authkey.clone()
    }

    /// Whether it has not ended yet. In a fork of its parent: `false`.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.exitcode(), Ok(None))
    }

    /// Returns how it ended, or `None` while it runs. Never blocks.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`] in a fork of its parent.
    #[doc(alias = "poll")]
    pub fn exitcode(&self) -> Result<Option<ExitStatus>> {
        self.check_owner()?;
        let mut state = self.lock();
        if let Some(status) = state.ended {
            return Ok(Some(status));
        }
        let reaped = sys_process::reap(self.pidfd.as_fd(), false)
            .map_err(|error| Error::io(error, format!("asking how {self} ended")))?;
        let Some(reaped) = reaped else { return Ok(None) };
        state.channel.drain();
        let status = match reaped {
            Reaped::Unknown => state.channel.announced().unwrap_or(ExitStatus::Unknown),
            known => known.into(),
        };
        state.ended = Some(status);
        state.lifeline = None;
        drop(state);
        log::event(LogLevel::Info, format_args!("{self} {status}"));
        children::remove(self);
        Ok(Some(status))
    }

    /// Blocks until the process has ended, and returns how.
    ///
    /// The end of the process wakes it. A process that has not begun by its
    /// start deadline (30 s unless the builder set another) is killed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`] in a fork of its parent.
    pub fn wait(&self) -> Result<ExitStatus> {
        match self.wait_until(None)? {
            Some(status) => Ok(status),
            None => Err(Error::new(ErrorKind::Timeout, format!("waiting for {self}"))),
        }
    }

    /// As [`wait`](Child::wait), for at most `timeout`; `None` if it still runs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`] in a fork of its parent.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// A file descriptor that becomes ready (readable) when the process ends,
    /// and not before: a pidfd, for [`wait`](crate::wait) or any poller.
    #[must_use]
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends SIGTERM to the process, which ends unless it handles the signal.
    ///
    /// Exit handlers and destructors do not run in a process so ended. Its
    /// descendants get no signal: those that the library started end by their
    /// lifeline, unless told to outlive their parent; others are orphaned. See
    /// [`terminate_tree`](Child::terminate_tree). Nothing happens to a process
    /// that has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`] in a fork of its parent, or if the system refuses.
    pub fn terminate(&self) -> Result<()> {
        self.signal(SIGTERM)
    }

    /// Sends SIGKILL to the process, which ends whatever it does.
    ///
    /// What is said of [`terminate`](Child::terminate) holds otherwise.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Child::terminate).
    pub fn kill(&self) -> Result<()> {
        self.signal(SIGKILL)
    }

    /// Sends SIGINT to the process, as Ctrl-C does.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Child::terminate).
    pub fn interrupt(&self) -> Result<()> {
        self.signal(SIGINT)
    }

    /// Sends SIGTERM to the process and all its descendants that can be found.
    ///
    /// The result says whether these are known to be all.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Child::terminate).
    pub fn terminate_tree(&self) -> Result<TreeEnd> {
        self.end_tree(SIGTERM)
    }

    /// Sends SIGKILL to the process and all its descendants that can be found,
    /// those told to outlive their parent included.
    ///
    /// The result says whether these are known to be all.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Child::terminate).
    pub fn kill_tree(&self) -> Result<TreeEnd> {
        self.end_tree(SIGKILL)
    }

    /// Waits until the process has ended or `deadline` has passed.
    pub(super) fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.exitcode()? {
                return Ok(Some(status));
            }
            let begin = self.begin_deadline();
            let limit = [deadline, begin].into_iter().flatten().min();
            let ended = sys::poll::ready(self.pidfd.as_fd(), limit)
                .map_err(|error| Error::io(error, format!("waiting for {self}")))?;
            if ended {
                continue;
            }
            let now = Instant::now();
            if begin.is_some_and(|begin| begin <= now) && self.begin_deadline().is_some() {
                self.lock().late = true;
                self.kill()?;
            } else if deadline.is_some_and(|deadline| deadline <= now) {
                return self.exitcode();
            }
        }
    }

    /// Until when the process must have begun; `None` once it has, or was killed for it.
    pub(super) fn begin_deadline(&self) -> Option<Instant> {
        let mut state = self.lock();
        if state.late || state.channel.greeted() {
            return None;
        }
        if self.begin.0 <= Instant::now() {
            state.channel.drain();
        }
        (!state.channel.greeted()).then_some(self.begin.0)
    }

    /// Takes the function's result, once the process has ended with `status`.
    pub(super) fn take_result<R>(&self, status: ExitStatus) -> Result<R>
    where
        R: for<'de> serde::Deserialize<'de>,
    {
        let mut state = self.lock();
        state.channel.drain();
        if let Some(reason) = state.channel.refusal() {
            return Err(Error::new(ErrorKind::Start, format!("{self} did not begin: {reason}")));
        }
        match state.channel.take_report::<R>() {
            Some(Ok(Report::Returned(result))) => Ok(result),
            Some(Ok(Report::Panicked { message, location })) => {
                let place = location.map(|place| format!(" at {place}")).unwrap_or_default();
                Err(Error::new(ErrorKind::Panicked, format!("{self} panicked{place}: {message}")))
            }
            Some(Ok(Report::BadArgument(reason))) => Err(Error::new(
                ErrorKind::Deserialize,
                format!("{self} could not deserialise its argument: {reason}"),
            )),
            Some(Ok(Report::BadResult(reason))) => Err(Error::new(
                ErrorKind::Serialize,
                format!("{self} could not serialise its result: {reason}"),
            )),
            Some(Err(error)) => Err(Error::new(
                ErrorKind::Deserialize,
                format!("the result of {self} cannot be deserialised: {error}"),
            )),
            None if state.late => Err(Error::new(
                ErrorKind::Start,
                format!(
                    "{self} did not begin within {:?} and was killed: is `kinfolk::init()` the \
                     first line of its main?",
                    self.begin.1
                ),
            )),
            None if state.channel.greeted() => Err(Error::new(
                ErrorKind::Died,
                format!("{self} {status} before its function returned"),
            )),
            None if status.signal().is_some() => {
                Err(Error::new(ErrorKind::Start, format!("{self} {status} before it began")))
            }
            None => Err(Error::new(
                ErrorKind::Start,
                format!(
                    "{self} {status} before it began: is `kinfolk::init()` the first line of its \
                     main?"
                ),
            )),
        }
    }

    /// Gives up the result: the handle is gone.
    pub(super) fn abandon(&self) {
        self.lock().channel.forget_report();
    }

    /// Ends the process as the end of this one would: also where this one has
    /// dropped the privilege to send it signals.
    pub(crate) fn cut_lifeline(&self) {
        self.lock().lifeline = None;
    }

    /// An error, unless this process started the child.
    pub(super) fn check_owner(&self) -> Result<()> {
        let me = fork_guard::process_id();
        if me == self.owner {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotOwner,
            format!("{self} is a child of process {}, not of its fork {me}", self.owner),
        ))
    }

    /// Locks what changes.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal, unless the process has ended.
    fn signal(&self, signal: i32) -> Result<()> {
        self.check_owner()?;
        log::event(LogLevel::Debug, format_args!("sending signal {signal} to {self}"));
        sys_process::signal(self.pidfd.as_fd(), signal)
            .map_err(|error| Error::io(error, format!("sending signal {signal} to {self}")))
    }

    /// Signals the process and its descendants.
    fn end_tree(&self, signal: i32) -> Result<TreeEnd> {
        self.check_owner()?;
        tree::end_tree(self.pid, self.pidfd.as_fd(), signal, self.subreaper)
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process `{}` (pid {})", self.name, self.pid)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.name)
            .field("pid", &self.pid)
            .field("daemon", &self.daemon)
            .field("parent", &format_args!("{} ({})", current::current_name(), self.owner))
            .finish_non_exhaustive()
    }
}
