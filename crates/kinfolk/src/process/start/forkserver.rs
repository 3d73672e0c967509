//! Start method `forkserver`, the caller's side: a helper process of the same
//! program, started on first use, forks on request.
//!
//! Each process owns its servers, because their children are made its own
//! (`CLONE_PARENT`), and replaces one when its own privileges or other
//! inherited attributes have changed since the server started, so that an older
//! server never gives them back.
//!
//! One request is under way at a time. The kernel itself writes the new child's
//! pid into a page shared with the server, before the child runs: so when a
//! server is killed in the middle of a request, its owner knows whether there
//! is a child, and a function is never started twice.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::spawn::{self, Program};
use super::{Launch, pidfd};
use crate::log::{self, LogLevel};
use crate::process::bootstrap::Role;
use crate::process::function::Preload;
use crate::process::preparation::Environment;
use crate::process::status::SIGKILL;
use crate::sys::fork_guard::{self, PrivateFd};
use crate::sys::lifeline::{self, Lifeline};
use crate::sys::memory::SharedPage;
use crate::sys::process as sys_process;
use crate::sys::socket;
use crate::sys::surroundings::{self, Fingerprint};
use crate::wire::codec;
use crate::wire::frame::{self, Care, Wait};
use crate::wire::handle::Handle;
use crate::{Error, ErrorKind, Result};

/// The servers of this process.
static SERVERS: Mutex<Servers> =
    Mutex::new(Servers { owner: 0, running: Vec::new(), preload: None, unsuitable: Vec::new() });

/// The servers of the process `owner`.
struct Servers {
    /// Whose servers they are: a fork of it has none of them.
    owner: u32,
    /// One for each executable in use.
    running: Vec<Server>,
    /// What new servers run first.
    preload: Option<Preload>,
    /// The executables whose server cannot fork: `Spawn` does their work.
    unsuitable: Vec<Option<PathBuf>>,
}

/// A running server.
struct Server {
    /// The program it runs; `None` for this process's own.
    executable: Option<PathBuf>,
    /// Where requests go.
    control: PrivateFd,
    /// Where the kernel writes a new child's pid.
    page: SharedPage,
    /// The server, for the kernel.
    pidfd: OwnedFd,
    /// What ends it with this process; `None` once it was ended.
    lifeline: Option<Lifeline>,
    /// What this process was when the server started.
    fingerprint: Fingerprint,
    /// The environment that its children have unless told otherwise.
    environment: Environment,
}

/// What a server is told first.
#[derive(Serialize, Deserialize)]
pub(in crate::process) struct Briefing {
    /// What it runs before it forks.
    pub(in crate::process) preload: Option<Preload>,
    /// The level of `log_to_stderr`.
    pub(in crate::process) log_level: u8,
}

/// What a server answers first.
#[derive(Serialize, Deserialize)]
pub(in crate::process) enum Readiness {
    /// It takes requests.
    Ready,
    /// It cannot fork children that are right, for this reason.
    Unsuitable(String),
    /// The preload failed.
    PreloadFailed(String),
}

/// What a server answers to a request; the pidfd travels inside.
pub(in crate::process) type Reply = std::result::Result<Handle<OwnedFd>, i32>;

/// Chooses what new servers run first, and retires those that run.
pub(in crate::process) fn set_preload(preload: Preload) {
    let mut servers = lock();
    servers.preload = Some(preload);
    servers.unsuitable.clear();
    servers.running.clear();
}

/// Ends the servers of this process.
pub(in crate::process) fn stop() {
    lock().running.clear();
}

/// Starts the child.
///
/// # Errors
///
/// If neither a running nor a new server can fork.
pub(in crate::process) fn launch(launch: &mut Launch<'_>) -> Result<(i32, OwnedFd)> {
    let (fingerprint, umask) = surroundings::fingerprint_and_umask()
        .map_err(|error| Error::io(error, "reading what children inherit"))?;
    let mut servers = lock();
    if servers.unsuitable.contains(&launch.executable) {
        drop(servers);
        return spawn::launch(launch);
    }
    let mut sent = false;
    // A server that dies is replaced; twice in one request is no accident.
    for _ in 0..3 {
        let place = match servers.find(launch, &fingerprint)? {
            Some(place) => place,
            None => {
                drop(servers);
                return spawn::launch(launch);
            }
        };
        let server = &servers.running[place];
        if !sent {
            prepare(launch, server, umask)?;
            launch.send()?;
            sent = true;
        }
        match server.request(&launch.child_end, launch.deadline) {
            Ok(started) => return Ok(started),
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Gone) => {
                let server = servers.running.swap_remove(place);
                log::event(LogLevel::Warning, format_args!("the forkserver is gone; replacing it"));
                if let Some(started) = server.orphan()? {
                    return Ok(started);
                }
            }
        }
    }
    Err(Error::new(ErrorKind::Start, "the forkserver was killed three times during one start"))
}

/// The standard streams for a child that cannot inherit them: those chosen, and
/// this process's own for the rest; `None` where that is closed.
pub(super) fn stdio(chosen: &mut [Option<OwnedFd>; 3]) -> Result<[Option<Handle<OwnedFd>>; 3]> {
    let mut streams = [None, None, None];
    for ((stream, chosen), own) in streams.iter_mut().zip(chosen).zip(surroundings::stdio()) {
        *stream = match (chosen.take(), own) {
            (Some(chosen), _) => Some(chosen.into()),
            (None, Some(own)) => Some(
                own.try_clone_to_owned()
                    .map_err(|error| Error::io(error, "passing a standard stream"))?
                    .into(),
            ),
            (None, None) => None,
        };
    }
    Ok(streams)
}

/// Fills in what a server's child must be told.
fn prepare(launch: &mut Launch<'_>, server: &Server, umask: u32) -> Result<()> {
    let cwd = match launch.cwd.take() {
        Some(chosen) => chosen,
        None => surroundings::open_cwd()
            .map_err(|error| Error::io(error, "opening the working directory"))?,
    };
    let environment = launch.environment.take().unwrap_or_else(Environment::current);
    let lifeline =
        launch.lifeline_end.try_clone().map_err(|error| Error::io(error, "passing a lifeline"))?;
    launch.preparation.lifeline = Some(lifeline.into());
    let streams = stdio(&mut launch.stdio)?;
    let told = &mut launch.preparation.surroundings;
    told.cwd = Some(cwd.into());
    told.stdio = Some(streams);
    told.umask = Some(umask);
    told.environment = (environment != server.environment).then_some(environment);
    told.signal_mask = sys_process::signal_mask().ok();
    told.affinity = sys_process::affinity().ok();
    Ok(())
}

/// Why a request brought no child.
enum Failure {
    /// The server lives and says why.
    Refused(Error),
    /// The server is gone, or has not answered in time and was killed.
    Gone,
}

impl Servers {
    /// The place of a server for `launch`; starts one where there is none that
    /// fits. `None` if its program cannot have one.
    fn find(&mut self, launch: &Launch<'_>, fingerprint: &Fingerprint) -> Result<Option<usize>> {
        let fits = |server: &Server| server.executable == launch.executable;
        if let Some(place) = self.running.iter().position(fits) {
            if self.running[place].fingerprint == *fingerprint {
                return Ok(Some(place));
            }
            log::event(
                LogLevel::Info,
                format_args!("replacing the forkserver: this process changed"),
            );
            self.running.swap_remove(place);
        }
        match Server::start(launch, self.preload.clone(), fingerprint.clone())? {
            Some(server) => self.running.push(server),
            None => {
                self.unsuitable.push(launch.executable.clone());
                return Ok(None);
            }
        }
        Ok(Some(self.running.len() - 1))
    }
}

impl Server {
    /// Starts a server; `None` if it finds that it cannot fork.
    fn start(
        launch: &Launch<'_>,
        preload: Option<Preload>,
        fingerprint: Fingerprint,
    ) -> Result<Option<Self>> {
        let context = |error| Error::io(error, "preparing a forkserver");
        let (control, theirs) = socket::pair().map_err(context)?;
        let control = PrivateFd::new(control);
        let (lifeline, lifeline_end) = lifeline::lifeline().map_err(context)?;
        let page = SharedPage::new().map_err(context)?;
        let null =
            std::fs::File::options().read(true).write(true).open("/dev/null").map_err(context)?;
        // Open, so that no descriptor of a child gets its number.
        let no_stderr = surroundings::stdio()[2].is_none();
        let environment = Environment::current();
        let program = Program {
            executable: launch.executable.as_deref(),
            environment: Some(&environment),
            role: Role::Forkserver,
            fds: &[theirs.as_fd(), lifeline_end.as_fd(), page.as_fd()],
            lifeline: Some(lifeline_end.as_fd()),
            cwd: None,
            stdio: [Some(null.as_fd()), Some(null.as_fd()), no_stderr.then_some(null.as_fd())],
        };
        let (pid, pidfd) = program.exec()?;
        drop(theirs);
        let server = Self {
            executable: launch.executable.clone(),
            control,
            page,
            pidfd,
            lifeline: Some(lifeline),
            fingerprint,
            environment,
        };
        let briefing = codec::encode(&Briefing { preload, log_level: log::level() })?;
        let told =
            frame::send(server.control.as_fd(), &briefing.bytes, &briefing.handles, Wait::Forever);
        let answer = told.and_then(|_| {
            frame::recv(server.control.as_fd(), Care::KEEP, Wait::Until(launch.deadline))
        });
        let readiness = match answer {
            Ok(Some(message)) => codec::decode::<Readiness>(&message.payload, message.handles)?,
            Ok(None) => {
                return Err(Error::new(
                    ErrorKind::Start,
                    "the forkserver did not begin in time and was killed: is `kinfolk::init()` \
                     the first line of main, and does the preload end?",
                ));
            }
            Err(error) => {
                return Err(Error::new(
                    ErrorKind::Start,
                    format!(
                        "the forkserver (pid {pid}) ended before it began: is `kinfolk::init()` \
                         the first line of main? ({error})"
                    ),
                ));
            }
        };
        match readiness {
            Readiness::Ready => {
                log::event(LogLevel::Info, format_args!("started a forkserver, pid {pid}"));
                Ok(Some(server))
            }
            Readiness::Unsuitable(reason) => {
                log::event(
                    LogLevel::Warning,
                    format_args!("no forkserver, spawning instead: {reason}"),
                );
                Ok(None)
            }
            Readiness::PreloadFailed(reason) => Err(Error::new(
                ErrorKind::Start,
                format!("the forkserver's preload failed: {reason}"),
            )),
        }
    }

    /// Asks for a child that serves `child_end`.
    fn request(
        &self,
        child_end: &OwnedFd,
        deadline: Instant,
    ) -> std::result::Result<(i32, OwnedFd), Failure> {
        self.page.word(0).store(0, Ordering::Release);
        let passed = child_end
            .try_clone()
            .map_err(|error| Failure::Refused(Error::io(error, "passing a child's channel")))?;
        let control = self.control.as_fd();
        let answer = frame::send(control, b"fork", &[passed], Wait::Until(deadline))
            .and_then(|_| frame::recv(control, Care::KEEP, Wait::Until(deadline)));
        let message = match answer {
            Ok(Some(message)) => message,
            Err(error) if error.kind() == ErrorKind::Exhausted => {
                return Err(Failure::Refused(error));
            }
            Ok(None) | Err(_) => return Err(Failure::Gone),
        };
        let pid = self.page.word(0).load(Ordering::Acquire);
        match codec::decode::<Reply>(&message.payload, message.handles) {
            Ok(Ok(pidfd)) if pid > 0 => Ok((pid, pidfd.into_inner())),
            Ok(Err(errno)) => Err(Failure::Refused(Error::io(
                std::io::Error::from_raw_os_error(errno),
                "forking a child",
            ))),
            Ok(Ok(_)) | Err(_) => Err(Failure::Gone),
        }
    }

    /// Ends a server that failed, and returns the child that it had made for the
    /// request under way, if it had.
    fn orphan(mut self) -> Result<Option<(i32, OwnedFd)>> {
        self.kill();
        match self.page.word(0).load(Ordering::Acquire) {
            pid if pid > 0 => Ok(Some((pid, pidfd(pid)?))),
            _ => Ok(None),
        }
    }

    /// Kills the server and reaps it.
    fn kill(&mut self) {
        // Refused where this process has dropped privileges since it started the
        // server: then the lifeline ends it.
        let _ = sys_process::signal(self.pidfd.as_fd(), SIGKILL);
        self.lifeline = None;
        let _ = sys_process::reap(self.pidfd.as_fd(), true);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Locks the servers; a fork of their owner forgets them.
fn lock() -> std::sync::MutexGuard<'static, Servers> {
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let me = fork_guard::process_id();
    if servers.owner != me {
        for server in servers.running.drain(..) {
            // Not this process's to kill; what it holds of it ends with it.
            std::mem::forget(server);
        }
        servers.unsuitable.clear();
        servers.owner = me;
    }
    servers
}
