//! A worker's side of a pool: it calls functions for the items of chunks, until the
//! pool wants no more of it.
#![allow(unsafe_code)] // Offsets become functions again.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::output::Output;
use super::protocol::{self, LARGEST};
use super::slate::Slate;
use crate::process::{self, address_here, catch};
use crate::queue::{Receiver, Sender};
use crate::sys::process as sys_process;
use crate::{Error, ErrorKind, Result};

/// What a worker is given as it starts.
#[derive(Serialize, Deserialize)]
pub(super) struct Duties<I> {
    /// Where chunks come from.
    pub(super) requests: Receiver<()>,
    /// Where results go.
    pub(super) results: Sender<()>,
    /// Where results are until then.
    pub(super) slate: Slate,
    /// Where what it tells goes, if somebody wants to know.
    #[cfg(feature = "tracing")]
    pub(super) forwarding: Option<super::records::Forwarding>,
    /// What it runs.
    pub(super) code: Code,
    /// What its initializer is given.
    pub(super) argument: Lent<I>,
}

/// What a worker runs, by offsets in the program's image, and within which limits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Code {
    /// Makes its state.
    pub(super) initializer: u64,
    /// Is given the state at the end.
    pub(super) finalizer: Option<u64>,
    /// The most memory for its data, in bytes.
    pub(super) memory_limit: Option<u64>,
    /// The largest result, in bytes.
    pub(super) largest: usize,
}

/// A value that is encoded where it is, again and again, and decoded as one's own.
#[derive(Debug)]
pub(super) enum Lent<I> {
    /// Of the pool.
    Shared(Arc<I>),
    /// Of the worker.
    Own(I),
}

impl<I: Serialize> Serialize for Lent<I> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self {
            Self::Shared(value) => (**value).serialize(serializer),
            Self::Own(value) => value.serialize(serializer),
        }
    }
}

impl<'de, I: Deserialize<'de>> Deserialize<'de> for Lent<I> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        I::deserialize(deserializer).map(Self::Own)
    }
}

/// Runs the items of a chunk for functions of one type, which the function's address
/// and the state are of.
type Run = fn(usize, *mut (), &[u8], &mut Output<'_>) -> Result<()>;

/// What a chunk is to be run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A [`Run`] and the function, by where they stand.
    Code { run: u64, function: u64 },
    /// A function that travels with the chunk: of which job it is, and its length.
    Bytes { job: u64, length: usize },
}

impl Call {
    /// A call of a function of items.
    ///
    /// # Errors
    ///
    /// If it is not in the program's main image.
    pub(super) fn plain<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R) -> Result<Self> {
        let run: Run = run_plain::<A, R>;
        Ok(Self::Code {
            run: process::offset(run as usize)?,
            function: process::offset(function as usize)?,
        })
    }

    /// A call of a function of the worker's state and items.
    ///
    /// # Errors
    ///
    /// As [`plain`](Self::plain).
    pub(super) fn with<S, A: DeserializeOwned, R: Serialize>(
        function: fn(&mut S, A) -> R,
    ) -> Result<Self> {
        let run: Run = run_with::<S, A, R>;
        Ok(Self::Code {
            run: process::offset(run as usize)?,
            function: process::offset(function as usize)?,
        })
    }

    /// As the head of a chunk says it.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let (first, second) = match self {
            Self::Code { run, function } => (run, function),
            Self::Bytes { job, length } => (job, length as u64),
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&first.to_le_bytes());
        bytes[8..].copy_from_slice(&second.to_le_bytes());
        bytes
    }
}

/// The function of a worker's process.
pub(super) fn work<S, I>(duties: Duties<I>) {
    // Who cannot be made deaf to Ctrl-C ends by it, and is replaced.
    let _ = sys_process::ignore_interrupts();
    #[cfg(feature = "tracing")]
    let _forwarding = super::records::begin(duties.forwarding);
    let Duties { requests, results, slate, code, argument, .. } = duties;
    let state = limit(code).and_then(|()| initial_state::<S, I>(code.initializer, argument));
    let mut state = match state {
        Ok(state) => state,
        Err(error) => {
            let mut message = vec![protocol::FAILED];
            message.extend(error.to_string().into_bytes());
            // A pool that is gone does not want to know.
            let _ = results.send_bytes(&message);
            std::process::exit(process::FAILED);
        }
    };
    if results.send_bytes(&[protocol::READY]).is_err() {
        return;
    }
    // SAFETY: this is the worker that it was given to, for this once.
    let Some(page) = (unsafe { slate.open() }) else { return };
    let mut output = Output::new(&results, page, code.largest.min(LARGEST));
    // The end of the pool, or of this worker's share, ends it.
    while let Ok(chunk) = requests.recv_view() {
        // SAFETY: the pool has written the chunk before it sent it, and writes to it
        // again only when the view is dropped.
        let bytes = unsafe { chunk.as_slice() };
        let served = serve(bytes, (&raw mut state).cast(), &mut output);
        // Its room is free before the pool hears of its end and needs it for another.
        drop(chunk);
        if served.and_then(|()| output.send()).is_err() {
            return;
        }
    }
    if let Some(finalizer) = code.finalizer.and_then(|offset| address_here(offset).ok()) {
        // SAFETY: the pool, of type `Pool<S>`, named a `fn(S)` by this offset, and
        // its workers run the same image.
        let finalizer = unsafe { std::mem::transmute::<usize, fn(S)>(finalizer) };
        finalizer(state);
    }
}

/// Keeps to the limits.
fn limit(code: Code) -> Result<()> {
    match code.memory_limit {
        Some(bytes) => sys_process::limit_memory(bytes)
            .map_err(|error| Error::io(error, format!("limiting the memory to {bytes} bytes"))),
        None => Ok(()),
    }
}

/// Makes the state.
fn initial_state<S, I>(initializer: u64, argument: Lent<I>) -> Result<S> {
    // SAFETY: the pool, whose state is `S` and whose argument is `I`, named a
    // `fn(I) -> S` by this offset, and its workers run the same image.
    let initializer =
        unsafe { std::mem::transmute::<usize, fn(I) -> S>(address_here(initializer)?) };
    let Lent::Own(argument) = argument else {
        return Err(Error::new(ErrorKind::Protocol, "a worker got no argument of its own"));
    };
    catch(|| initializer(argument)).map_err(|(message, place)| {
        let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
        Error::new(ErrorKind::Panicked, format!("its initializer panicked{place}: {message}"))
    })
}

/// Runs a chunk; its last results are not sent yet. An error ends the worker: nobody is there any more.
fn serve(chunk: &[u8], state: *mut (), output: &mut Output<'_>) -> Result<()> {
    let broken = || Error::new(ErrorKind::Protocol, "a chunk is not as pools make them");
    let mut rest = chunk;
    let run = protocol::take_u64(&mut rest).ok_or_else(broken)?;
    let function = protocol::take_u64(&mut rest).ok_or_else(broken)?;
    let first = protocol::take_u32(&mut rest).ok_or_else(broken)?;
    let count = protocol::take_u32(&mut rest).ok_or_else(broken)?;
    // SAFETY: a `Call` named a `Run` by this offset, in a pool of the same image.
    let run = unsafe { std::mem::transmute::<usize, Run>(address_here(run)?) };
    output.begin(first, count);
    run(address_here(function)?, state, rest, output)
}

/// Runs items for a function of items.
fn run_plain<A: DeserializeOwned, R: Serialize>(
    function: usize,
    _: *mut (),
    items: &[u8],
    output: &mut Output<'_>,
) -> Result<()> {
    // SAFETY: `Call::plain` named the function and this code together, so it is of
    // these types.
    let function = unsafe { std::mem::transmute::<usize, fn(A) -> R>(function) };
    output.run(items, function)
}

/// Runs items for a function of the state and items.
fn run_with<S, A: DeserializeOwned, R: Serialize>(
    function: usize,
    state: *mut (),
    items: &[u8],
    output: &mut Output<'_>,
) -> Result<()> {
    // SAFETY: `Call::with` named the function and this code together, so it is of
    // these types.
    let function = unsafe { std::mem::transmute::<usize, fn(&mut S, A) -> R>(function) };
    // SAFETY: `work` passes its state, which nobody else uses meanwhile; a pool whose
    // workers have a state of type `S` alone makes such calls.
    let state = unsafe { &mut *state.cast::<S>() };
    output.run(items, |argument| function(state, argument))
}
