//! The child's side: from the first line of `main` to the exit, and the
//! forkserver's loop.
#![allow(unsafe_code)] // The environment is replaced, and inherited descriptors are taken over.

use std::ffi::{CStr, OsString};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use zeroize::Zeroize as _;

use super::channel;
use super::preparation::{Environment, Preparation};
use super::report::{self, Greeting};
use super::start::forkserver::{Briefing, Readiness, Reply};
use super::start::{Launch, Work};
use super::status::FAILED;
use super::{context, current, exit};
use crate::log;
use crate::sys::fork_guard::PrivateFd;
use crate::sys::memory::SharedPage;
use crate::sys::process::{self as sys_process, SiblingCloner};
use crate::sys::{self, lifeline};
use crate::wire::codec::{self, Encoded};
use crate::{Error, Result};

/// The first argument of a process that the library started.
pub(super) const MARKER: &CStr = c"--kinfolk-child";

/// What such a process is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// To call one function; descriptors: channel, lifeline.
    Function,
    /// To fork on request; descriptors: control, lifeline, page.
    Forkserver,
}

impl Role {
    /// The second argument.
    pub(super) fn word(self) -> &'static CStr {
        match self {
            Self::Function => c"function",
            Self::Forkserver => c"forkserver",
        }
    }
}

/// How a child leaves.
#[derive(Clone, Copy)]
enum Leave {
    /// Through the exit handlers.
    Exit,
    /// Past the exit handlers, which belong to the process it is a fork of.
    Past,
}

/// Becomes the child that the command line says this process is; returns in
/// every other process.
pub(super) fn enter_if_child() {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some((marker, rest)) = words.split_first() else { return };
    if marker.as_bytes() != MARKER.to_bytes() {
        return;
    }
    let Some((role, numbers)) = rest.split_first() else { misuse() };
    let is = |known: Role| role.as_bytes() == known.word().to_bytes();
    if is(Role::Function) {
        let [channel, lifeline] = inherited(numbers);
        run(channel, Some(lifeline), None, Leave::Exit)
    } else if is(Role::Forkserver) {
        let [control, lifeline, page] = inherited(numbers);
        serve(control, lifeline, page)
    }
    misuse()
}

/// Marks a test binary's process as a main process, or becomes the child that
/// it is. Called before `main` by [`test_init`](crate::test_init).
#[doc(hidden)]
pub extern "C" fn init_for_tests() {
    std::mem::forget(exit::init());
}

/// Runs a forked child; never returns to the caller's frames.
pub(super) fn run_forked(launch: &mut Launch<'_>) -> ! {
    let work = match std::mem::replace(&mut launch.work, Work::Named(Encoded::default())) {
        Work::Closure(closure) => Some(closure),
        Work::Named(_) => None,
    };
    let ends = launch
        .child_end
        .try_clone()
        .and_then(|channel| launch.lifeline_end.try_clone().map(|lifeline| (channel, lifeline)));
    match ends {
        Ok((channel, lifeline)) => run(channel, Some(lifeline), work, Leave::Past),
        Err(_) => sys_process::exit_now(FAILED),
    }
}

/// Runs a child to its end.
fn run(
    channel: OwnedFd,
    lifeline: Option<OwnedFd>,
    closure: Option<super::start::Closure<'_>>,
    leave: Leave,
) -> ! {
    let channel = PrivateFd::new(channel);
    report::watch_panics();
    let status = match prepare(&channel, lifeline) {
        Ok(preparation) => work(&channel, &preparation, closure),
        Err(error) => {
            greet(&channel, &Greeting::Refused(error.to_string()));
            FAILED
        }
    };
    exit::finish();
    drop(channel);
    match leave {
        Leave::Exit => std::process::exit(status),
        Leave::Past => {
            let _ = std::io::stdout().flush();
            sys_process::exit_now(status)
        }
    }
}

/// Takes over what the parent prepared.
fn prepare(channel: &PrivateFd, lifeline: Option<OwnedFd>) -> Result<Preparation> {
    let message = channel::recv(channel.as_fd())?;
    let mut payload = message.payload;
    let decoded = codec::decode::<Preparation>(&payload, message.handles);
    // The key was in it.
    payload.zeroize();
    let mut preparation = decoded?;
    let lifeline = match lifeline.or_else(|| preparation.lifeline.take().map(|h| h.into_inner())) {
        Some(lifeline) => lifeline,
        None => {
            return Err(Error::new(crate::ErrorKind::Protocol, "the parent sent no lifeline"));
        }
    };
    if !preparation.outlive {
        let alive = lifeline::arm(lifeline.as_fd())
            .map_err(|error| Error::io(error, "arming the lifeline"))?;
        if !alive {
            sys_process::exit_now(FAILED);
        }
    }
    if let Some(environment) = preparation.surroundings.environment.take() {
        replace_environment(environment);
    }
    preparation.surroundings.apply()?;
    if preparation.subreaper {
        sys_process::set_subreaper().map_err(|error| Error::io(error, "becoming a subreaper"))?;
    }
    log::inherit(preparation.log_level);
    context::force_start_method(preparation.start_method);
    current::become_child(&preparation, lifeline);
    exit::watch();
    Ok(preparation)
}

/// Does the work, reports it, and returns the exit status.
fn work(
    channel: &PrivateFd,
    preparation: &Preparation,
    closure: Option<super::start::Closure<'_>>,
) -> i32 {
    let (report, status) = match (closure, &preparation.function) {
        (Some(closure), _) => {
            greet(channel, &Greeting::Started);
            closure()
        }
        (None, Some(function)) => {
            let Ok(argument) = channel::recv(channel.as_fd()) else { return FAILED };
            greet(channel, &Greeting::Started);
            match function.call(&argument.payload, argument.handles) {
                Ok(done) => done,
                Err(error) => (
                    codec::encode(&report::Report::<()>::BadArgument(error.to_string()))
                        .unwrap_or_default(),
                    FAILED,
                ),
            }
        }
        (None, None) => return FAILED,
    };
    // A parent that dropped the handle does not want it.
    let _ = channel::send(channel.as_fd(), &report);
    status
}

/// Sends the first message.
fn greet(channel: &PrivateFd, greeting: &Greeting) {
    if let Ok(greeting) = codec::encode(greeting) {
        // A parent that dropped the handle does not want it.
        let _ = channel::send(channel.as_fd(), &greeting);
    }
}

/// The forkserver: prepares, then forks a child for each request until its
/// owner is gone.
fn serve(control: OwnedFd, lifeline: OwnedFd, page: OwnedFd) -> ! {
    let (channel, leftovers) = match served(control, page) {
        Ok(child) => child,
        Err(_) => sys_process::exit_now(FAILED),
    };
    // In a new child: what was the server's is not the child's.
    drop(leftovers);
    drop(lifeline);
    run(channel, None, None, Leave::Exit)
}

/// Serves; returns only in a new child, with its channel and what it must drop.
fn served(control: OwnedFd, page: OwnedFd) -> Result<(OwnedFd, (OwnedFd, SharedPage))> {
    let page =
        SharedPage::open(page).map_err(|error| Error::io(error, "opening the shared page"))?;
    let message = channel::recv(control.as_fd())?;
    let briefing: Briefing = codec::decode(&message.payload, message.handles)?;
    log::inherit(briefing.log_level);
    report::watch_panics();
    let failed = match briefing.preload.map(|preload| report::catch(|| preload.call())) {
        None | Some(Ok(Ok(()))) => None,
        Some(Ok(Err(error))) => Some(error.to_string()),
        Some(Err((message, place))) => {
            Some(format!("panicked at {}: {message}", place.unwrap_or_default()))
        }
    };
    let (readiness, cloner) = match (failed, SiblingCloner::probe()) {
        (Some(reason), _) => (Readiness::PreloadFailed(reason), None),
        (None, Err(error)) => (Readiness::Unsuitable(error.to_string()), None),
        (None, Ok(cloner)) => (Readiness::Ready, Some(cloner)),
    };
    channel::send(control.as_fd(), &codec::encode(&readiness)?)?;
    let Some(cloner) = cloner else { sys_process::exit_now(FAILED) };
    loop {
        let request = channel::recv(control.as_fd())?;
        let Some(channel) = request.handles.into_iter().next() else { continue };
        let reply: Reply = match cloner.clone_sibling(page.word(0)) {
            Ok(None) => return Ok((channel, (control, page))),
            Ok(Some(pidfd)) => Ok(pidfd.into()),
            Err(error) => Err(error.raw_os_error().unwrap_or_default()),
        };
        drop(channel);
        channel::send(control.as_fd(), &codec::encode(&reply)?)?;
    }
}

/// Replaces the whole environment.
fn replace_environment(environment: Environment) {
    for (name, _) in std::env::vars_os() {
        // SAFETY: this process has just begun and has one thread, which is here.
        unsafe { std::env::remove_var(name) };
    }
    for (name, value) in environment.into_variables() {
        // SAFETY: this process has just begun and has one thread, which is here.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Takes over the descriptors that the command line numbers.
fn inherited<const N: usize>(numbers: &[OsString]) -> [OwnedFd; N] {
    let take = |number: &OsString| {
        let number = number.to_str()?.parse().ok()?;
        // SAFETY: the parent left this number open for this process to own, and
        // `enter_if_child` looks at each once; one that is not open is refused.
        unsafe { sys::fd::inherited(number) }.ok()
    };
    let fds: Option<Vec<OwnedFd>> = numbers.iter().map(take).collect();
    fds.and_then(|fds| fds.try_into().ok()).unwrap_or_else(|| misuse())
}

/// Ends a process whose command line was made by hand.
fn misuse() -> ! {
    eprintln!(
        "--kinfolk-child is how the library starts its own processes; it is not for use by hand"
    );
    std::process::exit(2)
}
