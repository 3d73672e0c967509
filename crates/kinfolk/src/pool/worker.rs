//! A worker's side of a pool: it calls functions for the items of chunks, until the
//! pool wants no more of it.
#![allow(unsafe_code)] // Offsets become functions again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::protocol::{self, ITEM_HEAD, LARGEST, Panic, RESULTS_HEAD, Status};
use super::slate::{Page, Slate};
use crate::process::{self, address_here, catch, take_backtrace};
use crate::queue::{Receiver, Sender};
use crate::sys::process as sys_process;
use crate::wire::{codec, packed};
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

/// The results of chunks, on their way.
struct Output<'a> {
    /// Where they go.
    results: &'a Sender<()>,
    /// Where they are until then.
    page: Page<'a>,
    /// The largest, in bytes.
    largest: usize,
    /// How many bytes of the page are a message of those not sent yet.
    length: usize,
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
    fn new(results: &'a Sender<()>, page: Page<'a>, largest: usize) -> Self {
        let (length, since) = (RESULTS_HEAD, Instant::now());
        let (first, count, left, look, unlooked) = (0, 0, 0, 1, 1);
        Self { results, page, largest, length, first, count, left, since, look, unlooked }
    }

    /// The next is that of item `first`, of so many.
    fn begin(&mut self, first: u32, count: u32) {
        self.left = count;
        self.since = Instant::now();
        (self.look, self.unlooked) = (1, 1);
        self.begin_at(first);
    }

    /// What is before item `first` is sent.
    fn begin_at(&mut self, first: u32) {
        self.page.note(first, 0);
        self.first = first;
        self.count = 0;
        self.length = RESULTS_HEAD;
    }

    /// Runs the function for items, and adds what came of each.
    fn run<A: DeserializeOwned, R: Serialize>(
        &mut self,
        mut items: &[u8],
        mut function: impl FnMut(A) -> R,
    ) -> Result<()> {
        loop {
            // A panic ends one item, and the others follow.
            match catch(|| self.run_quietly(&mut items, &mut function)) {
                Ok(done) => return done,
                Err((message, location)) => {
                    let panic = Panic { message, location, backtrace: take_backtrace() };
                    self.add(Status::Panicked, &codec::encode(&panic)?.bytes)?;
                }
            }
        }
    }

    /// Runs the function for items that do not panic.
    fn run_quietly<A: DeserializeOwned, R: Serialize>(
        &mut self,
        items: &mut &[u8],
        function: &mut impl FnMut(A) -> R,
    ) -> Result<()> {
        while let Some((_, item)) = protocol::take_item(items) {
            match packed::read::<A>(item) {
                Ok(argument) => self.add_value(&function(argument))?,
                Err(error) => self.add(Status::BadArgument, error.to_string().as_bytes())?,
            }
        }
        Ok(())
    }

    /// Adds a value.
    #[inline]
    fn add_value<R: Serialize>(&mut self, value: &R) -> Result<()> {
        match packed::write(value, self.room()) {
            Ok(Some(length)) if length <= self.largest => self.note(length, Status::Done),
            Ok(Some(length)) => self.refuse(length),
            Ok(None) if self.count > 0 => {
                self.send()?;
                self.add_value(value)
            }
            Ok(None) => self.add_large_value(value),
            Err(error) => self.add(Status::BadResult, error.to_string().as_bytes()),
        }
    }

    /// Adds a value that the page has no room for.
    fn add_large_value<R: Serialize>(&mut self, value: &R) -> Result<()> {
        let length = match packed::length(value) {
            Ok(length) if length <= self.largest => length,
            Ok(length) => return self.refuse(length),
            Err(error) => return self.add(Status::BadResult, error.to_string().as_bytes()),
        };
        let sent = self.send_large(length, Status::Done, |room| packed::fill(value, room));
        match sent {
            Err(error) if error.kind() == ErrorKind::Serialize => {
                self.add(Status::BadResult, error.to_string().as_bytes())
            }
            sent => sent,
        }
    }

    /// Adds that a value is too long.
    #[cold]
    fn refuse(&mut self, length: usize) -> Result<()> {
        let text = format!(
            "it has {length} bytes, where the pool takes {}: make the pool with a larger \
             `largest_message`",
            self.largest
        );
        self.add(Status::BadResult, text.as_bytes())
    }

    /// Adds why there is no value.
    #[cold]
    fn add(&mut self, status: Status, content: &[u8]) -> Result<()> {
        if let Some(room) = self.room().get_mut(..content.len()) {
            room.copy_from_slice(content);
            return self.note(content.len(), status);
        }
        self.send()?;
        if content.len() <= self.room().len() {
            return self.add(status, content);
        }
        self.send_large(content.len(), status, |room| {
            room.copy_from_slice(content);
            Ok(())
        })
    }

    /// Where the content of the next result is written.
    #[inline]
    fn room(&mut self) -> &mut [u8] {
        self.page.room.get_mut(self.length + ITEM_HEAD..).unwrap_or_default()
    }

    /// Notes that a result is there, of such a length.
    #[inline]
    fn note(&mut self, length: usize, status: Status) -> Result<()> {
        let head = protocol::item_head(length, status);
        self.page.room[self.length..][..ITEM_HEAD].copy_from_slice(&head);
        self.length += ITEM_HEAD + length;
        self.count += 1;
        self.page.note(self.first, self.count);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Ok(());
        }
        self.look -= 1;
        if self.look == 0 {
            return self.look_at_the_clock();
        }
        Ok(())
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
        let head = self.head(self.count);
        let message = &mut self.page.room[..self.length];
        message[..RESULTS_HEAD].copy_from_slice(&head);
        self.results.send_bytes(message)?;
        self.begin_at(self.first.wrapping_add(self.count));
        Ok(())
    }

    /// Sends a result that the page has no room for, alone: `write` writes it where it
    /// stays.
    fn send_large(
        &mut self,
        length: usize,
        status: Status,
        write: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let (head, item_head) = (self.head(1), protocol::item_head(length, status));
        let write = |message: &mut [u8]| {
            let (heads, content) = message.split_at_mut(RESULTS_HEAD + ITEM_HEAD);
            heads[..RESULTS_HEAD].copy_from_slice(&head);
            heads[RESULTS_HEAD..].copy_from_slice(&item_head);
            write(content)
        };
        // SAFETY: the pool, which alone shares the queue, does not write to messages.
        unsafe { self.results.send_with(RESULTS_HEAD + ITEM_HEAD + length, write)? };
        self.left = self.left.saturating_sub(1);
        self.begin_at(self.first.wrapping_add(1));
        Ok(())
    }

    /// What is before so many results, which are done now.
    fn head(&mut self, count: u32) -> [u8; RESULTS_HEAD] {
        let now = Instant::now();
        let took = now.duration_since(std::mem::replace(&mut self.since, now));
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        protocol::results_head(self.first, count, took)
    }
}
