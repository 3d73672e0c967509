//! Start methods: which there are, which is the default, and contexts that
//! carry their own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::builder::Builder;
use super::function::Preload;
use super::handle::Process;
use super::start::forkserver;
use crate::{Error, ErrorKind, Result};

/// How a child comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StartMethod {
    /// The program is executed anew: safe with threads, about a millisecond.
    Spawn,
    /// A clean helper process of the same program, started on first use, forks:
    /// safe with threads and fast. The default. Where the helper cannot be had
    /// (a C library without what it needs, a preload that left threads behind)
    /// `Spawn` does its work.
    ///
    /// The children's threads and signals are right, but handlers that C code
    /// registered with `pthread_atfork` in the preload do not run in them.
    Forkserver,
    /// This process forks: the child has a copy of its memory. Refused while
    /// other threads run.
    Fork,
}

/// The process-wide choice: 0 until made, else one more than its place in
/// [`start_methods`]. Private to the process; not locked, because a fork would find it so.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Returns the start methods that this system has, the default first.
#[must_use]
#[doc(alias = "get_all_start_methods")]
pub fn start_methods() -> &'static [StartMethod] {
    &[StartMethod::Forkserver, StartMethod::Spawn, StartMethod::Fork]
}

/// Returns the start method of processes whose builder names none.
#[must_use]
#[doc(alias = "get_start_method")]
pub fn start_method() -> StartMethod {
    chosen().unwrap_or(StartMethod::Forkserver)
}

/// Chooses the start method of processes whose builder names none: once, in the
/// main program. Children take the choice over.
///
/// # Errors
///
/// If it was chosen already: see [`force_start_method`].
pub fn set_start_method(method: StartMethod) -> Result<()> {
    let number = number(Some(method));
    match CHOSEN.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(()),
        Err(before) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the start method is {:?} already; a library should use a Context",
                of_number(before).unwrap_or(method)
            ),
        )),
    }
}

/// Chooses the start method anew, or with `None` returns to the default.
pub fn force_start_method(method: Option<StartMethod>) {
    CHOSEN.store(number(method), Ordering::Relaxed);
}

/// The choice, if one was made.
pub(super) fn chosen() -> Option<StartMethod> {
    of_number(CHOSEN.load(Ordering::Relaxed))
}

/// The number of a choice.
fn number(choice: Option<StartMethod>) -> u8 {
    let place = |method| start_methods().iter().position(|known| *known == method);
    choice.and_then(place).map_or(0, |place| place as u8 + 1)
}

/// The choice of a number.
fn of_number(number: u8) -> Option<StartMethod> {
    start_methods().get(usize::from(number.checked_sub(1)?)).copied()
}

/// Names a function that the forkserver runs once before it forks, so that its
/// children find done what takes long.
///
/// It must leave no thread behind: with one, `Spawn` does the work instead. A
/// forkserver that runs already is replaced at the next start. A panic in
/// `preload` is the error of that start. What it prints is not shown.
///
/// # Errors
///
/// If the function is not in the program's main image.
pub fn set_forkserver_preload(preload: fn()) -> Result<()> {
    forkserver::set_preload(&Preload::new(preload)?);
    Ok(())
}

/// A start method, and perhaps an executable, for all processes started through it.
///
/// A library that needs a start method uses a context and leaves the
/// process-wide choice to the program.
///
/// ```standalone_crate
/// use kinfolk::{Context, StartMethod};
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let context = Context::new(StartMethod::Spawn);
///     assert_eq!(context.spawn(|n: u32| n + 1, 1)?.join()?, 2);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "get_context")]
pub struct Context {
    /// How children come into being.
    method: StartMethod,
    /// The program they run; `None` for this one.
    executable: Option<PathBuf>,
}

impl Context {
    /// Makes a context with a start method.
    #[must_use]
    pub fn new(method: StartMethod) -> Self {
        Self { method, executable: None }
    }

    /// Runs children from a copy of this program at `path`: the same build, or
    /// the start fails. `Fork` takes no notice of it.
    #[must_use]
    #[doc(alias = "set_executable")]
    pub fn executable(mut self, path: impl Into<PathBuf>) -> Self {
        self.executable = Some(path.into());
        self
    }

    /// The start method.
    #[must_use]
    pub fn start_method(&self) -> StartMethod {
        self.method
    }

    /// Returns a builder for a process of this context.
    pub fn builder(&self) -> Builder {
        let builder = Builder::new().start_method(self.method);
        match &self.executable {
            Some(path) => builder.executable(path.clone()),
            None => builder,
        }
    }

    /// Starts a process of this context: see [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`].
    pub fn spawn<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<Process<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.builder().spawn(function, argument)
    }
}
