//! A worker's side of a pool: it calls functions for the items of chunks, until the
//! pool wants no more of it.
#![allow(unsafe_code)] // Offsets become functions again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::protocol::{self, ITEM_HEAD, LARGEST, Panic, RESULTS, RESULTS_HEAD, Status};
use super::slate::Slate;
use crate::process::{self, address_here, catch, take_backtrace};
use crate::queue::{Receiver, Sender};
use crate::sys::process as sys_process;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// How long results are kept back, while others follow.
const KEPT_BACK: Duration = Duration::from_millis(1);
/// The most items between two looks at the clock.
const UNLOOKED: u32 = 1024;

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

/// What a chunk is to be run with: where the code for it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// A [`Run`].
    run: u64,
    /// The function.
    function: u64,
}

impl Call {
    /// A call of a function of items.
    ///
    /// # Errors
    ///
    /// If it is not in the program's main image.
    pub(super) fn plain<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R) -> Result<Self> {
        let run: Run = run_plain::<A, R>;
        Ok(Self {
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
        Ok(Self {
            run: process::offset(run as usize)?,
            function: process::offset(function as usize)?,
        })
    }

    /// As the head of a chunk says it.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.run.to_le_bytes());
        bytes[8..].copy_from_slice(&self.function.to_le_bytes());
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
    // The end of the pool, or of this worker's share, ends it.
    while let Ok(chunk) = requests.recv_view() {
        // SAFETY: the pool has written the chunk before it sent it, and writes to it
        // again only when the view is dropped.
        let bytes = unsafe { chunk.as_slice() };
        let mut output = Output::new(&results, &slate, code.largest.min(LARGEST));
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
    mut items: &[u8],
    output: &mut Output<'_>,
) -> Result<()> {
    // SAFETY: `Call::plain` named the function and this code together, so it is of
    // these types.
    let function = unsafe { std::mem::transmute::<usize, fn(A) -> R>(function) };
    while let Some((_, item)) = protocol::take_item(&mut items) {
        output.run(item, function)?;
    }
    Ok(())
}

/// Runs items for a function of the state and items.
fn run_with<S, A: DeserializeOwned, R: Serialize>(
    function: usize,
    state: *mut (),
    mut items: &[u8],
    output: &mut Output<'_>,
) -> Result<()> {
    // SAFETY: `Call::with` named the function and this code together, so it is of
    // these types.
    let function = unsafe { std::mem::transmute::<usize, fn(&mut S, A) -> R>(function) };
    // SAFETY: `work` passes its state, which nobody else uses meanwhile; a pool whose
    // workers have a state of type `S` alone makes such calls.
    let state = unsafe { &mut *state.cast::<S>() };
    while let Some((_, item)) = protocol::take_item(&mut items) {
        output.run(item, |argument| function(state, argument))?;
    }
    Ok(())
}

/// The results of a chunk, on their way.
struct Output<'a> {
    /// Where they go.
    results: &'a Sender<()>,
    /// Where they are until then.
    slate: &'a Slate,
    /// The largest, in bytes.
    largest: usize,
    /// Those not sent yet, behind room for their head.
    bytes: Vec<u8>,
    /// The number of the first of them.
    first: u32,
    /// How many.
    count: u32,
    /// How many items of the chunk are to come.
    left: u32,
    /// Since when.
    since: Instant,
    /// After how many items the clock is looked at again.
    look: u32,
    /// How many are between two looks.
    unlooked: u32,
}

impl<'a> Output<'a> {
    /// None yet.
    fn new(results: &'a Sender<()>, slate: &'a Slate, largest: usize) -> Self {
        let (bytes, since) = (vec![0; RESULTS_HEAD], Instant::now());
        let (first, count, left, look, unlooked) = (0, 0, 0, 1, 1);
        Self { results, slate, largest, bytes, first, count, left, since, look, unlooked }
    }

    /// The next is that of item `first`, of so many.
    fn begin(&mut self, first: u32, count: u32) {
        self.first = first;
        self.left = count;
        self.slate.begin(first);
    }

    /// Runs the function for an item, and adds what came of it.
    fn run<A: DeserializeOwned, R: Serialize>(
        &mut self,
        item: &[u8],
        function: impl FnOnce(A) -> R,
    ) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend([0; ITEM_HEAD]);
        let bytes = &mut self.bytes;
        let went = catch(|| {
            let argument = match codec::decode_plain::<A>(item) {
                Ok(argument) => argument,
                Err(error) => return Err((Status::BadArgument, error)),
            };
            let result = function(argument);
            codec::append_any(&result, bytes).map_err(|error| (Status::BadResult, error))
        });
        let status = match went {
            Ok(Ok(())) if self.bytes.len() - start - ITEM_HEAD <= self.largest => Status::Done,
            Ok(Ok(())) => {
                let (length, most) = (self.bytes.len() - start - ITEM_HEAD, self.largest);
                let text = format!(
                    "it has {length} bytes, where the pool takes {most}: make the pool with a \
                     larger `largest_message`"
                );
                self.replace(start, text.as_bytes());
                Status::BadResult
            }
            Ok(Err((status, error))) => {
                self.replace(start, error.to_string().as_bytes());
                status
            }
            Err((message, location)) => {
                let panic = Panic { message, location, backtrace: take_backtrace() };
                self.replace(start, &[]);
                codec::append(&panic, &mut self.bytes)?;
                Status::Panicked
            }
        };
        let length = self.bytes.len() - start - ITEM_HEAD;
        let head = protocol::item_head(length, status);
        self.bytes[start..start + ITEM_HEAD].copy_from_slice(&head);
        self.count += 1;
        self.left = self.left.saturating_sub(1);
        let place = start - RESULTS_HEAD;
        let added = self.slate.add(place, &self.bytes[start..], self.first, self.count);
        if self.left == 0 {
            return Ok(());
        }
        if !added {
            return self.send();
        }
        self.look -= 1;
        if self.look == 0 {
            return self.look_at_the_clock();
        }
        Ok(())
    }

    /// Writes another content behind the head at `start`.
    fn replace(&mut self, start: usize, content: &[u8]) {
        self.bytes.truncate(start + ITEM_HEAD);
        self.bytes.extend_from_slice(content);
    }

    /// Sends what has been kept back for long enough.
    fn look_at_the_clock(&mut self) -> Result<()> {
        if self.since.elapsed() < KEPT_BACK {
            self.unlooked = (self.unlooked * 2).min(UNLOOKED);
        } else {
            self.unlooked = 1;
            self.send()?;
        }
        self.look = self.unlooked;
        Ok(())
    }

    /// Sends what there is.
    fn send(&mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let took = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.bytes[0] = RESULTS;
        self.bytes[1..5].copy_from_slice(&self.first.to_le_bytes());
        self.bytes[5..9].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[9..RESULTS_HEAD].copy_from_slice(&took.to_le_bytes());
        self.results.send_bytes(&self.bytes)?;
        self.first = self.first.wrapping_add(self.count);
        self.slate.begin(self.first);
        self.count = 0;
        self.bytes.truncate(RESULTS_HEAD);
        self.since = Instant::now();
        Ok(())
    }
}
