//! The child's side: from the first line of `main` to the exit, and the
//! forkserver's loop.
#![allow(unsafe_code)] // The environment is replaced, and inherited descriptors are taken over.

use std::ffi::{CStr, OsString};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use zeroize::Zeroize as _;

use super::channel;
use super::preparation::{Argument, Environment, Preparation};
use super::report::{self, Greeting};
use super::start::forkserver::{Briefing, Readiness};
use super::start::{ChildEnds, Launch, Work};
use super::status::FAILED;
use super::{context, current, exit};
use crate::log;
use crate::sys::fork_guard::{self, PrivateFd};
use crate::sys::memory::SharedPage;
use crate::sys::process::{self as sys_process, SiblingCloner};
use crate::sys::{self, lifeline, receive, surroundings};
use crate::wire::codec::{self, Encoded};
use crate::wire::frame::{Message, Payload};
use crate::wire::handle::Handle;
use crate::{Error, ErrorKind, Result};

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
        report::watch_panics();
        run(ChildEnds { channel, lifeline }, None, Leave::Exit)
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
pub(super) fn run_forked(launch: &mut Launch<'_>, ends: ChildEnds) -> ! {
    let work = match std::mem::replace(&mut launch.work, Work::Named(Encoded::default())) {
        Work::Closure(closure) => Some(closure),
        Work::Named(_) => None,
    };
    report::watch_panics();
    run(ends, work, Leave::Past)
}

/// Runs a child to its end.
fn run(ends: ChildEnds, closure: Option<super::start::Closure<'_>>, leave: Leave) -> ! {
    let channel = PrivateFd::new(ends.channel);
    let status = match prepare(&channel, ends.lifeline) {
        Ok(preparation) => work(&channel, preparation, closure),
        // The parent does not want it any more: nothing of the program has run.
        Err(error) if error.is_disconnected() => sys_process::exit_now(FAILED),
        Err(error) => {
            greet(&channel, &Greeting::Refused(error.to_string()));
            FAILED
        }
    };
    exit::finish();
    drop(channel);
    receive::leave_landing();
    match leave {
        Leave::Exit => std::process::exit(status),
        Leave::Past => {
            let _ = std::io::stdout().flush();
            sys_process::exit_now(status)
        }
    }
}

/// Takes over what the parent prepared.
fn prepare(channel: &PrivateFd, lifeline: OwnedFd) -> Result<Preparation> {
    let context = |what: &'static str| move |error| Error::io(error, what);
    if !lifeline::arm(lifeline.as_fd()).map_err(context("arming the lifeline"))? {
        sys_process::exit_now(FAILED);
    }
    let message = channel::recv(channel.as_fd())?;
    let mut payload = message.payload;
    let decoded = codec::decode::<Preparation>(&payload, message.handles);
    // The key was in it.
    payload.zeroize();
    let mut preparation = decoded?;
    if let Some(parents_end) = preparation.outlive.take() {
        lifeline::disarm(lifeline.as_fd()).map_err(context("leaving the lifeline"))?;
        drop(parents_end);
    }
    if let Some(environment) = preparation.surroundings.environment.take() {
        replace_environment(environment);
    }
    preparation.surroundings.apply()?;
    if preparation.surroundings.umask_follows {
        let message = channel::recv(channel.as_fd())?;
        surroundings::apply_umask(codec::decode(&message.payload, message.handles)?);
    }
    if preparation.subreaper {
        sys_process::set_subreaper().map_err(context("becoming a subreaper"))?;
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
    preparation: Preparation,
    closure: Option<super::start::Closure<'_>>,
) -> i32 {
    let (report, status) = match (closure, &preparation.function) {
        (Some(closure), _) => {
            greet(channel, &Greeting::Started);
            closure()
        }
        (None, Some(function)) => {
            let argument = match preparation.argument {
                Some(Argument { bytes, handles }) => Message {
                    payload: Payload::Inline(bytes),
                    handles: handles.into_iter().map(Handle::into_inner).collect(),
                },
                None => match channel::recv(channel.as_fd()) {
                    Ok(argument) => argument,
                    Err(_) => return FAILED,
                },
            };
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
    let (ends, leftovers) = match served(control, page) {
        Ok(child) => child,
        Err(_) => sys_process::exit_now(FAILED),
    };
    // In a new child: what was the server's is not the child's.
    drop(leftovers);
    drop(lifeline);
    run(ends, None, Leave::Exit)
}

/// Serves; returns only in a new child, with its ends and what it must drop.
fn served(control: OwnedFd, page: OwnedFd) -> Result<(ChildEnds, (OwnedFd, SharedPage))> {
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
        (None, Err(error)) => {
            let error = Error::io(error, "trying to fork");
            let lasting = error.kind() != ErrorKind::Exhausted;
            (Readiness::Unsuitable { reason: error.to_string(), lasting }, None)
        }
        (None, Ok(cloner)) => (Readiness::Ready, Some(cloner)),
    };
    warm_up();
    channel::send(control.as_fd(), &codec::encode(&readiness)?)?;
    let Some(cloner) = cloner else { sys_process::exit_now(FAILED) };
    loop {
        let request = channel::recv(control.as_fd())?;
        let Ok([channel, lifeline]) = <[OwnedFd; 2]>::try_from(request.handles) else { continue };
        let (errno, pidfd) = match cloner.clone_sibling(page.word(0)) {
            Ok(None) => return Ok((ChildEnds { channel, lifeline }, (control, page))),
            Ok(Some(pidfd)) => (0, vec![pidfd]),
            Err(error) => (error.raw_os_error().unwrap_or_default(), Vec::new()),
        };
        drop((channel, lifeline));
        let reply = Encoded { bytes: errno.to_le_bytes().into(), handles: pidfd };
        channel::send(control.as_fd(), &reply)?;
    }
}

/// Does once in the server what each child would do for itself.
fn warm_up() {
    // The preload may have replaced the hook.
    report::watch_panics();
    fork_guard::process_id();
    exit::watch();
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
