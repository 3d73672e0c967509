//! Start method `forkserver`, the caller's side: a helper process of the same
//! program, started on first use, forks on request.
//!
//! Each process owns its servers, because their children are made its own
//! (`CLONE_PARENT`), and replaces one when its own privileges or other
//! inherited attributes have changed since the server started, so that an older
//! server never gives them back.
//!
//! A server is one child ahead: the next one is asked for as soon as one is on its
//! way, and waits to be told what it must know, so that a start need not wait for a
//! fork. Until it is told, a child runs nothing of the program. If this process has
//! changed meanwhile, or the child was killed, it is ended and another one made.
//!
//! One request is under way at a time. The kernel itself writes the new child's
//! pid into a page shared with the server, before the child runs: so when a
//! server is killed in the middle of a request, its owner knows whether there
//! is a child, and ends it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::spawn::{self, Program};
use super::{Launch, Link, Started, discard};
use crate::log::{self, LogLevel};
use crate::process::bootstrap::Role;
use crate::process::function::Preload;
use crate::process::preparation::{Environment, Surroundings};
use crate::process::status::{ExitStatus, SIGKILL};
use crate::sys::fork_guard::PrivateFd;
use crate::sys::lifeline::{self, Lifeline};
use crate::sys::memory::SharedPage;
use crate::sys::per_process::PerProcess;
use crate::sys::poll;
use crate::sys::process as sys_process;
use crate::sys::socket;
use crate::sys::surroundings::{self, Fingerprint};
use crate::wire::codec;
use crate::wire::frame::{self, Care, Message, Wait};
use crate::wire::handle::Handle;
use crate::{Error, ErrorKind, Result};

/// The servers of this process.
static SERVERS: PerProcess<Servers> =
    PerProcess::new(|| Servers { running: Vec::new(), unsuitable: Vec::new() });

/// Where the function stands that new servers run first; 0 if there is none. Not with
/// the servers, because a fork of this process has it too.
static PRELOAD: AtomicU64 = AtomicU64::new(0);

/// The servers of a process.
struct Servers {
    /// One for each executable in use.
    running: Vec<Server>,
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
    /// The child that was asked for.
    next: Option<Asked>,
}

/// A child that a server was asked for.
struct Asked {
    /// What connects this process with it.
    link: Link,
    /// A descriptor whose place the answer needs.
    spare: OwnedFd,
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
    /// It cannot fork children that are right.
    Unsuitable {
        /// The reason.
        reason: String,
        /// Whether another server would find the same.
        lasting: bool,
    },
    /// The preload failed.
    PreloadFailed(String),
}

/// Chooses what new servers run first, and retires those that run.
pub(in crate::process) fn set_preload(preload: &Preload) {
    PRELOAD.store(preload.place(), Ordering::Relaxed);
    let mut servers = lock();
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
pub(in crate::process) fn launch(launch: &mut Launch<'_>) -> Result<Started> {
    let mut servers = lock();
    if servers.unsuitable.contains(&launch.executable) {
        drop(servers);
        return spawn::launch(launch);
    }
    let mut last = String::new();
    // A server that dies is replaced; again and again in one start is no accident.
    for _ in 0..TRIES {
        let place = match servers.find(launch)? {
            Found::At(place) => place,
            Found::None => {
                drop(servers);
                return spawn::launch(launch);
            }
            Found::Killed(status) => {
                last = format!("; the last one {status} before it began");
                continue;
            }
        };
        let server = &mut servers.running[place];
        match server.start_child(launch) {
            Ok(started) => return Ok(started),
            Err(Failure::Refused(error) | Failure::Denied(error)) => return Err(error),
            Err(Failure::Killed) => {}
            Err(Failure::Gone) => {
                log::event(LogLevel::Warning, format_args!("the forkserver is gone; replacing it"));
                servers.running.swap_remove(place);
            }
            Err(Failure::Changed) => {
                let replacing = "replacing the forkserver: this process changed";
                log::event(LogLevel::Info, format_args!("{replacing}"));
                servers.running.swap_remove(place);
            }
        }
    }
    Err(Error::new(
        ErrorKind::Start,
        format!(
            "forkservers were killed, or could not be used, {TRIES} times during one start{last}"
        ),
    ))
}

/// How often a child is asked for.
const TRIES: usize = 4;

/// The standard streams for a child that cannot inherit them: those chosen, and
/// this process's own for the rest; `None` where that is closed.
pub(super) fn stdio(chosen: &[Option<OwnedFd>; 3]) -> Result<[Option<Handle<OwnedFd>>; 3]> {
    let mut streams = [None, None, None];
    for ((stream, chosen), own) in streams.iter_mut().zip(chosen).zip(surroundings::stdio()) {
        if let Some(source) = chosen.as_ref().map(OwnedFd::as_fd).or(own) {
            let duplicate = source
                .try_clone_to_owned()
                .map_err(|error| Error::io(error, "passing a standard stream"))?;
            *stream = Some(duplicate.into());
        }
    }
    Ok(streams)
}

/// Fills in what a server's child must be told.
fn prepare(launch: &mut Launch<'_>, server: &Server) -> Result<()> {
    let cwd = match &launch.cwd {
        Some(chosen) => chosen.try_clone(),
        None => surroundings::open_cwd(),
    };
    let cwd = cwd.map_err(|error| Error::io(error, "opening the working directory"))?;
    let environment = launch.environment.clone().unwrap_or_else(Environment::current);
    launch.preparation.surroundings = Surroundings {
        cwd: Some(cwd.into()),
        stdio: Some(stdio(&launch.stdio)?),
        umask_follows: true,
        environment: (environment != server.environment).then_some(environment),
        signal_mask: sys_process::signal_mask().ok(),
        affinity: sys_process::affinity().ok(),
    };
    Ok(())
}

/// Why there is no child. One that there was has been ended.
enum Failure {
    /// For a reason that holds for the next one too.
    Refused(Error),
    /// The server was not allowed to fork.
    Denied(Error),
    /// It was killed before it was told anything.
    Killed,
    /// The server is gone, or has not answered in time.
    Gone,
    /// This process has changed since the server started.
    Changed,
}

/// A server that was looked for.
enum Found {
    /// It is here.
    At(usize),
    /// There can be none: `Spawn` does its work.
    None,
    /// It was killed before it began.
    Killed(ExitStatus),
}

/// What became of a server that was started.
enum Begun {
    /// It takes requests.
    Ready(Box<Server>),
    /// It cannot fork.
    Unsuitable {
        /// Whether another server would find the same.
        lasting: bool,
    },
    /// It was killed before it began.
    Killed(ExitStatus),
}

impl Servers {
    /// The place of a server for `launch`; starts one where there is none.
    fn find(&mut self, launch: &Launch<'_>) -> Result<Found> {
        let fits = |server: &Server| server.executable == launch.executable;
        if let Some(place) = self.running.iter().position(fits) {
            return Ok(Found::At(place));
        }
        match Server::start(launch)? {
            Begun::Ready(server) => {
                self.running.push(*server);
                Ok(Found::At(self.running.len() - 1))
            }
            Begun::Unsuitable { lasting } => {
                if lasting {
                    self.unsuitable.push(launch.executable.clone());
                }
                Ok(Found::None)
            }
            Begun::Killed(status) => Ok(Found::Killed(status)),
        }
    }
}

impl Server {
    /// Starts a server.
    fn start(launch: &Launch<'_>) -> Result<Begun> {
        let preload = match PRELOAD.load(Ordering::Relaxed) {
            0 => None,
            place => Some(Preload::at(place)?),
        };
        let (fingerprint, _) = fingerprint_and_umask()?;
        let context = |error| Error::io(error, "preparing a forkserver");
        let (control, theirs) = socket::pair().map_err(context)?;
        let control = PrivateFd::new(control);
        let (lifeline, lifeline_end) = lifeline::lifeline().map_err(context)?;
        let page = SharedPage::new().map_err(context)?;
        let null = std::fs::File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| Error::io(error, "opening /dev/null for a forkserver"))?;
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
            next: None,
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
            Err(error) if error.is_disconnected() => {
                let status = server.end_by(launch.deadline);
                if status.signal().is_some() {
                    log::event(LogLevel::Warning, format_args!("the forkserver {status}"));
                    return Ok(Begun::Killed(status));
                }
                return Err(Error::new(
                    ErrorKind::Start,
                    format!(
                        "the forkserver (pid {pid}) {status} before it began: is \
                         `kinfolk::init()` the first line of main?"
                    ),
                ));
            }
            Err(error) => return Err(error),
        };
        match readiness {
            Readiness::Ready => {
                log::event(LogLevel::Info, format_args!("started a forkserver, pid {pid}"));
                Ok(Begun::Ready(Box::new(server)))
            }
            Readiness::Unsuitable { reason, lasting } => {
                log::event(
                    LogLevel::Warning,
                    format_args!("no forkserver, spawning instead: {reason}"),
                );
                Ok(Begun::Unsuitable { lasting })
            }
            Readiness::PreloadFailed(reason) => Err(Error::new(
                ErrorKind::Start,
                format!("the forkserver's preload failed: {reason}"),
            )),
        }
    }

    /// Starts a child, and asks for the next one.
    fn start_child(&mut self, launch: &mut Launch<'_>) -> std::result::Result<Started, Failure> {
        let taken = self.take_child(launch.deadline);
        if let Err(Failure::Denied(_)) = taken
            && fingerprint_and_umask().map_err(Failure::Refused)?.0 != self.fingerprint
        {
            // By the limits that the server started with, not by this process's.
            return Err(Failure::Changed);
        }
        let (pid, pidfd, link) = taken?;
        let killed = poll::ready(pidfd.as_fd(), Some(Instant::now())).unwrap_or(false);
        let told = if killed { Err(Failure::Killed) } else { self.tell(launch, &link) };
        if let Err(failure) = told {
            drop(link);
            discard(&pidfd);
            return Err(failure);
        }
        // What keeps it from being made is the next start's to tell.
        let _ = self.ask();
        Ok(Started { pid, pidfd, link })
    }

    /// Tells a child what it must know, and then, unless this process has changed
    /// since the server started, that it may begin.
    fn tell(&self, launch: &mut Launch<'_>, link: &Link) -> std::result::Result<(), Failure> {
        prepare(launch, self).and_then(|()| launch.tell(link)).map_err(Failure::Refused)?;
        let (fingerprint, umask) = fingerprint_and_umask().map_err(Failure::Refused)?;
        if fingerprint != self.fingerprint {
            return Err(Failure::Changed);
        }
        let begin =
            codec::encode(&umask).and_then(|umask| link.channel.send(&umask, launch.deadline));
        begin.and_then(|()| launch.send_argument(link)).map_err(Failure::Refused)
    }

    /// Takes the child that was asked for, or asks for one.
    fn take_child(
        &mut self,
        deadline: Instant,
    ) -> std::result::Result<(i32, OwnedFd, Link), Failure> {
        let ahead = self.next.is_some();
        match self.answer(deadline) {
            // That was at the last start: what was missing may be there by now.
            Err(Failure::Denied(_)) if ahead => self.answer(deadline),
            other => other,
        }
    }

    /// Takes what the server answers.
    fn answer(&mut self, deadline: Instant) -> std::result::Result<(i32, OwnedFd, Link), Failure> {
        if self.next.is_none() {
            self.ask()?;
        }
        let Some(Asked { link, spare }) = self.next.take() else { return Err(Failure::Gone) };
        drop(spare);
        let answer = frame::recv(self.control.as_fd(), Care::Fast, Wait::Until(deadline));
        let answer = match answer {
            Ok(Some(answer)) => Answer::of(answer),
            Err(error) if error.kind() == ErrorKind::Exhausted => {
                self.end(Some(link));
                return Err(Failure::Refused(error));
            }
            Ok(None) => {
                self.end(Some(link));
                return Err(Failure::Refused(Error::new(
                    ErrorKind::Start,
                    "the forkserver did not answer in time, as if it were stopped, and was killed",
                )));
            }
            Err(_) => Answer::None,
        };
        let pid = self.page.word(0).load(Ordering::Acquire);
        match answer {
            Answer::Child(pidfd) if pid > 0 => Ok((pid, pidfd, link)),
            Answer::Refusal(error) => Err(Failure::Denied(error)),
            Answer::Child(_) | Answer::None => {
                self.end(Some(link));
                Err(Failure::Gone)
            }
        }
    }

    /// Asks for a child.
    fn ask(&mut self) -> std::result::Result<(), Failure> {
        self.page.word(0).store(0, Ordering::Release);
        let (link, ends) = super::link().map_err(Failure::Refused)?;
        let fds = [ends.channel, ends.lifeline];
        let asked = frame::send(self.control.as_fd(), b"fork", &fds, Wait::Forever);
        let [spare, _] = fds;
        match asked {
            Ok(true) => {
                self.next = Some(Asked { link, spare });
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Exhausted => Err(Failure::Refused(error)),
            Ok(false) | Err(_) => Err(Failure::Gone),
        }
    }

    /// Ends the server, and the child that it has made, or not, for a request under
    /// way with this link.
    fn end(&mut self, link: Option<Link>) {
        self.kill();
        drop(link);
        let answer = frame::recv(self.control.as_fd(), Care::Fast, Wait::Until(Instant::now()));
        if let Ok(Some(Answer::Child(pidfd))) = answer.map(|answer| answer.map(Answer::of)) {
            discard(&pidfd);
            return;
        }
        // Killed between the two.
        let pid = self.page.word(0).swap(0, Ordering::Acquire);
        if pid > 0 {
            let _ = sys_process::end_child(pid);
        }
    }

    /// Waits until the server, which hung up, has ended, and returns how. At the
    /// deadline it is killed.
    fn end_by(mut self, deadline: Instant) -> ExitStatus {
        let ended = poll::ready(self.pidfd.as_fd(), Some(deadline)).unwrap_or(false);
        let reaped = if ended { sys_process::reap(self.pidfd.as_fd(), false) } else { Ok(None) };
        self.kill();
        reaped.ok().flatten().map_or(ExitStatus::Unknown, ExitStatus::from)
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
        let link = self.next.take().map(|asked| asked.link);
        if link.is_some() { self.end(link) } else { self.kill() }
    }
}

/// What a server answers: an error number, and if that is 0 a child's pidfd.
enum Answer {
    /// The child.
    Child(OwnedFd),
    /// None that can be had, for this reason.
    Refusal(Error),
    /// None of these.
    None,
}

impl Answer {
    /// What a message says.
    fn of(mut message: Message) -> Self {
        let errno = message.payload.first_chunk().map(|bytes| i32::from_le_bytes(*bytes));
        match (errno, message.handles.pop()) {
            (Some(0), Some(pidfd)) => Self::Child(pidfd),
            (Some(errno), None) if errno != 0 => Self::Refusal(Error::io(
                std::io::Error::from_raw_os_error(errno),
                "forking a child",
            )),
            _ => Self::None,
        }
    }
}

/// What this process's children inherit from it without being told, and its umask.
fn fingerprint_and_umask() -> Result<(Fingerprint, u32)> {
    surroundings::fingerprint_and_umask()
        .map_err(|error| Error::io(error, "reading in /proc what children inherit"))
}

/// Locks the servers of this process.
fn lock() -> MutexGuard<'static, Servers> {
    SERVERS.lock()
}
