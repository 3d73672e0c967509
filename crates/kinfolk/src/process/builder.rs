//! Options of a process, and its start.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::authkey::AuthKey;
use super::child::{Child, State};
use super::context::{self, StartMethod};
use super::function::Function;
use super::handle::Process;
use super::preparation::{Environment, Preparation, Surroundings};
use super::report;
use super::start::{self, Closure, Launch, Started, Work};
use super::stdio::{Stdio, Target};
use super::{children, current};
use crate::log::{self, LogLevel};
use crate::sys::fork_guard;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result, sys};

/// How long a child may take until it begins, unless told otherwise.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What is as good as no deadline, and still can be added to a moment.
const LONGEST_START: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Options of a process to start: see [`Process::builder`].
///
/// ```standalone_crate
/// use kinfolk::Process;
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let process = Process::builder()
///         .name("greeter")
///         .env("GREETING", "hello")
///         .spawn(|()| std::env::var("GREETING").unwrap_or_default(), ())?;
///     assert_eq!(process.name(), "greeter");
///     assert_eq!(process.join()?, "hello");
///     Ok(())
/// }
/// ```
#[must_use = "a builder starts nothing until `spawn`"]
pub struct Builder {
    /// The name, if not the default.
    name: Option<String>,
    /// Whether it is a daemon, if not as its parent.
    daemon: Option<bool>,
    /// The key, if not its parent's.
    authkey: Option<AuthKey>,
    /// The start method, if not the default.
    method: Option<StartMethod>,
    /// The program, if not this one.
    executable: Option<PathBuf>,
    /// The environment, if not its parent's.
    environment: Option<Environment>,
    /// The working directory, if not its parent's.
    current_dir: Option<PathBuf>,
    /// The standard streams.
    stdio: [Stdio; 3],
    /// Whether it goes on when its parent ends.
    outlive: bool,
    /// Whether it adopts its orphaned descendants.
    subreaper: bool,
    /// How long it may take until it begins.
    start_timeout: Duration,
}

impl Builder {
    /// A builder with the defaults.
    pub(super) fn new() -> Self {
        Self {
            name: None,
            daemon: None,
            authkey: None,
            method: None,
            executable: None,
            environment: None,
            current_dir: None,
            stdio: [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()],
            outlive: false,
            subreaper: false,
            start_timeout: START_TIMEOUT,
        }
    }

    /// Names the process; by default `Process-1`, `Process-1:2` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Says whether the process is ended, instead of joined, when this one
    /// exits; by default as this process is itself.
    ///
    /// Unlike the reference's, a daemonic process may have children.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = Some(daemon);
        self
    }

    /// Gives the process a key of its own; by default it inherits this process's.
    pub fn authkey(mut self, authkey: AuthKey) -> Self {
        self.authkey = Some(authkey);
        self
    }

    /// Chooses the start method.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// Chooses the program: see [`Context::executable`](super::Context::executable).
    pub(super) fn executable(mut self, path: PathBuf) -> Self {
        self.executable = Some(path);
        self
    }

    /// Sets a variable in the process's environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value): (OsString, OsString) = (name.as_ref().into(), value.as_ref().into());
        self.environment.get_or_insert_with(Environment::current).set(name, value);
        self
    }

    /// Removes a variable from the process's environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.get_or_insert_with(Environment::current).remove(name.as_ref());
        self
    }

    /// Removes all variables from the process's environment.
    pub fn env_clear(mut self) -> Self {
        self.environment = Some(Environment::empty());
        self
    }

    /// Starts the process in a directory of its own.
    pub fn current_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(path.into());
        self
    }

    /// Leads the process's standard input from elsewhere.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdio[0] = stdin.into();
        self
    }

    /// Leads the process's standard output elsewhere.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdio[1] = stdout.into();
        self
    }

    /// Leads the process's standard error elsewhere.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stdio[2] = stderr.into();
        self
    }

    /// Lets the process go on when this one ends, in whatever way.
    ///
    /// It is neither joined nor terminated at exit. A daemon cannot outlive.
    pub fn outlive_parent(mut self, outlive: bool) -> Self {
        self.outlive = outlive;
        self
    }

    /// Makes the process adopt descendants whose own parent has ended, so that
    /// the tree forms of ending it find these too.
    ///
    /// What it adopted and nobody waited for stays a zombie until the process
    /// itself ends: the library cannot tell them from children that the
    /// function means to wait for itself.
    pub fn subreaper(mut self, subreaper: bool) -> Self {
        self.subreaper = subreaper;
        self
    }

    /// Sets how long the process may take until it begins; 30 s by default.
    /// Whoever waits for it then kills it and is told so.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Starts the process: see [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`], and if an option cannot be had.
    pub fn spawn<A, R>(self, function: fn(A) -> R, argument: A) -> Result<Process<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let named = Function::new(function)?;
        let argument = codec::encode(&argument)?;
        let method = self.method.unwrap_or_else(context::start_method);
        self.start(method, Some(named), Work::Named(argument))
    }

    /// Forks this process; the child calls `closure`, which may capture.
    ///
    /// The start method is `Fork` whatever the builder says. The child has a
    /// copy of this process's memory and its file descriptors, connections
    /// among them.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`]; [`ErrorKind::Unavailable`] while other threads run.
    pub fn fork<F, R>(self, closure: F) -> Result<Process<R>>
    where
        F: FnOnce() -> R,
        R: Serialize + DeserializeOwned,
    {
        start::fork::check_threads()?;
        self.start_closure(Box::new(move || report::of(closure)))
    }

    /// As [`fork`](Builder::fork), while other threads may run.
    ///
    /// # Safety
    ///
    /// The child has only the calling thread. `closure`, and all that it calls,
    /// must not need what another thread may have held at this moment: a lock,
    /// or memory in the middle of a change.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`].
    #[allow(unsafe_code)] // The contract above is the caller's to keep.
    pub unsafe fn fork_unchecked<F, R>(self, closure: F) -> Result<Process<R>>
    where
        F: FnOnce() -> R,
        R: Serialize + DeserializeOwned,
    {
        self.start_closure(Box::new(move || report::of(closure)))
    }

    /// Starts a process by a fork that carries `closure`.
    fn start_closure<R>(self, closure: Closure<'_>) -> Result<Process<R>> {
        self.start(StartMethod::Fork, None, Work::Closure(closure))
    }

    /// Starts the process.
    fn start<R>(
        mut self,
        method: StartMethod,
        function: Option<Function>,
        work: Work<'_>,
    ) -> Result<Process<R>> {
        let (path, default_name) = current::next_child()?;
        let me = current::current_process();
        let daemon = self.daemon.unwrap_or_else(|| me.daemon() && !self.outlive);
        if daemon && self.outlive {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a daemon cannot outlive its parent: choose one",
            ));
        }
        let authkey = self.authkey.take().unwrap_or_else(|| me.authkey());
        let deadline = Instant::now() + self.start_timeout.min(LONGEST_START);
        let preparation = Preparation {
            name: self.name.take().unwrap_or(default_name),
            path,
            daemon,
            authkey: Zeroizing::new(authkey.as_bytes().to_vec()),
            parent_name: me.name(),
            parent_pid: me.pid(),
            outlive: None,
            subreaper: self.subreaper,
            log_level: log::level(),
            start_method: context::chosen(),
            surroundings: Surroundings::default(),
            function,
            argument: None,
        };
        let name = preparation.name.clone();
        let mut launch = Launch {
            preparation,
            outlive: self.outlive,
            work,
            executable: self.executable.take(),
            environment: self.environment.take(),
            cwd: self.open_current_dir()?,
            stdio: self.open_stdio()?,
            deadline,
        };
        let Started { pid, pidfd, link } = launch.go(method)?;
        let child = Arc::new(Child {
            name,
            pid,
            pidfd,
            daemon,
            outlive: self.outlive,
            subreaper: self.subreaper,
            authkey,
            owner: fork_guard::process_id(),
            begin: (deadline, self.start_timeout),
            state: Mutex::new(State {
                ended: None,
                late: false,
                channel: link.channel,
                lifeline: Some(link.lifeline),
            }),
        });
        log::event(LogLevel::Info, format_args!("started {child} by {method:?}"));
        children::add(&child);
        Ok(Process::new(child))
    }

    /// Opens the working directory, if one was chosen.
    fn open_current_dir(&self) -> Result<Option<std::os::fd::OwnedFd>> {
        let Some(path) = &self.current_dir else { return Ok(None) };
        sys::surroundings::open_directory(path).map(Some).map_err(|error| {
            Error::io(error, format!("opening the working directory {}", path.display()))
        })
    }

    /// Opens what the standard streams lead to; `None` where they are inherited.
    fn open_stdio(&mut self) -> Result<[Option<std::os::fd::OwnedFd>; 3]> {
        let mut opened = [None, None, None];
        for (place, stdio) in opened.iter_mut().zip(&mut self.stdio) {
            *place = match std::mem::replace(&mut stdio.0, Target::Inherit) {
                Target::Inherit => None,
                Target::File(fd) => Some(fd),
                Target::Null => Some(
                    std::fs::File::options()
                        .read(true)
                        .write(true)
                        .open("/dev/null")
                        .map_err(|error| Error::io(error, "opening /dev/null"))?
                        .into(),
                ),
            };
        }
        Ok(opened)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("daemon", &self.daemon)
            .field("method", &self.method)
            .field("outlive", &self.outlive)
            .finish_non_exhaustive()
    }
}
